package entraintest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// MemorySourceConfig says how a [MemorySource] behaves. The zero value is
// useful.
type MemorySourceConfig struct {
	// Stream names the history; by default source "source", incarnation
	// "memory".
	Stream entrain.Stream
	// BatchEvents is the most events in a batch: smaller transactions are
	// packed together, larger ones come in fragments. 0 means that each
	// transaction is one batch.
	BatchEvents int
	// Bounded makes Read return io.EOF at the end of the history instead of
	// waiting for more.
	Bounded bool
	// BeforeOpen and BeforeRead, if not nil, are called first in Open and
	// Read. They may block until ctx ends; an error is returned to the caller
	// and, from Read, ends the session.
	BeforeOpen func(ctx context.Context) error
	BeforeRead func(ctx context.Context) error
	// Now, if not nil, is the clock that commit times are of; by default the same
	// history has the same times.
	Now func() time.Time
}

// MemorySource is a source whose history is in memory and grows by
// [MemorySource.Commit]. Like a replication slot it forgets what was
// acknowledged: to open it at an older position is a [entrain.Stop], and the
// zero position means the last acknowledged one. All methods are safe for
// concurrent use.
type MemorySource struct {
	cfg MemorySourceConfig

	mu          sync.Mutex
	txs         []memoryTx // the whole history; txs[i] ends at position i+1
	acked       int        // 0 <= acked <= len(txs)
	acks        []entrain.Position
	outstanding int           // batches read and not freed
	sessions    int           // sessions opened
	broken      error         // why sessions up to brokenAt are over
	brokenAt    int           // 0 <= brokenAt <= sessions
	changed     chan struct{} // closed and replaced when any of the above changes
}

type memoryTx struct {
	tx     entrain.Transaction
	events []entrain.Event
}

// NewMemorySource returns a source with an empty history.
func NewMemorySource(cfg MemorySourceConfig) *MemorySource {
	if cfg.Stream == (entrain.Stream{}) {
		cfg.Stream = entrain.Stream{Source: "source", Incarnation: "memory"}
	}
	return &MemorySource{cfg: cfg, changed: make(chan struct{})}
}

// Commit appends one transaction with the events, in that order, and returns
// the position after it. Transactions and ordinals of the events are set;
// everything is copied. Without events it only moves the position, as an idle
// source does.
func (s *MemorySource) Commit(events ...entrain.Event) entrain.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := uint64(len(s.txs) + 1)
	t := memoryTx{tx: entrain.Transaction{
		Stream: &s.cfg.Stream, ID: 700 + n, Version: 1000 * n,
		CommitTime: time.Unix(1_700_000_000+int64(n), 0).UTC(),
	}}
	if s.cfg.Now != nil {
		t.tx.CommitTime = s.cfg.Now()
	}
	for i, e := range events {
		e = cloneEvent(e)
		e.Ordinal = uint64(i)
		t.events = append(t.events, e)
	}
	s.txs = append(s.txs, t)
	s.signal()
	return s.position(len(s.txs))
}

// Disconnect ends all sessions: their next Read, or the one that is blocked,
// returns an error that wraps err. Later sessions are not affected.
func (s *MemorySource) Disconnect(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.brokenAt = err, s.sessions
	s.signal()
}

// Acks returns the positions that were acknowledged, in the order in which
// they came.
func (s *MemorySource) Acks() []entrain.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acks)
}

// Outstanding returns the number of batches that were read and not freed yet.
func (s *MemorySource) Outstanding() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outstanding
}

// Open starts a session after from. See [entrain.Source].
func (s *MemorySource) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open memory source at %s: %w", from, err)
	}
	if s.cfg.BeforeOpen != nil {
		if err := s.cfg.BeforeOpen(ctx); err != nil {
			return nil, fmt.Errorf("open memory source at %s: %w", from, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.locate(from)
	if err != nil {
		return nil, err
	}
	s.sessions++
	return &memoryReader{src: s, session: s.sessions, tx: next, acked: next, done: make(chan struct{})}, nil
}

// locate returns the index of the transaction that follows p.
func (s *MemorySource) locate(p entrain.Position) (int, error) {
	if p.IsZero() {
		return s.acked, nil
	}
	n, err := strconv.Atoi(p.Offset)
	stop := &entrain.Stop{Why: "this history does not contain the position", Next: "start from the zero position"}
	switch {
	case p.Incarnation != s.cfg.Stream.Incarnation:
		stop.Code, stop.What = "foreign_history", "position "+p.Offset+" is of history "+p.Incarnation
	case err != nil || n < 0 || n > len(s.txs):
		stop.Code, stop.What, stop.Err = "position_ahead", "position "+p.Offset+" is unknown", err
	case n < s.acked:
		stop.Code, stop.What = "history_lost", fmt.Sprintf("position %d was passed: acknowledged is %d", n, s.acked)
	default:
		return n, nil
	}
	return 0, stop
}

func (s *MemorySource) position(n int) entrain.Position {
	return entrain.Position{Incarnation: s.cfg.Stream.Incarnation, Offset: strconv.Itoa(n)}
}

// signal wakes every blocked Read. The caller holds mu.
func (s *MemorySource) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// memoryReader is a session. The source's lock guards its fields; only the
// goroutine that reads moves the cursor.
type memoryReader struct {
	src     *MemorySource
	session int

	tx, event int // the next event to deliver: txs[tx].events[event]

	acked  int // acknowledged in this session, acked >= where it started
	closed bool
	over   error // the error that ended the session
	done   chan struct{}
}

// Stream implements [entrain.Streamer].
func (r *memoryReader) Stream() *entrain.Stream { return &r.src.cfg.Stream }

func (r *memoryReader) Read(ctx context.Context) (*entrain.Batch, error) {
	if hook := r.src.cfg.BeforeRead; hook != nil {
		if err := hook(ctx); err != nil && ctx.Err() == nil {
			return nil, r.end(err)
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read memory source after transaction %d: %w", r.tx, err)
		}
		b, changed, err := r.next()
		if b != nil || err != nil {
			return b, err
		}
		select {
		case <-changed:
		case <-r.done:
		case <-ctx.Done():
		}
	}
}

// next returns the next batch; nil and what to wait for if there is none yet.
func (r *memoryReader) next() (*entrain.Batch, <-chan struct{}, error) {
	s := r.src
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.closed:
		return nil, nil, fmt.Errorf("read memory source: session is closed")
	case r.over != nil:
		return nil, nil, r.over
	case s.brokenAt >= r.session:
		return nil, nil, fmt.Errorf("read memory source after transaction %d: %w", r.tx, s.broken)
	case r.tx < len(s.txs):
		s.outstanding++
		return r.batch(), nil, nil
	case s.cfg.Bounded:
		return nil, nil, io.EOF
	}
	return nil, s.changed, nil
}

func (r *memoryReader) end(err error) error {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.over == nil {
		r.over = fmt.Errorf("read memory source after transaction %d: %w", r.tx, err)
	}
	return r.over
}

// batch takes a fragment of the current transaction, or the rest of it and as
// many whole ones as fit.
func (r *memoryReader) batch() *entrain.Batch {
	limit := r.src.cfg.BatchEvents
	b := &entrain.Batch{}
	for r.tx < len(r.src.txs) {
		t := &r.src.txs[r.tx]
		rest := t.events[r.event:]
		fits := limit == 0 || len(b.Events)+len(rest) <= limit
		if !fits && len(b.Events) > 0 {
			break
		}
		if !fits {
			appendEvents(b, t, rest[:limit])
			r.event += limit
			r.own(b)
			return b
		}
		appendEvents(b, t, rest)
		r.tx, r.event = r.tx+1, 0
		if limit == 0 {
			break
		}
	}
	b.Through = r.src.position(r.tx)
	r.own(b)
	return b
}

// appendEvents copies events of t to b, with a transaction of their own.
func appendEvents(b *entrain.Batch, t *memoryTx, events []entrain.Event) {
	tx := t.tx
	for _, e := range events {
		e = cloneEvent(e)
		e.Tx = &tx
		b.Events = append(b.Events, e)
	}
}

// own sets what a batch says about its memory.
func (r *memoryReader) own(b *entrain.Batch) {
	const perEvent = 128 // an event and its share of the transaction
	events := b.Events
	for i := range events {
		b.Bytes += perEvent + len(events[i].Before) + len(events[i].After)
		if m := events[i].Message; m != nil {
			b.Bytes += len(m.Content)
		}
	}
	freed := false
	b.Free = func() {
		r.src.mu.Lock()
		defer r.src.mu.Unlock()
		if freed {
			panic("entraintest: a batch was freed twice")
		}
		freed = true
		r.src.outstanding--
		for i := range events {
			scribble(&events[i])
		}
	}
}

func (r *memoryReader) Ack(ctx context.Context, through entrain.Position) error {
	s := r.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.closed {
		return fmt.Errorf("acknowledge %s to memory source: session is closed", through)
	}
	n, err := s.locate(through)
	if err != nil {
		return fmt.Errorf("acknowledge %s to memory source: %w", through, err)
	}
	if n < r.acked || n > r.tx {
		return fmt.Errorf("acknowledge %s to memory source: acknowledged is %d, delivered %d", through, r.acked, r.tx)
	}
	r.acked, s.acked = n, n
	s.acks = append(s.acks, through)
	return nil
}

func (r *memoryReader) Close() error {
	s := r.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.done)
	}
	return nil
}
