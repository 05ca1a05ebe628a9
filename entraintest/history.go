package entraintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// history is what the suite made happen at a source, and what it has learnt of
// it: the ids of the changes and the positions between the transactions.
type history struct {
	t     testing.TB
	h     SourceHarness
	src   entrain.Source
	model Rows
	txs   [][]*change
	// seen holds every position that a session reported, in order, with the
	// number of transactions that it is after.
	seen []seenPosition
}

type seenPosition struct {
	entrain.Position
	after int
}

// change is one event that a source has to deliver.
type change struct {
	event entrain.Event
	// current is the row before the change; nil for an insert.
	current []Cell
	// id is what the change was called first; empty until it was delivered.
	id string
}

func newHistory(t testing.TB, h SourceHarness) *history {
	t.Helper()
	return &history{t: t, h: h, src: h.New(t), model: Rows{}}
}

// commit makes one transaction happen.
func (y *history) commit(events ...entrain.Event) {
	y.t.Helper()
	tx := make([]*change, len(events))
	for i, e := range events {
		c := &change{event: e}
		edits, err := y.model.edits(&e)
		if err != nil {
			y.t.Fatalf("suite: change %d does not fit: %v", i, err)
		}
		if e.Op == entrain.OpUpdate || e.Op == entrain.OpDelete {
			c.current = edits[0].old
		}
		for _, d := range edits {
			y.model.set(d.key, d.new)
		}
		tx[i] = c
	}
	y.h.Commit(y.t, events...)
	y.txs = append(y.txs, tx)
}

// note remembers that a position lies after n transactions.
func (y *history) note(p entrain.Position, n int) {
	y.t.Helper()
	i := slices.IndexFunc(y.seen, func(s seenPosition) bool { return s.Position == p })
	if i < 0 {
		y.seen = append(y.seen, seenPosition{p, n})
		return
	}
	if y.seen[i].after != n {
		y.t.Fatalf("position %s is given after transaction %d and after %d", p, y.seen[i].after, n)
	}
}

// open starts a session at p, which lies after n transactions.
func (y *history) open(p entrain.Position, n int) *session {
	y.t.Helper()
	ctx, cancel := context.WithTimeout(y.t.Context(), y.h.patience())
	defer cancel()
	return y.openWith(ctx, seenPosition{p, n})
}

func (y *history) openWith(ctx context.Context, from seenPosition) *session {
	y.t.Helper()
	r, err := y.src.Open(ctx, from.Position)
	if err != nil {
		y.t.Fatalf("open at %s, after %d transactions: %v", from, from.after, err)
	}
	s := &session{history: y, r: r, tx: from.after, covered: from.after}
	y.t.Cleanup(func() { r.Close() })
	return s
}

// session reads from a source and checks every batch against the history.
type session struct {
	*history
	r entrain.Reader

	tx, at  int // the next change must be txs[tx][at]
	covered int // the last Through was after that many transactions
	version uint64
	ordinal uint64

	idle      int // batches without events since the last one with events
	fragments int
	through   []entrain.Position // all non-zero Throughs, in order
	hold      bool               // keep batches instead of freeing them
	held      []heldBatch
}

// maxIdle is how many batches without events a source may deliver in a row:
// far more than any keeps itself alive with in the time of a case.
const maxIdle = 1000

// heldBatch is a batch with a copy made when it arrived.
type heldBatch struct {
	batch *entrain.Batch
	copy  []string
}

// drain reads until everything that was committed has come and a position
// covers it; from a bounded source, until io.EOF.
func (s *session) drain() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.h.patience())
	defer cancel()
	for s.h.Bounded || s.covered < len(s.txs) {
		err := s.read(ctx)
		if s.h.Bounded && errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatalf("%s: read: %v", s.place(), err)
		}
	}
	if s.covered < len(s.txs) {
		s.t.Fatalf("%s: the source is done, but %d transactions were committed", s.place(), len(s.txs))
	}
}

// tail checks that nothing is left to come: the next thing is a transaction
// committed now or, from a bounded source, nothing at all.
func (s *session) tail() {
	s.t.Helper()
	if !s.h.Bounded {
		s.commit(std(int64(1_000_000+len(s.txs)), Text("sentinel"), Null, Null))
	}
	s.drain()
}

// place says where the session is, for messages.
func (s *session) place() string {
	return fmt.Sprintf("after transaction %d, change %d", s.tx, s.at)
}

type readResult struct {
	batch *entrain.Batch
	err   error
}

// start calls Read in another goroutine.
func (s *session) start(ctx context.Context) <-chan readResult {
	result := make(chan readResult, 1)
	go func() {
		b, err := s.r.Read(ctx)
		result <- readResult{b, err}
	}()
	return result
}

// read checks one batch; it returns Read's error.
func (s *session) read(ctx context.Context) error {
	s.t.Helper()
	return s.finish(s.start(ctx), "the end of its context")
}

// finish waits for a Read that was started, and checks what it delivers. It
// has to come within the suite's patience, or twice that for a Read whose own
// context has that deadline.
func (s *session) finish(started <-chan readResult, reason string) error {
	s.t.Helper()
	select {
	case r := <-started:
		if r.err == nil {
			s.take(r.batch)
		}
		return r.err
	case <-time.After(2 * s.h.patience()):
		s.t.Fatalf("%s: Read does not return, %v after %s", s.place(), s.h.patience(), reason)
		return nil
	}
}

// take checks a batch, event by event, and frees it.
func (s *session) take(b *entrain.Batch) {
	s.t.Helper()
	if b == nil {
		s.t.Fatalf("%s: Read returned neither a batch nor an error", s.place())
	}
	s.idle++
	if len(b.Events) > 0 {
		s.idle = 0
	}
	if s.idle > maxIdle {
		s.t.Fatalf("%s: %d batches without events in a row", s.place(), s.idle)
	}
	size := 0
	for i := range b.Events {
		e := &b.Events[i]
		s.bounds(e, b)
		s.match(e)
		size += len(e.Before) + len(e.After)
	}
	if b.Bytes < size {
		s.t.Fatalf("%s: a batch that holds %d bytes of rows says Bytes = %d", s.place(), size, b.Bytes)
	}
	s.end(b)
	if s.hold {
		s.held = append(s.held, heldBatch{b, describe(b)})
		return
	}
	free(b)
}

// end checks what a batch says about the position after it.
func (s *session) end(b *entrain.Batch) {
	s.t.Helper()
	switch {
	case !b.Through.IsZero() && s.at != 0:
		s.t.Fatalf("%s: position %s is inside a transaction", s.place(), b.Through)
	case !b.Through.IsZero():
		s.covered = s.tx
		s.through = append(s.through, b.Through)
		s.note(b.Through, s.tx)
	case len(b.Events) == 0:
		s.t.Fatalf("%s: a batch without events has no position", s.place())
	default:
		s.fragments++
	}
}

// bounds checks an event's place in its transaction and in its batch.
func (s *session) bounds(e *entrain.Event, b *entrain.Batch) {
	s.t.Helper()
	first := &b.Events[0]
	switch {
	case e.Tx == nil || e.Tx.Stream == nil:
		s.t.Fatalf("%s: the event names no transaction or no stream", s.place())
	case b.Through.IsZero() && e.Tx.Version != first.Tx.Version:
		s.t.Fatalf("%s: a fragment holds events of two transactions", s.place())
	case !s.h.elsewhere && !b.Through.IsZero() && e.Tx.Stream.Incarnation != b.Through.Incarnation:
		s.t.Fatalf("%s: incarnation %q ends with position of %q", s.place(), e.Tx.Stream.Incarnation, b.Through.Incarnation)
	case e.Op == entrain.OpMessage:
		return
	case s.at == 0 && e.Tx.Version <= s.version:
		s.t.Fatalf("%s: version %d comes after version %d", s.place(), e.Tx.Version, s.version)
	case s.at == 0 && e.Ordinal != 0:
		s.t.Fatalf("%s: a transaction starts with ordinal %d", s.place(), e.Ordinal)
	case s.at > 0 && e.Tx.Version != s.version:
		s.t.Fatalf("%s: version changes from %d to %d inside a transaction", s.place(), s.version, e.Tx.Version)
	case s.at > 0 && e.Ordinal <= s.ordinal:
		s.t.Fatalf("%s: ordinal %d comes after ordinal %d", s.place(), e.Ordinal, s.ordinal)
	}
	s.version, s.ordinal = e.Tx.Version, e.Ordinal
}

// match checks that an event is the one that has to come next.
func (s *session) match(e *entrain.Event) {
	s.t.Helper()
	if e.Op == entrain.OpMessage {
		return
	}
	if s.tx >= len(s.txs) {
		s.t.Fatalf("%s: %s (event %s) comes after everything that was committed", s.place(), e.Op, e.ID())
	}
	want := s.txs[s.tx][s.at]
	if problem := want.compare(e); problem != "" {
		s.t.Fatalf("%s: event %s: %s", s.place(), e.ID(), problem)
	}
	if want.id == "" {
		want.id = e.ID()
	}
	if want.id != e.ID() {
		s.t.Fatalf("%s: the change was called %s before, now %s", s.place(), want.id, e.ID())
	}
	s.at++
	if s.at == len(s.txs[s.tx]) {
		s.tx, s.at = s.tx+1, 0
	}
}

func free(b *entrain.Batch) {
	if b.Free != nil {
		b.Free()
	}
}
