package entraintest

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// blockingTime is how long the suite lets something go on that shows only with
// time: a call that it interrupts has to block first, and what hangs on a
// context that ended has to notice it.
const blockingTime = 20 * time.Millisecond

// large is the size of a body that does not fit beside others in a page.
const large = 20_000

// sample makes a history with transactions of all shapes.
func (y *history) sample() {
	y.t.Helper()
	y.commit(
		std(1, Text("one"), filler(1, large), Text("12345678901234567890.1234567890")),
		std(2, Null, filler(2, large), Text("-0.50")),
		std(9007199254740993, Text("it's \\N, \"\t\n\x7f ☃ 🎉"), Text(""), Null))
	y.commit(set(1, Text("uno"), Unchanged, Text("1.00")))
	y.commit(move(2, 20, Text("twenty"), Unchanged, Null))
	y.commit(
		remove(9007199254740993),
		std(9007199254740993, Null, Null, Text("NaN")))
	var many []entrain.Event
	for i := range int64(40) {
		many = append(many, std(100+i, Text("many"), Text("row"), Null))
	}
	y.commit(many...)
	y.commit(remove(100), set(101, Text(""), Null, Text("0")), move(102, 100, Null, Null, Null))
	y.commit(empty(), std(1, Text("again"), Null, Null))
	y.commit(set(1, Unchanged, Text("body"), Unchanged))
}

func sourceOperations(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	s.tail()
}

func sourceNullAndUnchanged(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.commit(std(1, Text("a"), filler(1, large), Null), std(2, Null, Null, Text("2")))
	y.commit(set(1, Text("b"), Unchanged, Unchanged), set(2, Text("c"), Unchanged, Unchanged))
	y.commit(set(1, Null, Unchanged, Text("0")))
	y.commit(set(1, Unchanged, Null, Null), set(1, Text(""), Text(""), Unchanged))
	y.open(entrain.Position{}, 0).drain()
}

func sourceKeyChange(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.commit(std(1, Text("a"), filler(1, large), Text("1")))
	y.commit(move(1, 2, Unchanged, Unchanged, Unchanged))
	y.commit(move(2, 3, Null, Unchanged, Text("3")), move(3, 1, Text("back"), Text("small"), Null))
	y.open(entrain.Position{}, 0).drain()
}

func sourceTruncate(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.commit(std(1, Null, Null, Null), std(2, Null, Null, Null))
	y.commit(empty())
	y.commit(std(1, Null, Null, Null), empty(), std(2, Null, Null, Null))
	y.open(entrain.Position{}, 0).drain()
}

// bulk makes a transaction of many rows of 1 kB, between two small ones.
func (y *history) bulk() {
	y.t.Helper()
	rows := y.h.FragmentRows
	if rows == 0 {
		rows = 500
	}
	var events []entrain.Event
	for i := range rows {
		events = append(events, std(int64(10+i), Text("bulk"), filler(uint64(i), 1000), Null))
	}
	y.commit(std(1, Null, Null, Null))
	y.commit(events...)
	y.commit(set(1, Text("after"), Null, Null))
}

func sourceLarge(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.bulk()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	if h.FragmentRows > 0 && s.fragments == 0 {
		t.Errorf("a transaction of %d rows did not come in fragments", h.FragmentRows)
	}
}

// sourceInterrupted leaves a session in the middle of a transaction.
func sourceInterrupted(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.bulk()
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	s := y.open(entrain.Position{}, 0)
	for s.fragments == 0 {
		if err := s.read(ctx); err != nil {
			t.Fatalf("%s: no fragment came: %v", s.place(), err)
		}
	}
	s.close()
	var from seenPosition
	if len(y.seen) > 0 {
		from = y.seen[len(y.seen)-1]
	}
	y.open(from.Position, from.after).drain()
}

func sourceResume(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	first := y.open(entrain.Position{}, 0)
	first.drain()
	first.close()
	for _, p := range slices.Clone(y.seen) {
		s := y.open(p.Position, p.after)
		s.drain()
		s.tail()
		s.close()
	}
}

func sourceUnacknowledged(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	for range 3 {
		s := y.open(entrain.Position{}, 0)
		s.drain()
		s.close()
	}
}

func sourceAcknowledgedInPart(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	p := y.seen[len(y.seen)/2]
	s.ack(p.Position)
	s.close()
	again := y.open(p.Position, p.after)
	again.drain()
	again.close()
	y.open(p.Position, p.after).drain()
}

func sourceAckInOrder(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	for s.covered < len(y.txs) {
		if err := s.read(ctx); err != nil {
			t.Fatalf("%s: read: %v", s.place(), err)
		}
		s.ackAll()
	}
	s.close()
	end := y.seen[len(y.seen)-1]
	again := y.open(end.Position, end.after)
	again.drain()
	again.tail()
}

// sourceAckBesideRead acknowledges while a Read is blocked, and only then lets
// the source have something for it.
func sourceAckBesideRead(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	for i := range int64(5) {
		started := s.start(ctx)
		<-time.After(blockingTime)
		s.ackAll()
		y.commit(std(500+i, Null, Null, Null))
		if err := s.finish(started, "a commit"); err != nil {
			t.Fatalf("%s: read: %v", s.place(), err)
		}
	}
	s.drain()
	s.ackAll()
	s.close()
	end := y.seen[len(y.seen)-1]
	y.open(end.Position, end.after).tail()
}

func sourceMemory(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.hold = true
	s.drain()
	for i, b := range s.held {
		now := describe(b.batch)
		for j := range b.copy {
			if now[j] != b.copy[j] {
				t.Fatalf("batch %d changed before it was freed: %.200s became %.200s", i, b.copy[j], now[j])
			}
		}
	}
	for _, b := range s.held {
		free(b.batch)
	}
	s.hold = false
	s.tail()
}

// sourceReadEnded reads the history with every other context ended before.
func sourceReadEnded(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	ended, end := context.WithCancel(t.Context())
	end()
	for s.covered < len(y.txs) {
		if err := s.read(ended); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: read with a cancelled context: %v", s.place(), err)
		}
		if s.covered == len(y.txs) {
			break
		}
		if err := s.read(ctx); err != nil {
			t.Fatalf("%s: read after one with a cancelled context: %v", s.place(), err)
		}
	}
	s.tail()
}

// blocked reads until ctx ends at the end of the history.
func (s *session) blocked(ctx context.Context) error {
	for {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
}

func sourceCancel(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(blockingTime, cancel)
		err := s.blocked(ctx)
		stop.Stop()
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: the context of a blocked Read is cancelled: %v", s.place(), err)
		}
		s.tail()
	}
}

func sourceDeadline(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	ctx, cancel := context.WithTimeout(t.Context(), blockingTime)
	defer cancel()
	if err := s.blocked(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%s: the deadline of a blocked Read passes: %v", s.place(), err)
	}
	s.tail()
}

func sourceCloseTwice(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.commit(std(1, Null, Null, Null))
	s := y.open(entrain.Position{}, 0)
	s.drain()
	s.close()
	s.close()
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	if err := s.read(ctx); err == nil {
		t.Errorf("Read after Close delivered a batch")
	}
	unread := y.open(entrain.Position{}, 0)
	unread.close()
	unread.close()
}

func sourceCloseWhileReading(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := s.start(ctx)
	<-time.After(blockingTime)
	s.close()
	err := s.finish(started, "Close")
	if err == nil { // it was about to return a batch; the next one is too late for that
		err = s.finish(s.start(ctx), "Close")
	}
	if err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("Close interrupts a Read, which then returns %v, want an error that is not io.EOF", err)
	}
	end := y.seen[len(y.seen)-1]
	y.open(end.Position, end.after).tail()
}

func sourceOpenEnded(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := y.src.Open(ctx, entrain.Position{})
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("open with a cancelled context: %v", err)
	}
	y.commit(std(1, Null, Null, Null))
	y.open(entrain.Position{}, 0).drain()
}

func sourceOpenContext(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.sample()
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	s := y.openWith(ctx, seenPosition{})
	cancel()
	<-time.After(blockingTime)
	s.drain()
	s.tail()
}

func sourceUnknownHistory(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	y.commit(std(1, Null, Null, Null))
	s := y.open(entrain.Position{}, 0)
	s.drain()
	s.close()
	p := y.seen[len(y.seen)-1].Position
	p.Incarnation = "another-history"
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	r, err := y.src.Open(ctx, p)
	if err == nil {
		_, err = r.Read(ctx)
		r.Close()
	}
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		t.Errorf("open at a position of another history: %v, want a named stop", err)
	}
}

func sourceEOF(t testing.TB, h SourceHarness) {
	y := newHistory(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	y.sample()
	s := y.open(entrain.Position{}, 0)
	s.drain()
	s.close()
	end := y.seen[len(y.seen)-1]
	s = y.open(end.Position, end.after)
	err := s.blocked(ctx)
	if !errors.Is(err, io.EOF) {
		t.Errorf("read at the end of a bounded history: %v", err)
	}
	s.close()
	y.commit(set(1, Text("later"), Null, Null))
	y.open(end.Position, end.after).drain()
}

// ackAll acknowledges the positions that came since it was called last.
func (s *session) ackAll() {
	s.t.Helper()
	for _, p := range s.through {
		s.ack(p)
	}
	s.through = nil
}

func (s *session) ack(p entrain.Position) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), s.h.patience())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.r.Ack(ctx, p) }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Fatalf("%s: acknowledge %s: %v", s.place(), p, err)
		}
	case <-time.After(s.h.patience()):
		s.t.Fatalf("%s: Ack of %s does not return", s.place(), p)
	}
}

// close ends the session; it must not wait for anything.
func (s *session) close() {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.r.Close() }()
	select {
	case err := <-done:
		if err != nil {
			s.t.Fatalf("%s: close: %v", s.place(), err)
		}
	case <-time.After(s.h.patience()):
		s.t.Fatalf("%s: Close does not return", s.place())
	}
}
