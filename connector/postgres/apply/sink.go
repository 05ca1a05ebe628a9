package apply

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// Config is the configuration of a [Sink].
type Config struct {
	// URL of the target database, as libpq reads it.
	URL connector.Secret `yaml:"url"`
	// CreateTables makes tables that are missing when their rows are copied, as
	// the source defines them, with indexes and constraints.
	CreateTables bool `yaml:"create_tables"`
	// Parallel is up to how many sessions apply transactions side by side that
	// do not depend on each other; 0 and 1 mean one after the other.
	Parallel int `yaml:"parallel"`
	// VersionGate keeps the version of each row and lets no older change overwrite it:
	// what comes late is compared, what is stale goes to entrain.reconciliation.
	VersionGate bool `yaml:"version_gate"`
	// ConflictStrategy says which of two changes of a row counts; source_lsn_priority,
	// the only one, is what VersionGate does, and turns it on unless that is false.
	ConflictStrategy string `yaml:"conflict_strategy"`
	// SoftDelete marks rows as deleted instead of deleting them.
	SoftDelete SoftDelete `yaml:"soft_delete"`
	// SchemaChanges says what to do when the shape of a table changes at the
	// source.
	SchemaChanges SchemaChanges `yaml:"schema_changes"`
	// GateOff: VersionGate was set to false and not just left out, so that
	// ConflictStrategy does not turn it on.
	GateOff bool `yaml:"-"`
	// Copies: existing rows will be copied first, which is for Check to know.
	Copies bool `yaml:"-"`
	// Source is the source's name in the position row's key; "source" if
	// empty.
	Source string `yaml:"-"`
	// Pipeline is the pipeline's name; it keys the position row.
	Pipeline string `yaml:"-"`
	// Log receives one line an event of interest; nil discards them.
	Log *slog.Logger `yaml:"-"`
}

// Sink applies changes to a PostgreSQL database. Its sessions keep the
// position in the target, in the same transaction as the data (P2), and make
// each source transaction visible whole (P4).
type Sink struct {
	cfg   Config
	conn  *pgconn.Config
	lease *lease
	turns *turns
	loads loadPool
	said  sync.Map // what was said once: names of tables, what a copy leaves there, references left out
}

// settings are for our sessions at the target. Every statement there finds
// rows by key, with statistics that are often older than the table's size, so
// plans are made once and a sequential scan is the last resort. The keepalives
// end a session whose client is gone, which otherwise would hold the position
// row for hours.
var settings = map[string]string{
	"synchronous_commit":      "on",
	"plan_cache_mode":         "force_generic_plan",
	"enable_seqscan":          "off",
	"jit":                     "off",
	"tcp_keepalives_idle":     "30",
	"tcp_keepalives_interval": "10",
	"tcp_keepalives_count":    "3",
}

// NewSink checks the configuration; it does not dial.
func NewSink(cfg Config) (*Sink, error) {
	if cfg.URL == "" {
		return nil, fmt.Errorf("sink: url is missing")
	}
	if cfg.Pipeline == "" {
		return nil, fmt.Errorf("sink: the pipeline's name is missing")
	}
	if cfg.Parallel < 0 || cfg.Parallel > mostParallel {
		return nil, fmt.Errorf("sink: parallel is %d; expected 1 to %d", cfg.Parallel, mostParallel)
	}
	if err := cfg.gated(); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	if cfg.Source == "" {
		cfg.Source = "source"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if cfg.SchemaChanges, err = cfg.SchemaChanges.withDefaults(); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s := &Sink{cfg: cfg, lease: &lease{}, turns: &turns{}}
	if s.conn, err = s.parse("sink"); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	s.conn.DialFunc = dial.Direct(s.conn.DialFunc)
	return s, nil
}

// parse reads the URL for sessions that are shown under the purpose.
func (s *Sink) parse(purpose string) (*pgconn.Config, error) {
	conn, err := dial.ParseURL(s.cfg.URL, "entrain "+s.cfg.Pipeline+" "+purpose)
	if err != nil {
		return nil, err
	}
	for name, value := range settings {
		conn.RuntimeParams[name] = value
	}
	return conn, nil
}

// Build builds a sink from the sink section of a pipeline file.
func Build(env connector.Env, decode connector.Decode) (entrain.Sink, error) {
	cfg := Config{Pipeline: env.Pipeline, Log: env.Log, Copies: env.Copies != nil}
	if err := decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.ConflictStrategy != "" && !cfg.VersionGate {
		said := Config{VersionGate: true} // what the file leaves out keeps its value
		if err := decode(&said); err != nil {
			return nil, err
		}
		cfg.GateOff = !said.VersionGate
	}
	return NewSink(cfg)
}

// Open starts a session with the target. What it returns is also an
// [entrain.Positioner] and an [entrain.Counter].
func (s *Sink) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := s.openWriter(ctx)
	if err != nil {
		return nil, err
	}
	if s.cfg.Parallel > 1 {
		w.side = &side{sink: s, cut: worthwhile, every: watchEvery}
	}
	return w, nil
}

func (s *Sink) openWriter(ctx context.Context) (*writer, error) {
	cfg, err := s.parse("sink")
	if err != nil {
		return nil, dial.FileChanges(err)
	}
	cfg.DialFunc = s.conn.DialFunc
	conn, err := dial.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	w := &writer{
		cfg:    s.cfg,
		conn:   conn,
		stop:   context.WithoutCancel(ctx),
		server: dial.ServerName(s.conn),
		log:    s.cfg.Log,
		stmts:  newStatements(),
		missed: map[string]bool{},
		pinned: map[*targetTable]bool{},
		met:    map[*targetTable]int{},
		counts: map[string]int64{},
		lease:  s.lease,
		turns:  s.turns,
	}
	w.catalog = newCatalog(conn)
	w.catalog.makes = s.cfg.CreateTables
	w.catalog.soft, w.catalog.gated = s.cfg.SoftDelete.Column, s.cfg.VersionGate
	if s.cfg.VersionGate {
		w.gate = newGate(w)
	}
	return w, nil
}

// Guarantees implements entrain.Guarantor.
func (s *Sink) Guarantees() entrain.Guarantees { return entrain.Guarantees{Once: true, Whole: true} }
