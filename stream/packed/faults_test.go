package packed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream/packed"
)

// backend is a Memory whose sequences are changed.
type backend struct {
	*packed.Memory
	change func(s *packed.Sequence)
}

func (b backend) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	s, err := b.Memory.Open(ctx, producer)
	if err == nil {
		b.change(s)
	}
	return s, err
}

// tail is a Tail of which some methods are replaced.
type tail struct {
	packed.Tail
	append func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error)
	remove func(ctx context.Context, after, before uint64) error
}

func (t tail) Append(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	if t.append == nil {
		return t.Tail.Append(ctx, after, messages)
	}
	return t.append(ctx, after, messages)
}

func (t tail) Remove(ctx context.Context, after, before uint64) error {
	if t.remove == nil {
		return t.Tail.Remove(ctx, after, before)
	}
	return t.remove(ctx, after, before)
}

// state counts what is stored.
type state struct {
	packed.State
	stores *atomic.Int64
}

func (s state) Store(ctx context.Context, name string, value []byte) error {
	if strings.HasPrefix(name, "cursor.") {
		s.stores.Add(1)
	}
	return s.State.Store(ctx, name, value)
}

// session is a log with a writer on it.
type session struct {
	t   *testing.T
	l   *packed.Log
	w   entrain.Writer
	at  entrain.Position
	n   uint64
	seq *entrain.Stream
}

func open(t *testing.T, cfg packed.Config) *session {
	t.Helper()
	if cfg.Producer == "" {
		cfg.Producer = "shop"
	}
	l, err := packed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Cursors([]string{"c"})
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, l: l, w: w, at: at, seq: &entrain.Stream{Source: "shop", Incarnation: "test"}}
	fmt.Sscan(at.Offset, &s.n)
	return s
}

// batch is the next transaction, of rows of about 1 kB.
func (s *session) batch(rows int) *entrain.Batch {
	s.n++
	tx := &entrain.Transaction{Stream: s.seq, Version: s.n}
	b := &entrain.Batch{Through: entrain.Position{Incarnation: "test", Offset: fmt.Sprint(s.n)}}
	for i := range rows {
		e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(i)), entraintest.Text(strings.Repeat("n", 1000)),
			entraintest.Null, entraintest.Null)
		e.Tx, e.Ordinal = tx, uint64(i)
		b.Events = append(b.Events, e)
	}
	return b
}

func (s *session) write(rows int) {
	s.t.Helper()
	if err := s.w.Write(s.t.Context(), s.batch(rows)); err != nil {
		s.t.Fatal(err)
	}
}

// read returns the versions and the numbers of rows of the whole transactions
// behind a position, through the one of the version last.
func (s *session) read(src entrain.Source, from entrain.Position, last uint64) (got string, at entrain.Position) {
	s.t.Helper()
	r, err := src.Open(s.t.Context(), from)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	for rows := 0; ; {
		b, err := r.Read(s.t.Context())
		if entrain.IsRetryable(err) {
			rest, at := s.read(src, from, last)
			return got + "again " + rest, at
		}
		if err != nil {
			s.t.Fatal(err)
		}
		rows += len(b.Events)
		version := b.Events[len(b.Events)-1].Tx.Version
		b.Free()
		if b.Through.IsZero() {
			continue
		}
		if err := r.Ack(s.t.Context(), b.Through); err != nil {
			s.t.Fatal(err)
		}
		got += fmt.Sprintf("%d:%d ", version, rows)
		if from, rows = b.Through, 0; version == last {
			return got, from
		}
	}
}

var errCrash = entrain.Retryable(errors.New("the process is dead"))

// TestTornAnywhere: whichever of a transaction's messages are stored when a
// writer dies, the next one finds the position before or behind it, and readers
// get it once (P1, P2).
func TestTornAnywhere(t *testing.T) {
	for stored := range 9 {
		for _, removes := range []removal{true, false} {
			t.Run(fmt.Sprintf("%d messages, removed %v", stored, removes), func(t *testing.T) { tornAnywhere(t, stored, removes) })
		}
	}
}

// removal says whether the next writer gets as far as to remove the torn tail.
type removal bool

func tornAnywhere(t *testing.T, stored int, removes removal) {
	left := -1 // messages until the crash; -1: none comes
	store := backend{&packed.Memory{}, func(s *packed.Sequence) {
		real := s.Tail
		x := tail{Tail: real, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			if left < 0 {
				return real.Append(ctx, after, messages)
			}
			n := min(left, len(messages))
			left -= n
			if n > 0 {
				if _, _, err := real.Append(ctx, after, messages[:n]); err != nil {
					return 0, 0, err
				}
			}
			return 0, 0, errCrash
		}}
		if !removes {
			x.remove = func(context.Context, uint64, uint64) error { return errCrash }
		}
		s.Tail = x
	}}
	cfg := packed.Config{Backend: store, MessageBytes: 5 << 10}
	s := open(t, cfg)
	s.write(2)
	left = stored
	if err := s.w.Write(t.Context(), s.batch(30)); !errors.Is(err, errCrash) {
		t.Fatalf("write: %v", err)
	}
	left = -1
	if !removes { // this one dies, too: after its marker
		w, err := s.l.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.(entrain.Positioner).Position(t.Context())
		if torn := stored > 0 && stored < 8; torn != errors.Is(err, errCrash) {
			t.Fatalf("taking over: %v", err)
		}
		w.Close()
		store.change = func(*packed.Sequence) {}
		cfg.Backend = store
	}
	next := open(t, cfg)
	if want := map[bool]string{true: "2", false: "1"}[stored == 8]; next.at.Offset != want {
		t.Fatalf("the position is %s, want %s", next.at, want)
	}
	if stored < 8 {
		next.write(30)
	}
	next.write(1)
	if got, _ := next.read(next.l.Read("c", "shop"), entrain.Position{}, 3); got != "1:2 2:30 3:1 " {
		t.Errorf("read %s", got)
	}
}

// TestVoidRunsStay: what markers make void has no effect even if it stays, or comes
// back after a crash; a reader gives up each such run once.
func TestVoidRunsStay(t *testing.T) {
	store := backend{&packed.Memory{}, func(s *packed.Sequence) {
		s.Tail = tail{Tail: s.Tail, remove: func(context.Context, uint64, uint64) error { return nil }}
	}}
	cfg := packed.Config{Backend: store, MessageBytes: 5 << 10}
	for range 3 {
		s := open(t, cfg)
		b := s.batch(20)
		b.Through = entrain.Position{}
		if err := s.w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		s.w.Close()
	}
	s := open(t, cfg)
	s.write(4)
	src := s.l.Read("c", "shop")
	if got, _ := s.read(src, entrain.Position{}, 1); strings.ReplaceAll(got, "again ", "") != "1:4 " || strings.Count(got, "again") > 3 {
		t.Errorf("read %s", got)
	}
	if got, _ := s.read(src, entrain.Position{}, 1); got != "1:4 " {
		t.Errorf("read the second time: %s", got)
	}
}

// TestFencedByAnotherProcess: the writer is told who, and does not try again.
func TestFencedByAnotherProcess(t *testing.T) {
	store := &packed.Memory{}
	first := open(t, packed.Config{Backend: store})
	first.write(1)
	second := open(t, packed.Config{Backend: store})
	err := first.w.Write(t.Context(), first.batch(1))
	if !entrain.IsRetryable(err) || !errors.Is(err, packed.ErrFenced) {
		t.Errorf("fenced by a session of this process: %v", err)
	}
	seq, err := store.Open(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	other := `{"id":"other","host":"elsewhere","pid":7,"at":"2026-01-01T00:00:00Z"}`
	if err := seq.State.Store(t.Context(), "writer", []byte(other)); err != nil {
		t.Fatal(err)
	}
	last, err := seq.Tail.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := seq.Tail.Append(t.Context(), last.Number, [][]byte{last.Data}); err != nil {
		t.Fatal(err)
	}
	wantStop(t, second.w.Write(t.Context(), second.batch(1)), "fenced", "process 7 on elsewhere")
}

func wantStop(t *testing.T, err error, code, text string) {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code || !strings.Contains(stop.Error(), text) || stop.Next == "" {
		t.Errorf("got %v, want the stop %s with %q", err, code, text)
	}
}

// TestLag: a reader knows how far it is behind.
func TestLag(t *testing.T) {
	s := open(t, packed.Config{Backend: &packed.Memory{}, MessageBytes: 8 << 10})
	src := s.l.Read("c", "shop")
	r, err := src.Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 5 {
		s.write(10)
	}
	var through entrain.Position
	for range 2 {
		b, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for b.Through.IsZero() {
			if b, err = r.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		through = b.Through
	}
	lag := func() int64 { return r.(entrain.Lagger).Lag().Bytes }
	if got := lag(); got < 20_000 {
		t.Errorf("two transactions of 10 kB are not acknowledged, and the lag is %d", got)
	}
	if err := r.Ack(t.Context(), through); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for got := lag(); got < 25_000 || got > 40_000; got = lag() {
		select {
		case <-deadline:
			t.Fatalf("three transactions of 10 kB are ahead, and the lag is %d", got)
		case <-time.After(50 * time.Millisecond):
		}
	}
	next, at := s.read(src, through, 5)
	if next != "3:10 4:10 5:10 " || at.IsZero() {
		t.Errorf("read %s", next)
	}
}

// TestRetention: what was read by all goes when it is old, or in the way, and no
// sooner; a full log is mentioned at once and every 30 seconds.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		const most = 1 << 20
		store := &packed.Memory{}
		s := open(t, packed.Config{Backend: store, MaxBytes: most, Retention: time.Hour, Log: slog.New(slog.NewTextHandler(&text, nil))})
		seq, err := store.Open(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		stat := func() packed.Stat {
			x, err := seq.State.Stat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		src := s.l.Read("c", "shop")
		s.write(300)
		_, at := s.read(src, entrain.Position{}, 1)
		<-time.After(30 * time.Minute)
		s.write(300)
		if got := stat(); got.First != 1 {
			t.Errorf("after half an hour the first message is %d", got.First)
		}
		<-time.After(40 * time.Minute)
		if got := stat(); got.First == 1 || got.Bytes < 300_000 {
			t.Errorf("after 70 minutes of one hour the first message is %d, and there are %d bytes", got.First, got.Bytes)
		}
		<-time.After(2 * time.Hour)
		if got := stat().Bytes; got < 300_000 {
			t.Errorf("what was not read is removed: %d bytes are left", got)
		}
		s.write(300)
		done := make(chan error, 1)
		go func() { done <- s.w.Write(t.Context(), s.batch(500)) }()
		<-time.After(95 * time.Second)
		if n := strings.Count(text.String(), `msg="the stream is full`); n != 4 {
			t.Errorf("in 95 seconds it was mentioned %d times that the stream is full:\n%s", n, text.String())
		}
		s.read(src, at, 3)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(text.String(), "room again") {
			t.Errorf("the end of waiting is not mentioned:\n%s", text.String())
		}
		s.w.Close()
	})
}

// TestMarkerIsNotTrimmed: a sink stands before the markers of writers that came
// later, and is not told that something is missing there.
func TestMarkerIsNotTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := packed.Config{Backend: &packed.Memory{}}
		s := open(t, cfg)
		s.write(1)
		src := s.l.Read("c", "shop")
		_, at := s.read(src, entrain.Position{}, 1)
		r, err := src.Open(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s.w.Close()
			s = open(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if b, err := r.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("a marker is read as %v, %v", b, err)
			}
			cancel()
		}
		s.write(2)
		<-time.After(time.Minute)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.read(src, at, 2); got != "2:2 " {
			t.Errorf("read %s", got)
		}
		s.w.Close()
	})
}

// TestCursorIsStoredSeldom: at most once a second, and when the session ends.
func TestCursorIsStoredSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stores atomic.Int64
		s := open(t, packed.Config{Backend: backend{&packed.Memory{}, func(s *packed.Sequence) { s.State = state{s.State, &stores} }}})
		r, err := s.l.Read("c", "shop").Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			s.write(1)
			b, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Ack(t.Context(), b.Through); err != nil {
				t.Fatal(err)
			}
			<-time.After(10 * time.Millisecond)
		}
		if n := stores.Load(); n < 2 || n > 4 {
			t.Errorf("in 3 seconds the cursor was stored %d times", n)
		}
		before := stores.Load()
		s.write(1)
		b, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Ack(t.Context(), b.Through), r.Close(), s.w.Close()); err != nil {
			t.Fatal(err)
		}
		if n := stores.Load() - before; n < 1 || n > 2 { // the one before it may have been due
			t.Errorf("at the end the cursor was stored %d times", n)
		}
	})
}
