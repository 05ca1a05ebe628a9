package packed_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// damaged is a History in which one message is another one than was written.
type damaged struct {
	packed.History
	number uint64
	damage func(data []byte)
}

func (d damaged) hit(m packed.Message, err error) (packed.Message, error) {
	if m.Number == d.number {
		m.Data = bytes.Clone(m.Data)
		d.damage(m.Data)
	}
	return m, err
}

func (d damaged) At(ctx context.Context, number uint64) (packed.Message, error) {
	return d.hit(d.History.At(ctx, number))
}

func (d damaged) Follow(ctx context.Context, after uint64) (packed.Follower, error) {
	f, err := d.History.Follow(ctx, after)
	return damagedFollower{f, d}, err
}

type damagedFollower struct {
	packed.Follower
	of damaged
}

func (f damagedFollower) Next(ctx context.Context) (packed.Message, error) {
	return f.of.hit(f.Follower.Next(ctx))
}

// TestDamage: a message that cannot be read is named; one of a newer form, too.
func TestDamage(t *testing.T) {
	for at, code := range map[int]string{0: "stream_version", 1: "stream_version", 100: "stream_damaged", -1: "stream_damaged"} {
		s := open(t, packed.Config{Backend: backend{&packed.Memory{}, func(s *packed.Sequence) {
			s.History = damaged{s.History, 3, func(data []byte) { data[(at+len(data))%len(data)] ^= 0x40 }}
		}}})
		s.write(1)
		src := s.l.Read("c", "shop")
		_, pos := s.read(src, entrain.Position{}, 1)
		s.write(1)
		r, err := src.Open(t.Context(), pos)
		if err == nil {
			_, err = r.Read(t.Context())
			r.Close()
		}
		wantStop(t, err, code, "message 3 of the stream of shop")
	}
}

// reopened is what a writer finds that takes over.
func reopened(t *testing.T, store packed.Backend) *session {
	t.Helper()
	return open(t, packed.Config{Backend: store, MessageBytes: 5 << 10})
}

// TestNumbersGivenTwice: where the end of a stream was lost and written anew, a reader
// that had read further learns it, whatever has the number of what it read last.
func TestNumbersGivenTwice(t *testing.T) {
	cases := map[string]struct {
		before []int  // rows of transactions; the first message is the marker
		left   uint64 // the last message that is not lost
		after  []int
	}{
		"a transaction at its number":         {[]int{1, 1, 1, 1}, 3, []int{1, 1, 1}},
		"a marker at its number":              {[]int{1, 1, 1}, 3, []int{1, 1, 1}},
		"a part of a transaction there":       {[]int{1, 1, 1}, 1, []int{1, 30, 1}},
		"two transactions as one":             {[]int{1, 1, 1}, 2, []int{2, 1}},
		"the end is its number":               {[]int{1, 1, 1}, 2, []int{1}},
		"another process soon after":          {[]int{1, 1, 1}, 3, nil},
		"all of it, and less than there was":  {[]int{1, 1, 1, 1, 1}, 1, []int{1, 1, 1, 1}},
		"a large transaction that it read of": {[]int{1, 30}, 2, []int{30, 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			store := &packed.Memory{}
			s := reopened(t, store)
			for _, rows := range c.before {
				s.write(rows)
			}
			src := s.l.Read("c", "shop")
			_, at := s.read(src, entrain.Position{}, s.n)
			store.Forget("shop", c.left)
			next := reopened(t, store)
			for _, rows := range c.after {
				next.write(rows)
			}
			reopened(t, store) // what is the last message now is followed by one
			r, err := src.Open(t.Context(), at)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err = r.Read(ctx)
				r.Close()
			}
			wantStop(t, err, "stream_recreated", "lost its latest messages")
		})
	}
}

// TestLostWhileRead: a session that goes on through such a loss ends as well.
func TestLostWhileRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &packed.Memory{}
		s := reopened(t, store)
		s.write(1)
		s.write(1)
		r, err := s.l.Read("c", "shop").Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 2 {
			if _, err := r.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error)
		go func() {
			_, err := r.Read(t.Context())
			ended <- err
		}()
		synctest.Wait()
		store.Forget("shop", 2)
		reopened(t, store).write(1)
		wantStop(t, <-ended, "stream_recreated", "message 3 of it is not the one behind which message 4 was written")
	})
}

// TestIdleOfLostMessage: a position that was stored for a message that is lost is none of
// whatever has its number, though the values beside the messages are there still.
func TestIdleOfLostMessage(t *testing.T) {
	var full bool
	store := backend{&packed.Memory{}, func(s *packed.Sequence) {
		s.State = forgetful{s.State, &full}
	}}
	s := reopened(t, store)
	s.write(1)
	s.write(1)
	s.n = 9
	if err := s.w.Write(t.Context(), s.batch(0)); err != nil { // idle, of message 3
		t.Fatal(err)
	}
	store.Forget("shop", 2)
	full = true // a process that is killed when it has written its marker
	l, err := packed.New(packed.Config{Backend: store, Producer: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.(entrain.Positioner).Position(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	full = false
	if next := reopened(t, store); next.at.Offset != "1" {
		t.Errorf("the source goes on behind %s, want 1", next.at.Offset)
	}
}

// forgetful is a State that cannot remove a value.
type forgetful struct {
	packed.State
	fails *bool
}

func (f forgetful) Store(ctx context.Context, name string, value []byte) error {
	if value == nil && *f.fails && strings.HasPrefix(name, "idle.") {
		return errCrash
	}
	return f.State.Store(ctx, name, value)
}

// TestVersionOne: messages of the first version, which do not tell what they follow, are
// read, and written behind.
func TestVersionOne(t *testing.T) {
	old := true
	store := backend{&packed.Memory{}, func(s *packed.Sequence) {
		real := s.Tail
		s.Tail = tail{Tail: real, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			if !old {
				return real.Append(ctx, after, messages)
			}
			var list [][]byte
			for _, m := range messages {
				m = append(bytes.Clone(m[:36]), m[44:]...)
				m[0] = 1
				list = append(list, m)
			}
			return real.Append(ctx, after, list)
		}}
	}}
	s := reopened(t, store)
	s.write(1)
	s.write(10) // several messages
	src := s.l.Read("c", "shop")
	got, at := s.read(src, entrain.Position{}, 2)
	if got != "1:1 2:10 " {
		t.Errorf("read %s", got)
	}
	old = false
	next := reopened(t, store)
	next.write(1)
	next.write(10)
	for from, want := range map[entrain.Position]string{at: "3:1 4:10 ", {}: "1:1 2:10 3:1 4:10 "} {
		if got, _ := next.read(src, from, 4); got != want {
			t.Errorf("from %s: read %s, want %s", from, got, want)
		}
	}
}
