// Package packed makes a durable stream of any store that can keep an ordered
// sequence of binary messages: many events a message, one sequence a producer
// (docs/adr/0009). What such a store has to do is [Backend]; the rest is here:
// messages and transactions, fencing, positions, retention, waiting for room.
//
// A message is an envelope and a frame (package stream/frame), or a fragment of
// a frame that is too large for the store. Whether a run of messages has ended is
// in their envelopes: a run without an end is the torn tail of a writer that died.
// A writer that takes over appends a marker, from which on no older writer can
// append, and then removes the torn tail before it. A reader that has handed out a part
// of a torn transaction meets the marker and ends its session, so that its sink
// rolls the part back.
package packed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// Config is what a [Log] is made of. Backend and Producer are required.
type Config struct {
	Backend Backend
	// Producer names the sequence that the log's writers write, as the partition is
	// named: the pipeline's name.
	Producer string
	// MaxBytes is the room that the messages of the producer may take; 0 leaves it
	// to the back end.
	MaxBytes int64
	// Retention is how long messages are kept that all cursors have read. With 0
	// they are removed within seconds.
	Retention time.Duration
	// Log may be nil.
	Log *slog.Logger
	// MessageBytes is about the size of a message where there is enough to write; 0
	// means 512 kB. The back end's own limit holds, too.
	MessageBytes int
	// Every is the time between two looks of the retention, and between two attempts
	// to write into a full log; 0 means 3 seconds.
	Every time.Duration
}

// Log is a durable stream of packed messages. It implements [stream.Log],
// [stream.Cursorer] and [entrain.TableMaker], and may be used from several
// goroutines.
type Log struct {
	cfg Config

	mu      sync.Mutex
	cursors []string // of the configuration
	named   bool     // Cursors was called
	writer  *writer  // the one that was opened last, until it is closed
}

// The defaults of a [Config].
const (
	defaultMessageBytes = 512 << 10
	defaultEvery        = 3 * time.Second
)

// New returns a log. It does not dial. A configuration that cannot be is an
// error.
func New(cfg Config) (*Log, error) {
	if cfg.Backend == nil || cfg.Producer == "" {
		return nil, errors.New("packed: a log needs a back end and the name of its producer")
	}
	if cfg.MaxBytes < 0 || cfg.Retention < 0 || cfg.MessageBytes < 0 || cfg.Every < 0 {
		return nil, errors.New("packed: negative limits")
	}
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = defaultMessageBytes
	}
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Log{cfg: cfg}, nil
}

var cursorName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// Cursors implements [stream.Cursorer].
func (l *Log) Cursors(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursors, l.named = slices.Clone(names), true
}

// readers are the cursors that hold messages back. Without any knowledge of them
// nothing may be removed.
func (l *Log) readers() (names []string, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursors, l.named
}

// Partitions implements [stream.Log]: one a producer.
func (l *Log) Partitions(ctx context.Context) ([]stream.Partition, error) {
	producers, err := l.cfg.Backend.Producers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the producers of the stream: %w", err)
	}
	partitions := make([]stream.Partition, len(producers))
	for i, p := range producers {
		partitions[i] = stream.Partition(p)
	}
	return partitions, nil
}

// Guarantees implements [entrain.Guarantor].
func (l *Log) Guarantees() entrain.Guarantees { return entrain.Guarantees{Once: true, Whole: true} }

// Read implements [stream.Log]. The cursor's name has letters, digits and "._-"
// only; else Open fails.
func (l *Log) Read(cursor string, p stream.Partition) entrain.Source {
	return &source{log: l, cursor: cursor, partition: p}
}

// Open implements [entrain.Sink].
func (l *Log) Open(ctx context.Context) (entrain.Writer, error) {
	seq, err := l.cfg.Backend.Open(ctx, l.cfg.Producer)
	if err != nil {
		return nil, fmt.Errorf("open the stream of %s: %w", l.cfg.Producer, err)
	}
	w := newWriter(ctx, l, seq)
	l.mu.Lock()
	l.writer = w
	l.mu.Unlock()
	return w, nil
}

// closed is called by a writer.
func (l *Log) closed(w *writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer == w {
		l.writer = nil
	}
}

// MakeTable implements [entrain.TableMaker]: the definition becomes an event of the
// stream, before all that the current writer writes later. It returns when that is
// durable, which in the middle of a large transaction takes until its end.
func (l *Log) MakeTable(ctx context.Context, t entrain.ChunkTable) error {
	l.mu.Lock()
	w := l.writer
	l.mu.Unlock()
	if w == nil {
		return entrain.Retryable(fmt.Errorf("no session writes to the stream of %s", l.cfg.Producer))
	}
	if err := w.define(ctx, t); err != nil {
		return fmt.Errorf("write the definition of table %s to the stream: %w", t.Table, err)
	}
	return nil
}

// marked is a position of a reader as it is stored, and of a source while nothing
// comes from it.
type marked struct {
	// Number of the message.
	Number uint64 `json:"number"`
	// Digest tells whether it is the same message still; 0: it is not known.
	Digest uint64 `json:"digest,omitempty,string"`
	// Incarnation and Offset are the source's position; empty for a cursor.
	Incarnation string `json:"incarnation,omitempty"`
	Offset      string `json:"offset,omitempty"`
	// At is when it was stored.
	At time.Time `json:"at"`
}

// The names of stored values: prefixes before a cursor's name, and before the
// number of the marker that a writer began with.
const (
	cursorPrefix = "cursor."
	idlePrefix   = "idle."
)
