package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// SinkConfig is a sink on a Redis server. URL and Pipeline are required.
type SinkConfig struct {
	Server
	// Pipeline names the position.
	Pipeline string
	// Stream is the key of the stream that a table's events go to; {source},
	// {schema} and {table} in it are filled in. Empty means
	// "{source}.{schema}.{table}".
	Stream string
	// MessageStream is the key for events without a table; {source} is filled in.
	// Empty means "{source}.message".
	MessageStream string
	// Format of the values: "native", which is what empty means, "flat" or
	// "cloudevents"; see package encoding.
	Format string
	// CloudEvents has the settings of the format cloudevents; only for it.
	CloudEvents *encoding.CloudEventsOptions
	// MaxLen is about how many entries of each stream stay, the latest ones; 0: all.
	MaxLen int
}

// Sink writes events to streams that others read. The entries of a source
// transaction, and the position behind it, are there in one step (P2, P4). It is
// safe for several goroutines, its writers are not.
type Sink struct {
	server   *server
	position string // key
	staged   string // key
	stream   string // pattern
	messages string // pattern
	format   string
	options  encoding.Options
	maxLen   int
}

const (
	defaultStream   = "{source}.{schema}.{table}"
	defaultMessages = "{source}.message"
)

// formats are those that have one line an event.
var formats = []string{"native", "flat", "cloudevents"}

// NewSink checks the configuration; it does not dial.
func NewSink(cfg SinkConfig) (*Sink, error) {
	server, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	if cfg.Pipeline == "" || cfg.MaxLen < 0 {
		return nil, errors.New("redis sink: the pipeline's name is missing, or max_len is negative")
	}
	s := &Sink{
		server: server, position: server.prefix + ":position:" + cfg.Pipeline, staged: server.prefix + ":staged:" + cfg.Pipeline,
		stream: cmp.Or(cfg.Stream, defaultStream), messages: cmp.Or(cfg.MessageStream, defaultMessages),
		format: cmp.Or(cfg.Format, "native"), options: encoding.Options{CloudEvents: cfg.CloudEvents}, maxLen: cfg.MaxLen,
	}
	if !slices.Contains(formats, s.format) {
		return nil, fmt.Errorf("redis sink: unknown format %q, expected %s", s.format, strings.Join(formats, ", "))
	}
	if _, err := encoding.New(s.format, s.options); err != nil {
		return nil, fmt.Errorf("redis sink: %w", err)
	}
	if strings.Contains(s.messages, "{table}") || strings.Contains(s.messages, "{schema}") {
		return nil, errors.New("redis sink: message_stream is for events without a table: only {source} can stand in it")
	}
	any := &entrain.Table{Schema: "*", Name: "*"}
	server.streams = []string{name(s.stream, "*", any), name(s.messages, "*", any)}
	return s, nil
}

// Guarantees implements [entrain.Guarantor].
func (s *Sink) Guarantees() entrain.Guarantees {
	return entrain.Guarantees{Once: true, Whole: true, Why: s.server.why()}
}

// Open implements [entrain.Sink]. The writer is an [entrain.Positioner].
func (s *Sink) Open(ctx context.Context) (entrain.Writer, error) {
	enc, err := encoding.New(s.format, s.options)
	if err != nil {
		return nil, fmt.Errorf("open redis sink: %w", err)
	}
	c, err := s.server.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open redis sink: %w", err)
	}
	return &writer{
		sink: s, conn: c, enc: enc, owner: process + "." + rand.Text(), ctx: context.WithoutCancel(ctx),
		streams: map[string]int{}, targets: map[*entrain.Table]string{},
	}, nil
}

// process tells the processes apart.
var process = rand.Text()

// name fills in a pattern.
func name(pattern, source string, t *entrain.Table) string {
	return strings.NewReplacer("{source}", source, "{schema}", t.Schema, "{table}", t.Name).Replace(pattern)
}
