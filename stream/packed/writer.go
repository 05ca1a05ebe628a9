package packed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/frame"
)

// writer is one session that appends to the sequence of a producer. Write,
// Position and define take turns by turn; beside them, at most one goroutine
// appends a group of messages while the next one is encoded, and one looks after
// the retention.
type writer struct {
	log    *Log
	seq    *Sequence
	ctx    context.Context // the session's
	cancel context.CancelFunc
	wg     sync.WaitGroup
	room   *room
	finish atomic.Uint64 // base, for the retention
	owns   atomic.Uint64 // marker, once the sequence is ours
	counts counts
	lost   chan error // has room for one

	turn chan struct{} // holds the one token; what is below belongs to who has it

	err    error         // the session is over
	taken  bool          // the sequence is ours: Position was called
	open   bool          // a part of a transaction was written, its end was not
	closed chan struct{} // is closed when taken, open or err change; then replaced

	at     entrain.Position // of the source, at base
	marker uint64           // the message that the session began with
	last   uint64           // the last message that is known to be there
	tip    uint64           // its digest; 0: there is none
	base   uint64           // the last finished one; base <= last
	total  uint64           // bytes of all messages through the last one given to append
	stored time.Time        // when an idle position was stored

	enc     frame.Encoder
	group   group         // is being filled
	spare   group         // the other one's memory
	flying  chan appended // of the group that is being appended; nil if none is
	defined uint64        // counts definitions
	stream  *entrain.Stream
	version uint64 // of the last transaction written
}

// appended is what became of a group.
type appended struct {
	last, tip uint64
	err       error
	g         group
}

// errNotTaken is returned by calls that come before Position.
var errNotTaken = errors.New("packed: Position was not called")

func newWriter(ctx context.Context, l *Log, seq *Sequence) *writer {
	w := &writer{log: l, seq: seq, lost: make(chan error, 1), turn: make(chan struct{}, 1), closed: make(chan struct{})}
	// The session outlives the opening.
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.room = newRoom(l, seq)
	w.turn <- struct{}{}
	w.wg.Go(w.retain)
	if seq.Watch != nil {
		w.wg.Go(w.watch)
	}
	return w
}

// watch notices that the session is over though nobody writes.
func (w *writer) watch() {
	if err := w.seq.Watch(w.ctx); err != nil {
		w.lost <- fmt.Errorf("the stream of %s: %w", w.log.cfg.Producer, err)
	}
}

// Lost implements [entrain.Watcher].
func (w *writer) Lost() <-chan error { return w.lost }

// enter waits for the turn.
func (w *writer) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-w.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	if w.err == nil && w.ctx.Err() != nil {
		w.err = w.ctx.Err()
		w.changed()
	}
	if err := w.err; err != nil {
		w.leave()
		return fmt.Errorf("the session with the stream is over: %w", err)
	}
	return nil
}

func (w *writer) leave() { w.turn <- struct{}{} }

// changed wakes those who wait for the end of a transaction.
func (w *writer) changed() {
	close(w.closed)
	w.closed = make(chan struct{})
}

// end ends the session: what was not durable has no effect.
func (w *writer) end(err error) error {
	if w.err == nil {
		w.err = err
		w.changed()
		w.cancel()
	}
	return err
}

// Write implements [entrain.Writer].
func (w *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if err := w.enter(ctx); err != nil {
		if ctx.Err() != nil {
			w.cancel() // any error ends the session
		}
		return err
	}
	defer w.leave()
	if !w.taken {
		return w.end(errNotTaken)
	}
	if n := len(b.Through.Incarnation) + len(b.Through.Offset); n > w.seq.MessageBytes/2 {
		return w.end(fmt.Errorf("the source's position has %d bytes, and a message of the stream of %s has room for %d", n, w.log.cfg.Producer, w.seq.MessageBytes))
	}
	if err := w.write(ctx, b); err != nil {
		return w.end(err)
	}
	return nil
}

func (w *writer) write(ctx context.Context, b *entrain.Batch) error {
	whole := !b.Through.IsZero()
	switch {
	case len(b.Events) == 0 && !whole:
		return nil
	case len(b.Events) == 0 && !w.open:
		return w.idle(ctx, b.Through)
	}
	if n := len(b.Events); n > 0 {
		tx := b.Events[n-1].Tx
		if tx == nil || tx.Stream == nil {
			return errors.New("packed: an event without a transaction")
		}
		w.version = tx.Version
		if w.stream == nil || *w.stream != *tx.Stream {
			s := *tx.Stream
			w.stream = &s
		}
	}
	if err := w.put(ctx, b.Events, b.Through, endOf(b)); err != nil {
		return err
	}
	if !whole {
		w.open = true
		return nil
	}
	return w.settle(ctx, b.Through)
}

// settle waits until all is durable.
func (w *writer) settle(ctx context.Context, at entrain.Position) error {
	if err := w.land(ctx); err != nil {
		return err
	}
	w.base, w.at, w.open = w.last, at, false
	w.finish.Store(w.base)
	w.changed()
	return nil
}

// idleEvery is the least time between two idle positions. It is short, because
// Write has to wait for it: when it returns the source may forget what is before
// the position.
const idleEvery = 50 * time.Millisecond

// idle stores a position that no event leads to. It is of the message that is the
// last one: as long as that is so, it counts.
func (w *writer) idle(ctx context.Context, at entrain.Position) error {
	if at == w.at {
		return nil
	}
	if err := pause(ctx, time.Until(w.stored.Add(idleEvery))); err != nil {
		return err
	}
	m := marked{Number: w.base, Digest: w.tip, Incarnation: at.Incarnation, Offset: at.Offset, At: time.Now()}
	if err := w.store(ctx, idleName(w.marker), m); err != nil {
		return fmt.Errorf("store the source's position %s: %w", at, err)
	}
	w.at, w.stored = at, time.Now()
	return nil
}

// define writes the definition of a table as soon as no transaction is open.
func (w *writer) define(ctx context.Context, t entrain.ChunkTable) error {
	for {
		if err := w.enter(ctx); err != nil {
			return err
		}
		if w.taken && !w.open {
			break
		}
		closed := w.closed
		w.leave()
		select {
		case <-closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer w.leave()
	err := w.put(ctx, []entrain.Event{w.definition(t)}, w.at, endWhole)
	if err == nil {
		err = w.settle(ctx, w.at)
	}
	if err != nil {
		return w.end(err)
	}
	return nil
}

// definition is an event of a transaction of its own, at the version of what was
// written last.
func (w *writer) definition(t entrain.ChunkTable) entrain.Event {
	d := t.Definition
	if d == nil {
		d = &entrain.Definition{} // the table is wanted, but nobody can say how to make it
	}
	s := w.stream
	if s == nil {
		s = &entrain.Stream{Source: w.log.cfg.Producer, Incarnation: w.seq.ID}
	}
	w.defined++
	return entrain.Event{
		Op: entrain.OpSchema, Table: t.Table, Schema: &entrain.SchemaChange{Make: d},
		Ordinal: entrain.SchemaOrdinal(w.defined, 0), Tx: &entrain.Transaction{Stream: s, Version: w.version},
	}
}

// Close implements [entrain.Writer]. A transaction without its end stays in the
// sequence as a torn tail, which the next writer removes.
func (w *writer) Close() error {
	w.cancel()
	<-w.turn
	if w.flying != nil {
		<-w.flying
		w.flying = nil
	}
	if w.err == nil {
		w.err = errors.New("it was closed")
		w.changed()
	}
	w.leave()
	w.wg.Wait()
	w.log.closed(w)
	return w.seq.Close()
}

// pause waits for a while or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counts are the work of a session.
type counts struct{ messages, bytes, waits atomic.Int64 }

// Counts implements [entrain.Counter]: messages and bytes that were appended, and
// how often there was no room.
func (w *writer) Counts() map[string]int64 {
	return map[string]int64{
		"messages": w.counts.messages.Load(), "message_bytes": w.counts.bytes.Load(), "full": w.counts.waits.Load(),
	}
}
