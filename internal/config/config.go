// Package config reads pipeline files: YAML, strictly. Every mistake is an
// [*Error] with line, column, the line itself and a caret. Values come from
// the file, from ${VAR} and from ${file:…}; those are put in after parsing, on
// single values only, so that no value can change the file's structure.
// Anchors, aliases, tags and several documents are refused.
package config

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/transform"
)

// File is one pipeline's configuration. It is for one goroutine.
type File struct {
	// Path is where the file was read from.
	Path string
	// Name of the pipeline: name:, else the file's name up to its first dot.
	Name string
	// Snapshot says whether existing rows are copied first.
	Snapshot Snapshot
	// Transform are the rules for tables, columns and rows. [transform.New]
	// checks them, [File.TransformError] places what it finds.
	Transform []transform.Rule
	// State says where the pipeline keeps what it has to remember.
	State State
	// Pipeline tunes the engine.
	Pipeline Pipeline
	// Monitoring says where metrics are shown; nil for nowhere.
	Monitoring *Monitoring
	// OnError is what happens when an event is refused: "stop".
	OnError string
	// OnTableError is what becomes of a table of which the sink refuses something:
	// "stop" ends the pipeline; "resync" leaves the table's changes out from then
	// on, until it is resynced, and lets the others flow.
	OnTableError string

	// Source is where the changes come from; nil in a file that only delivers from a
	// stream.
	Source *Section
	// Stream is the durable stream in between; nil if there is none.
	Stream *Section
	// Sinks are where the changes go to, in the file's order, their names all
	// different. There is more than one only behind a stream, and none only in a file
	// that captures into one.
	Sinks []*Section

	// Consumer is about who reads the stream.
	Consumer Consumer
	// DeadLetter says what becomes of events that a sink refuses; nil: the pipeline
	// stops.
	DeadLetter *DeadLetter
	// Reconciliation says where changes go that came too late; nil: they stay at the sink.
	Reconciliation *Reconciliation
	// Retry says how what fails is tried again.
	Retry Retry
	// Deduplication says how changes are recognised that a sink has already; nil: they
	// are not.
	Deduplication *Deduplication
	// Contracts says where the tables' contracts are; nil: nowhere.
	Contracts *Contracts
	// Classes say which tables wait for windows, in the order in which they are asked.
	Classes []Class

	root  *node
	rules *node // of Transform; nil if the file has none
}

// Reconciliation is the reconciliation: section, for sinks with a version gate.
type Reconciliation struct {
	// Topic of Kafka that changes which came too late are passed on to, with their
	// versions and their rows'. Its brokers are found as those of dead_letter.topic are.
	Topic string `yaml:"topic"`
}

// Snapshot is the snapshot: section.
type Snapshot struct {
	// Mode is "initial": the rows that are there are copied once, before the
	// changes; "never": changes only; "only": the rows are copied, and the run
	// ends; "when_needed": as "initial", and where the source has lost the
	// position, all tables are copied anew.
	Mode string `yaml:"mode"`
	// Parallel is how many parts of tables are copied at a time, each by a
	// session of its own at both ends. Default 4.
	Parallel int `yaml:"parallel"`
	// ChunkRows is about how many rows a part has. Default 50000.
	ChunkRows int `yaml:"chunk_rows"`
	// Tables chooses among the captured tables those whose rows are copied.
	// Default: all.
	Tables SnapshotTables `yaml:"tables"`
}

// SnapshotTables chooses tables by patterns over schema.table, as the source's
// tables: section does.
type SnapshotTables struct {
	// Include lists what is copied. Default: every captured table.
	Include []string `yaml:"include"`
	// Exclude lists what is not, though included.
	Exclude []string `yaml:"exclude"`
}

// Matcher returns whether a table's rows are to be copied; nil if all are.
func (t SnapshotTables) Matcher() (func(schema, name string) bool, error) {
	if len(t.Include)+len(t.Exclude) == 0 {
		return nil, nil
	}
	included, err := connector.MatchTables(t.Include)
	if err != nil {
		return nil, err
	}
	excluded, err := connector.MatchTables(t.Exclude)
	return func(schema, name string) bool {
		return (len(t.Include) == 0 || included(schema, name)) && !excluded(schema, name)
	}, err
}

// State is the state: section.
type State struct {
	// Dir is the folder in which each pipeline has a folder of its own.
	Dir string `yaml:"dir"`
}

// Pipeline is the pipeline: section.
type Pipeline struct {
	// Buffer bounds the bytes between reading and writing: 64kB or more.
	// Default 16MB.
	Buffer connector.ByteSize `yaml:"buffer"`
	// Batch is how many bytes the writer takes at a time, at most: 4kB or
	// more, and never more than the buffer has. Default 4MB.
	Batch connector.ByteSize `yaml:"batch"`
	// ShutdownTimeout is how long a signalled pipeline may take to write what
	// it has read. Default 20s.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
}

// DeadLetter is the dead_letter: section. With it, an event that a sink refuses for
// good, its source transaction, and what comes behind them is parked, and the others
// flow.
type DeadLetter struct {
	// Enabled turns the section on. Default true.
	Enabled *bool `yaml:"enabled"`
	// Unit is what is parked with an event: "transaction", the default, keeps
	// transactions whole; "event" parks the one event, and later ones of its row.
	Unit string `yaml:"unit"`
	// File keeps the letters in a file of JSON lines. Default, unless the sink can
	// keep them: a file beside the state.
	File string `yaml:"file"`
	// Table keeps the letters in the sink's database. The name there is:
	// entrain.dead_letter, which is the default where the sink is one.
	Table string `yaml:"table"`
	// Topic keeps the letters in a compacted topic of Kafka: at the brokers of the
	// stream, else of the sink, else of the file's one sink of type kafka.
	Topic string `yaml:"topic"`
	// AlertThreshold is from how many letters on that is logged as an error; 0, the
	// default, for never.
	AlertThreshold int `yaml:"alert_threshold"`
}

// On reports whether the section is there and turned on.
func (d *DeadLetter) On() bool { return d != nil && (d.Enabled == nil || *d.Enabled) }

// letterTable is the one name of a table of dead letters.
const letterTable = "entrain.dead_letter"

// Retry is the retry: section.
type Retry struct {
	// MaxAttempts is how often an event has to be refused before it is parked, if
	// dead_letter says so. What a new session may mend is tried for ever. Default 1.
	MaxAttempts int `yaml:"max_attempts"`
	// BackoffBaseMS is the first wait before a new try, in milliseconds; each is
	// twice as long as the one before. Default: 50 after a refusal, 200 after a lost
	// connection.
	BackoffBaseMS int `yaml:"backoff_base_ms"`
	// BackoffMaxMS bounds the waits, in milliseconds. Default: 5000 and 15000.
	BackoffMaxMS int `yaml:"backoff_max_ms"`
	// Jitter makes up to half of each wait random, so that many do not come back
	// together. Default true.
	Jitter *bool `yaml:"jitter"`
	// AttemptTimeoutMS bounds one write of a sink, in milliseconds: one that takes
	// longer is given up, and the sink is opened anew. Default 0: no bound.
	AttemptTimeoutMS int `yaml:"attempt_timeout_ms"`
	// CircuitBreaker has a delivery pause whose sink fails again and again. Default:
	// none, the waits between tries alone.
	CircuitBreaker *CircuitBreaker `yaml:"circuit_breaker"`
}

// CircuitBreaker is the circuit_breaker: section of retry.
type CircuitBreaker struct {
	// Failures of the sink in a row that open the circuit. Default 5.
	Failures int `yaml:"failures"`
	// OpenMS is for how long nothing is tried then, in milliseconds. Then one batch
	// is tried. Default 30000.
	OpenMS int `yaml:"open_ms"`
}

func (a Alerts) negative() bool {
	return a.LagCritical < 0 || a.DuplicateRateWarning < 0 || a.DuplicateRateWarning > 1 || a.DeadletterCritical < 0
}

// Consumer is the consumer: section, about who reads the stream for the sinks.
type Consumer struct {
	// GroupID names the sinks' cursors in the stream, and so Kafka's consumer groups:
	// GROUP_ID for a sink without a name, GROUP_ID.NAME for one with. Default:
	// PIPELINE.NAME.
	GroupID string `yaml:"group_id"`
}

// Monitoring is the monitoring: section. With it, a pipeline that runs answers
// GET /metrics in Prometheus' text format.
type Monitoring struct {
	// Listen is where, host:port. Default 127.0.0.1:9464.
	Listen string `yaml:"listen"`
	// Metrics are the names of some that must be there; a name that there is no
	// metric of is a mistake. All are shown in any case.
	Metrics []string `yaml:"metrics"`
	// Alerts are thresholds that metrics and status report.
	Alerts Alerts `yaml:"alerts"`
}

// Alerts is monitoring.alerts. Each is 0, the default, for none.
type Alerts struct {
	// LagCritical is a lag in seconds.
	LagCritical float64 `yaml:"lag_critical"`
	// DuplicateRateWarning is a share of events that were there already, 0 to 1.
	DuplicateRateWarning float64 `yaml:"duplicate_rate_warning"`
	// DeadletterCritical is a number of dead letters.
	DeadletterCritical float64 `yaml:"deadletter_critical"`
}

// defaultListen is the port that OpenTelemetry's exporters for Prometheus use.
const defaultListen = "127.0.0.1:9464"

// document is the file as it is written.
type document struct {
	Name      string           `yaml:"name"`
	Source    Section          `yaml:"source"`
	Snapshot  Snapshot         `yaml:"snapshot"`
	Transform []transform.Rule `yaml:"transform"`
	Stream    Section          `yaml:"stream"`
	// Classes say when the changes of tables are delivered. Default: as they come.
	Classes  []Class   `yaml:"classes"`
	Sink     Section   `yaml:"sink"`
	Sinks    []Section `yaml:"sinks"`
	State    State     `yaml:"state"`
	Pipeline Pipeline  `yaml:"pipeline"`
	// Monitoring shows metrics to Prometheus. Default: none are.
	Monitoring *Monitoring `yaml:"monitoring"`
	Consumer   Consumer    `yaml:"consumer"`
	DeadLetter *DeadLetter `yaml:"dead_letter"`
	Retry      Retry       `yaml:"retry"`
	// Reconciliation passes changes on that came too late for the version gate. Default:
	// they stay in the table entrain.reconciliation at the target.
	Reconciliation *Reconciliation `yaml:"reconciliation"`
	// Deduplication recognises changes that a sink has already, for sinks that keep no
	// position. Default: none.
	Deduplication *Deduplication `yaml:"deduplication"`
	// Contracts holds changes to what the owners of tables promise.
	Contracts *Contracts `yaml:"contracts"`
	OnError   string     `yaml:"on_error"`
	// OnTableError is what becomes of a table of which the sink refuses something.
	// "stop", the default, ends the pipeline. "resync" leaves the table's changes
	// out from then on, until "entrain table resync" is typed; the other tables
	// flow, and transactions across it arrive without its part.
	OnTableError string `yaml:"on_table_error"`
}

// Below these a pipeline does nothing but hand single events on; whoever writes
// 16 means 16MB. A batch above the buffer is none: it ends where the buffer does.
const (
	leastBuffer connector.ByteSize = 64 << 10
	leastBatch  connector.ByteSize = 4 << 10
)

const (
	maxFile  = 256 << 10
	nameRule = "1 to 40 of a-z, 0-9, _ and -"
)

// snapshotModes are the words for snapshot.mode.
var snapshotModes = []string{"initial", "never", "only", "when_needed"}

// tableErrors are the words for on_table_error.
var tableErrors = []string{"stop", "resync"}

// mostParallel bounds the sessions that a snapshot takes at each end.
const mostParallel = 64

var validGroup = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

var validName = regexp.MustCompile(`^[a-z0-9_-]{1,40}$`)

// Load reads the pipeline file at path. lookup gives the variables for ${VAR}
// (os.LookupEnv). Every error is an [*Error]; what only the connectors know is
// checked when they decode their sections.
func Load(path string, lookup func(string) (string, bool)) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{Path: path, Message: "cannot read the pipeline file: " + reason(err)}
	}
	return parse(path, text, lookup)
}

func parse(path string, text []byte, lookup func(string) (string, bool)) (*File, error) {
	root, err := parseTree(pipelineForm, path, text)
	if err != nil {
		return nil, err
	}
	if err := expand(root, lookup); err != nil {
		return nil, err
	}
	if err := reform(root); err != nil {
		return nil, err
	}
	doc := document{
		Snapshot: Snapshot{Mode: "initial", Parallel: 4, ChunkRows: 50000},
		State:    State{Dir: ".entrain"},
		Pipeline: Pipeline{Buffer: 16 << 20, Batch: 4 << 20, ShutdownTimeout: 20 * time.Second},
		OnError:  "stop", OnTableError: "stop",
	}
	if err := decode(root, &doc); err != nil {
		return nil, err
	}
	if doc.Monitoring != nil && doc.Monitoring.Listen == "" {
		doc.Monitoring.Listen = defaultListen
	}
	return doc.file(root)
}

// CheckMetrics reports the first name under monitoring.metrics that there is no
// metric of.
func (f *File) CheckMetrics(known func(name string) bool) error {
	if f.Monitoring == nil {
		return nil
	}
	for i, name := range f.Monitoring.Metrics {
		if !known(name) {
			at := f.root.find("monitoring", "metrics")
			if item := at.item(i); item != nil {
				at = item
			}
			return at.errorf("there is no metric of this name; docs/metrics.md has those that there are, such as sync_lag_seconds")
		}
	}
	return nil
}

// validAddress reports whether text is host:port.
func validAddress(text string) bool {
	_, port, err := net.SplitHostPort(text)
	n, bad := strconv.Atoi(port)
	return err == nil && bad == nil && n >= 0 && n < 1<<16
}

// file checks what types alone cannot say.
func (d *document) file(root *node) (*File, error) {
	path := root.src.path
	if d.Name == "" {
		d.Name, _, _ = strings.Cut(filepath.Base(path), ".")
		if !validName.MatchString(d.Name) {
			return nil, &Error{Path: path, Message: "the file's name is not fit to be the pipeline's name: " + nameRule,
				Hint: "add a line at the top: name: shop"}
		}
	}
	switch {
	case !validName.MatchString(d.Name):
		return nil, root.find("name").errorf("not fit to be a pipeline's name: %s", nameRule)
	case !slices.Contains(snapshotModes, d.Snapshot.Mode):
		return nil, root.find("snapshot", "mode").errorf("expected one of %s", strings.Join(snapshotModes, ", "))
	case d.Snapshot.Parallel < 1 || d.Snapshot.Parallel > mostParallel:
		return nil, root.find("snapshot", "parallel").errorf("expected 1 to %d", mostParallel)
	case d.Snapshot.ChunkRows < 1:
		return nil, root.find("snapshot", "chunk_rows").errorf("expected a number of rows above zero, such as 50000")
	case d.OnError != "stop":
		return nil, root.find("on_error").errorf("the only policy there is so far is stop; others arrive with a later version")
	case !slices.Contains(tableErrors, d.OnTableError):
		return nil, root.find("on_table_error").errorf("expected one of %s", strings.Join(tableErrors, ", "))
	case d.State.Dir == "":
		return nil, root.find("state", "dir").errorf("expected a folder's name")
	case d.Pipeline.Buffer < leastBuffer:
		return nil, root.find("pipeline", "buffer").errorf("too small: expected at least %s, such as 16MB", leastBuffer)
	case d.Pipeline.Batch < leastBatch:
		return nil, root.find("pipeline", "batch").errorf("too small: expected at least %s, such as 4MB", leastBatch)
	case d.Monitoring != nil && d.Monitoring.Alerts.negative():
		return nil, root.find("monitoring", "alerts").errorf("thresholds are above zero: lag_critical in seconds, duplicate_rate_warning as a share up to 1, deadletter_critical as a number")
	case d.Monitoring != nil && !validAddress(d.Monitoring.Listen):
		return nil, root.find("monitoring", "listen").errorf("expected host:port, such as %s", defaultListen)
	case d.Consumer.GroupID != "" && !validGroup.MatchString(d.Consumer.GroupID):
		return nil, root.find("consumer", "group_id").errorf("not fit to be a group's name: 1 to 100 of letters, digits, . _ and -")
	case d.Pipeline.ShutdownTimeout <= 0:
		return nil, root.find("pipeline", "shutdown_timeout").errorf("expected a duration above zero, such as 20s")
	}
	for _, check := range []func(*node) error{d.checkLetters, d.checkContracts, d.checkClasses, d.checkDeduplication} {
		if err := check(root); err != nil {
			return nil, err
		}
	}
	if _, err := d.Snapshot.Tables.Matcher(); err != nil {
		return nil, root.find("snapshot", "tables").errorf("%s", err)
	}
	f := &File{
		Path: path, Name: d.Name, Snapshot: d.Snapshot, Transform: d.Transform, State: d.State,
		Pipeline: d.Pipeline, Monitoring: d.Monitoring, OnError: d.OnError, OnTableError: d.OnTableError,
		Consumer: d.Consumer, DeadLetter: d.DeadLetter, Reconciliation: d.Reconciliation, Retry: d.Retry, Deduplication: d.Deduplication, Contracts: d.Contracts, Classes: d.Classes,
		root: root, rules: root.get("transform"),
	}
	return f, f.takeSections(d)
}

// reason is err without the path that the message names already.
func reason(err error) string {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}
