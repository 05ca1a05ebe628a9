package fanout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout/window"
	"github.com/entrainsync/entrain/stream"
)

// MainClass is the class of tables that are in no other one: their changes are
// delivered as they come, with all that is about no table.
const MainClass = "stream"

// Lane is the delivery of the tables of one class into a sink: see
// docs/adr/0015-classes.md. Each has a cursor and a position of its own.
type Lane struct {
	// Class is its name; [MainClass] for the one that the other classes are taken
	// out of.
	Class string
	// Sees chooses tables by their names in the stream.
	Sees func(schema, name string) bool
	// Small, if set, are the bounds of windows that follow each other.
	Small *window.Rules
	// Schedule, if set, says when windows begin that end with what the stream has
	// then. Nothing is read in between.
	Schedule *window.Schedule
	// Memory, if set, remembers what a restart must not forget.
	Memory LaneMemory
}

// LaneMemory remembers things of one lane. Its methods may be called from any
// goroutine.
type LaneMemory interface {
	// Begin returns where the lane begins whose sink has the position had: had itself,
	// unless the class is newer than that.
	Begin(p stream.Partition, had entrain.Position) (entrain.Position, error)
	// Ran is when the last scheduled window of a partition began that has ended well, or
	// when waiting for the first one began.
	Ran(p stream.Partition) (time.Time, error)
	// SetRan notes when that was.
	SetRan(p stream.Partition, at time.Time) error
}

// main reports whether what is about no table is the lane's.
func (l *Lane) main() bool { return l.Class == MainClass }

// sees is whether a lane sees a table.
type sees func(t *entrain.Table) bool

func (l *Lane) sees(t *entrain.Table) bool { return l.Sees(t.Schema, t.Name) }

// wants reports whether an event is the lane's; of a truncate it leaves the lane's
// tables.
func (l *Lane) wants(e *entrain.Event, sees sees) bool {
	switch {
	case e.Table != nil:
		return sees(e.Table)
	case e.Truncate == nil || len(e.Truncate.Tables) == 0:
		return l.main()
	}
	foreign := func(t *entrain.Table) bool { return !sees(t) }
	if !slices.ContainsFunc(e.Truncate.Tables, foreign) {
		return true
	}
	own := *e.Truncate
	own.Tables = slices.DeleteFunc(slices.Clone(own.Tables), foreign)
	e.Truncate = &own
	return len(own.Tables) > 0
}

// laneSource is a partition of the log as a lane sees it.
type laneSource struct {
	entrain.Source
	lane  *Lane
	at    stream.Partition
	small *window.Rules            // nil: nothing waits
	noted func(p entrain.Position) // called with where it begins, and what is acknowledged; may be nil
}

// Open implements [entrain.Source].
func (s *laneSource) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	if s.lane.Memory != nil {
		var err error
		if from, err = s.lane.Memory.Begin(s.at, from); err != nil {
			return nil, err
		}
	}
	opened, err := s.Source.Open(ctx, from)
	if err != nil {
		return nil, err
	}
	s.note(from)
	inner := laneReader{Reader: opened, src: s, known: map[[2]string]bool{}}
	if s.small == nil {
		return &inner, nil
	}
	w := &windowReader{laneReader: inner, queue: window.NewQueue(*s.small), came: make(chan arrival)}
	w.session, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.pump.Go(w.pass)
	return w, nil
}

func (s *laneSource) note(p entrain.Position) {
	if s.noted != nil {
		s.noted(p)
	}
}

// laneReader hands out what a lane sees. A part of a transaction that has nothing of
// it is left out; its end is not, since it has the position.
type laneReader struct {
	entrain.Reader
	src   *laneSource
	last  *entrain.Table // that was asked for, for the goroutine that calls Read
	seen  bool           // whether the lane sees it
	known map[[2]string]bool
}

// sees is the lane's answer, remembered.
func (r *laneReader) sees(t *entrain.Table) bool {
	if t == r.last {
		return r.seen
	}
	name := [2]string{t.Schema, t.Name}
	seen, known := r.known[name]
	if !known {
		seen = r.src.lane.sees(t)
		r.known[name] = seen
	}
	r.last, r.seen = t, seen
	return seen
}

// filter leaves in a batch what the lane sees.
func (r *laneReader) filter(b *entrain.Batch) {
	kept := b.Events[:0]
	for i := range b.Events {
		if e := &b.Events[i]; r.src.lane.wants(e, r.sees) {
			kept = append(kept, *e)
		}
	}
	clear(b.Events[len(kept):])
	b.Events = kept
}

// Read implements [entrain.Reader].
func (r *laneReader) Read(ctx context.Context) (*entrain.Batch, error) {
	for {
		b, err := r.Reader.Read(ctx)
		if err != nil {
			return nil, err
		}
		r.filter(b)
		if len(b.Events) > 0 || !b.Through.IsZero() {
			return b, nil
		}
		free(b)
	}
}

// Ack implements [entrain.Reader].
func (r *laneReader) Ack(ctx context.Context, through entrain.Position) error {
	err := r.Reader.Ack(ctx, through)
	if err == nil {
		r.src.note(through)
	}
	return err
}

// Lag implements [entrain.Lagger].
func (r *laneReader) Lag() entrain.Lag {
	if lagger, ok := r.Reader.(entrain.Lagger); ok {
		return lagger.Lag()
	}
	return entrain.Lag{Bytes: -1}
}

// Counts implements [entrain.Counter].
func (r *laneReader) Counts() map[string]int64 {
	if counter, ok := r.Reader.(entrain.Counter); ok {
		return counter.Counts()
	}
	return nil
}

// arrival is what reading from the log returned.
type arrival struct {
	batch *entrain.Batch
	err   error
}

// windowReader reads on while it holds what it has read until the window ends.
type windowReader struct {
	laneReader
	came    chan arrival
	session context.Context
	cancel  context.CancelFunc
	pump    sync.WaitGroup // pass
	once    sync.Once
	closed  error

	mu    sync.Mutex       // held by Read; guards what follows
	queue *window.Queue    // what waits
	due   []*entrain.Batch // of the window that ended
	over  error            // why nothing comes any more
}

// pass hands on what comes from the log, until it or the session ends.
func (r *windowReader) pass() {
	for {
		b, err := r.laneReader.Read(r.session)
		select {
		case r.came <- arrival{b, err}:
		case <-r.session.Done():
			if b != nil {
				free(b)
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements [entrain.Reader].
func (r *windowReader) Read(ctx context.Context) (*entrain.Batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.due) == 0 {
		if r.over != nil {
			return nil, r.over
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
	}
	b := r.due[0]
	r.due = r.due[1:]
	return b, nil
}

// wait waits for the next batch or the end of the window, whichever is first.
func (r *windowReader) wait(ctx context.Context) error {
	var ends <-chan time.Time
	if at, known := r.queue.Due(); known {
		left := time.Until(at)
		if at.IsZero() || left <= 0 {
			r.due = r.queue.Take(time.Now())
			return nil
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		ends = timer.C
	}
	select {
	case a := <-r.came:
		if r.over = a.err; a.err == nil {
			r.queue.Add(window.Keep(a.batch), time.Now())
		}
	case <-ends:
	case <-r.session.Done():
		return errors.New("the session with the stream was closed")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Close implements [entrain.Reader]: what waits was not delivered, and comes again.
func (r *windowReader) Close() error {
	r.once.Do(func() {
		r.cancel()
		r.closed = r.Reader.Close()
		r.pump.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.queue.Drop()
		for _, b := range r.due {
			free(b)
		}
		r.due = nil
	})
	return r.closed
}

func free(b *entrain.Batch) {
	if b.Free != nil {
		b.Free()
	}
}
