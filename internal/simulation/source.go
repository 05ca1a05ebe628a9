package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
)

// source is what the source's server knows: like a replication slot, it may forget what
// was confirmed. Always confirmed <= told <= transactions of the history.
type source struct {
	confirmed int // the server has heard that these transactions are safe
	told      int // a reader has sent it; written under the world's mutex
	ahead     time.Duration
}

// sourceEnd is the source as one process sees it.
type sourceEnd struct {
	p *process
	// saved is how many events a crash cannot lose: the position is saved behind them.
	saved  func() int
	reader *sourceReader // the last one, for a planted bug
	held   atomic.Int64  // bytes of batches that were read and not given back
	opened int           // sessions
	from   int           // transactions before the last one
}

// Open implements [entrain.Source].
func (s *sourceEnd) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	r := &sourceReader{sourceEnd: s, closed: make(chan struct{})}
	w := s.p.w
	err := s.p.do(ctx, &operation{key: "source open", act: func() error {
		n, err := w.history.transactions(from)
		if err != nil {
			return err
		}
		if n < w.source.confirmed {
			w.violate("P7", "the source was told that %d transactions are safe, and is opened behind %d", w.source.confirmed, n)
			return errors.New("what follows the position is gone")
		}
		if held := s.held.Load(); held != 0 {
			w.violate("P6", "the source is opened anew, and %d bytes of batches were not given back", held)
		}
		// Where a session begins is safe, which a server is told (PostgreSQL: by the
		// first status).
		w.source.told = max(w.source.told, n)
		s.opened, s.from = s.opened+1, n
		r.tx, r.read, r.acked = n, n, n
		r.skips = w.cfg.Plant == PlantSkipAfterReconnect && n > 0
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("open simulated source at %s: %w", from, err)
	}
	s.reader = r
	return r, nil
}

// sourceReader is a session. The scheduler moves tx and event; the rest is guarded by
// the world's mutex.
type sourceReader struct {
	*sourceEnd
	tx, event int // the next event to deliver is event number event of transaction tx
	skips     bool
	previous  []entrain.Event // of the batch before, for a planted bug

	read   int // transactions that were handed out whole
	acked  int
	once   sync.Once
	closed chan struct{}
}

// Stream implements [entrain.Streamer].
func (r *sourceReader) Stream() *entrain.Stream { return &r.p.w.history.stream }

// Read implements [entrain.Reader].
func (r *sourceReader) Read(ctx context.Context) (*entrain.Batch, error) {
	var b *entrain.Batch
	r.p.up = true
	err := r.p.do(ctx, &operation{
		key: "source read", cut: r.closed,
		ready: func() bool { return r.tx < len(r.p.w.history.txs) },
		act:   func() error { b = r.batch(); return nil },
	})
	switch {
	case ctx.Err() != nil && b == nil:
		return nil, ctx.Err()
	case err != nil:
		if b != nil {
			b.Free()
		}
		if r.p.w.cfg.Plant == PlantGivesUp && errors.Is(err, errFault) {
			err = errFault
		}
		return nil, fmt.Errorf("read simulated source: %w", err)
	}
	return b, nil
}

// batch is what comes next: a part of a transaction, or the rest of one and some whole
// ones behind it.
func (r *sourceReader) batch() *entrain.Batch {
	w := r.p.w
	h := w.history
	limit := 1 + w.rng.IntN(batchEvents)
	b := &entrain.Batch{}
	for r.tx < len(h.txs) {
		from, to := h.ends[r.tx]+r.event, h.ends[r.tx+1]
		fits := len(b.Events)+to-from <= limit
		if !fits && len(b.Events) > 0 {
			break
		}
		if !fits {
			r.take(b, from, from+limit)
			r.event += limit
			r.own(b)
			return b
		}
		r.take(b, from, to)
		r.tx, r.event = r.tx+1, 0
	}
	b.Through = h.position(r.tx)
	w.mu.Lock()
	r.read = r.tx
	w.mu.Unlock()
	r.own(b)
	return b
}

// take adds events of the history to a batch.
func (r *sourceReader) take(b *entrain.Batch, from, to int) {
	w := r.p.w
	if from == to {
		return
	}
	tx := w.history.txs[w.history.of[from]]
	for i := from; i < to; i++ {
		if r.skips || w.cfg.Plant == PlantDropRarely && w.rng.IntN(10_000) == 0 {
			r.skips = false
			continue
		}
		b.Events = append(b.Events, w.history.copied(i, &tx))
	}
	if w.cfg.Plant == PlantSwapKey && w.rng.IntN(50) == 0 {
		swapKey(b.Events)
	}
}

// own gives the batch its memory, which is not what it was once it is free.
func (r *sourceReader) own(b *entrain.Batch) {
	events, w, freed := b.Events, r.p.w, false
	b.Bytes = sizeOf(events)
	if w.cfg.Plant == PlantReuseMemory && w.rng.IntN(20) == 0 {
		scribble(r.previous)
	}
	r.previous = events
	held, largest := r.held.Add(int64(b.Bytes)), sizeOfLargest
	// One batch is in the reader's hands, what fills the queue may be one, and what is
	// written, too.
	if most := largest + max(largest, w.shape.buffer) + max(largest, w.shape.batch); held > int64(most) {
		w.violate("P6", "%d bytes of batches are held, and there should be no more than %d", held, most)
	}
	b.Free = func() {
		if freed {
			w.violate("P6", "a batch was freed twice")
		}
		freed = true
		r.held.Add(int64(-b.Bytes))
		scribble(events)
	}
}

// scribble makes the memory of a batch useless for whoever still reads it.
func scribble(events []entrain.Event) {
	for i := range events {
		for _, row := range [][]byte{events[i].Before, events[i].After} {
			for k := range row {
				row[k] = 0xdb
			}
		}
	}
}

// batchEvents bounds a batch of the source, and sizeOfLargest its memory.
const (
	batchEvents   = 12
	sizeOfLargest = batchEvents * (128 + 2*(4*4+1+10))
)

// sizeOf is about the memory of events.
func sizeOf(events []entrain.Event) int {
	size := 0
	for i := range events {
		size += 128 + len(events[i].Before) + len(events[i].After)
	}
	return size
}

// Ack implements [entrain.Reader].
func (r *sourceReader) Ack(ctx context.Context, through entrain.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := r.p.w
	n, err := w.history.transactions(through)
	if err != nil {
		return err
	}
	safe := r.saved()
	w.mu.Lock()
	dead, acked, read := r.p.dead, r.acked, r.read
	if !dead {
		r.acked, w.source.told = n, max(w.source.told, n)
	}
	w.mu.Unlock()
	switch {
	case dead:
		return errDead
	case w.history.before[n] > safe:
		w.violate("P7", "the source is told that %d events are safe, and a crash would leave %d", w.history.before[n], safe)
	case n < acked || n > read:
		w.violate("P7", "the source is told of transaction %d, behind %d and before %d", n, acked, read)
	}
	return nil
}

// Close implements [entrain.Reader].
func (r *sourceReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// swapKey swaps two neighbouring events of one key, if there are such.
func swapKey(events []entrain.Event) {
	for i := 1; i < len(events); i++ {
		a, b := &events[i-1], &events[i]
		if keyOf(a) == keyOf(b) {
			*a, *b = *b, *a
			return
		}
	}
}

func keyOf(e *entrain.Event) string {
	row := e.After
	if row == nil {
		row = e.Before
	}
	value, _ := row.Column(0, len(e.Table.Columns))
	return string(value)
}
