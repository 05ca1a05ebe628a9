// Package pipeline is the engine: it reads batches from a source, hands them
// to a sink in order, and tells the source only what the sink has durably
// (P1). It owns no signal, no process and no global; Run blocks until the
// work is done, the context ends or a named stop is met.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// Options say what to run. Source and Sink are required; Store too unless the
// sink's writers are an [entrain.Positioner]. With those it is what notices,
// after a restart, that the sink has lost its position.
type Options struct {
	Source entrain.Source
	Sink   entrain.Sink
	Store  Store
	// Log receives one line an event of interest. Default: discarded.
	Log *slog.Logger
	// BufferBytes bounds what is read but not yet written; one batch may
	// exceed it. Default 16 MiB.
	BufferBytes int
	// BatchBytes is up to how much is handed to the sink at once when it is
	// there; the engine never waits for more. Default 4 MiB.
	BatchBytes int
	// Transform, if set, is called for every batch between source and sink, in
	// order, by one goroutine at a time. It returns the batch to deliver, with
	// the same Through: the one it was given, unaltered, or one that frees it.
	// Events that it leaves out it adds to Filtered (P1). On an error it has
	// taken nothing over, and the session ends.
	Transform func(*entrain.Batch) (*entrain.Batch, error)
	// Snapshot says whether the rows that are there already are copied first.
	// Default: they are not.
	Snapshot Snapshot
	// Relayed: the source is a durable stream, whose events of changed shapes the
	// capture has made.
	Relayed bool
	// Lacking, if set, says how a table is made that the sink lacks, behind a stream, and
	// has its rows delivered once more. It gets the stop, which has the table. Nil: it
	// cannot be made. One goroutine calls it at a time.
	Lacking func(context.Context, *entrain.Stop) (*entrain.ChunkTable, error)
	// Standby: another process may have the source; this one waits until it can take
	// it over, if the source is an [entrain.Leaser], and an error that a new session
	// may mend is retried from the beginning.
	Standby bool
	// DeadLetters, if set, let the pipeline go on without events that the sink
	// refuses.
	DeadLetters *DeadLetters
	// LeftLetters are where dead letters may be from a time when they were kept there.
	// Those that are there still are a stop: what comes behind them would overtake them.
	LeftLetters []LeftLetters
	// Circuit, if set, has the pipeline pause when the sink fails again and again.
	Circuit *Circuit
	// Dedup, if set, takes changes out that the sink has already.
	Dedup *Dedup
	// Contracts, if set, are what events are held to, before Transform sees them.
	Contracts *Contracts
	// Retry says how long to wait before a new session.
	Retry Retry
	// OnTableError is what becomes of a table of which the sink refuses something.
	// Default: the pipeline stops.
	OnTableError TableError
	// ShutdownTimeout bounds the drain after the context of Run ended.
	// Default 20 s.
	ShutdownTimeout time.Duration
	// Failpoint, if set, is called at every durable boundary, by any goroutine; its
	// error is treated as if the step after it had failed, but for [ErrReturn]. For
	// tests.
	Failpoint func(Point) error
}

// TableError is what becomes of a table that cannot go on.
type TableError uint8

const (
	// TableErrorStop ends the pipeline (P4).
	TableErrorStop TableError = iota
	// TableErrorResync leaves the table's changes out from then on and marks it to
	// be resynced; the others go on. Transactions across it arrive without it.
	TableErrorResync
)

// Point names a boundary at which a fault can be injected.
type Point string

// The boundaries of the data path, in the order of a batch's way.
const (
	PointReceived Point = "received" // a batch was read
	PointWriting  Point = "writing"  // before the sink's Write
	PointParked   Point = "parked"   // what the sink refused is stored, the rest not durable
	PointDurable  Point = "durable"  // the sink has it, the position is not saved
	PointSaved    Point = "saved"    // the position is saved, the source is not told
	PointAcked    Point = "acked"    // the source is told
)

// ErrReturn, from a failpoint at [PointDurable], [PointSaved] or [PointAcked], leaves
// out what follows there, as if the function had returned: the next batch makes up for
// it, as long as no table is being copied. At the other points, where what follows is
// the delivery itself, it is an error like others.
var ErrReturn = errors.New("return early")

// Points are all boundaries, in order.
func Points() []Point {
	return []Point{PointReceived, PointWriting, PointParked, PointDurable, PointSaved, PointAcked}
}

// Pipeline moves the changes of one source to one sink. Run may be called
// once; Status at any time from any goroutine.
type Pipeline struct {
	opt Options
	log *slog.Logger
	// lacking is about the table that the next session makes; for Run's goroutine.
	lacking *entrain.Stop

	renews   bool // the next session begins a new history with the source
	saidOnce bool // that something without changes was not copied

	unguarded func() // ends the guard that runs; nil if none does

	gate         gate           // of the session at work
	transforming sync.Mutex     // held by a call of Transform
	progress     progress       // of copying rows
	initial      initialCopy    // the first copy, as far as people order it about
	advancing    sync.WaitGroup // what brings sequences over
	tables       *tables        // the life of single tables
	shapes       shapes         // that tables had
	letters      *desk          // events that were taken out
	seen         *sieve         // changes that the sink has
	contracts    *judge         // of events

	mu    sync.Mutex
	state state
}

// New checks the options. It neither dials nor starts anything.
func New(o Options) (*Pipeline, error) {
	if o.Source == nil || o.Sink == nil {
		return nil, errors.New("pipeline: source and sink are required")
	}
	if o.BufferBytes < 0 || o.BatchBytes < 0 || o.ShutdownTimeout < 0 {
		return nil, errors.New("pipeline: sizes and times must not be negative")
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = 16 << 20
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = 4 << 20
	}
	if o.ShutdownTimeout == 0 {
		o.ShutdownTimeout = 20 * time.Second
	}
	if o.Snapshot.Mode != SnapshotNever && o.Transform != nil && o.Snapshot.TransformTable == nil {
		return nil, errors.New("pipeline: a snapshot with a transform needs Snapshot.TransformTable")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{opt: o, log: o.Log}
	p.tables = newTables(p)
	p.letters = newDesk(p, o.DeadLetters)
	p.seen = &sieve{opt: o.Dedup, p: p}
	p.shareNotes()
	var err error
	p.contracts, err = newJudge(p, o.Contracts)
	return p, err
}

// Run moves changes until a bounded source is done or ctx ends, and returns
// nil then, after what was read has been delivered and the position saved and
// confirmed. Once a session has been up, errors that a new session may mend
// are retried for ever (P9); every other error is returned. If the drain takes
// longer than the shutdown timeout, the error wraps context.DeadlineExceeded.
func (p *Pipeline) Run(ctx context.Context) error {
	if err := p.become(phaseConnecting, nil); err != nil {
		return err
	}
	delays := backoff{rules: p.opt.Retry}
	defer p.unguard()
	defer close(p.letters.gone)
	defer p.seen.close()
	for {
		p.guard(ctx)
		if p.rest(ctx) != nil {
			return p.become(phaseStopped, nil)
		}
		err := p.session(ctx, &delays)
		over := ctx.Err() != nil // looked at once: it may change meanwhile
		switch {
		case err == nil || errors.Is(err, errCopied) || over && (interrupted(err) || onlyReplay(err)):
			return p.become(phaseStopped, nil)
		case errors.Is(err, errReopen) && !over:
			if err := p.become(phaseConnecting, nil); err != nil {
				return err
			}
			continue
		case !over && (p.meetsNew(ctx, err) || p.lacks(err) || p.letters.refuse(err) || p.tables.survive(ctx, err) || p.renew(ctx, err)):
		case over || !entrain.IsRetryable(err) || !p.wasUp() && !p.opt.Standby:
			p.count(err)
			return errors.Join(err, p.become(phaseFailed, err))
		}
		p.count(err)
		wait := delays.next(err, rand.Float64())
		if p.letters.decided(err) {
			wait = 0
		}
		p.log.Warn("session ended, will start again", "error", errors.New(withoutAdvice(err)), "in", max(wait, p.opt.Circuit.left(time.Now())).Round(time.Millisecond))
		if err := p.become(phaseConnecting, err); err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return p.become(phaseStopped, nil)
		}
	}
}

// withoutAdvice is an error's text without what its stops would have a person type: the
// pipeline goes on by itself.
func withoutAdvice(err error) string {
	text := err.Error()
	for stop := (*entrain.Stop)(nil); errors.As(err, &stop) && stop != nil; err = stop.Err {
		if stop.Next != "" {
			text = strings.Replace(text, "; next: "+stop.Next, "", 1)
		}
	}
	return text
}

// onlyReplay reports that a session ended by a replay that was refused.
func onlyReplay(err error) bool {
	var ended *replayEnded
	return errors.As(err, &ended)
}

// interrupted reports that err came from the end of the context of Run, not
// from the end of the time for the drain.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// point calls the failpoint hook.
func (p *Pipeline) point(at Point) error {
	if p.opt.Failpoint == nil {
		return nil
	}
	return p.opt.Failpoint(at)
}

// early is how a step ends at a failpoint behind which it may return.
func early(err error) error {
	if errors.Is(err, ErrReturn) {
		return nil
	}
	return err
}

// workContext returns a context for the work after reading has to stop: it
// outlives ctx by the shutdown timeout.
func (p *Pipeline) workContext(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(p.opt.ShutdownTimeout, func() {
			cancel(fmt.Errorf("drain took longer than %s: %w", p.opt.ShutdownTimeout, context.DeadlineExceeded))
		})
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() {
		stop()
		cancel(context.Canceled)
	}
}
