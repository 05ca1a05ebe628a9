package packed_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream/packed"
)

// shop is a log with one writer and one reader.
type shop struct {
	t   *testing.T
	log *packed.Log
	w   entrain.Writer
	r   entrain.Reader
}

func openShop(t *testing.T) *shop {
	t.Helper()
	log, err := packed.New(packed.Config{Backend: &packed.Memory{}, Producer: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, log: log}
	if s.w, err = log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.w.Close() })
	if _, err := s.w.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func sourceAt(offset string) entrain.Position {
	return entrain.Position{Incarnation: "inc-1", Offset: offset}
}

// write writes events, the last of which the source's position is behind.
func (s *shop) write(through string, events ...entrain.Event) {
	s.t.Helper()
	tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "inc-1"}, Version: 1}
	for i := range events {
		events[i].Tx = tx
	}
	if err := s.w.Write(s.t.Context(), &entrain.Batch{Events: events, Through: sourceAt(through)}); err != nil {
		s.t.Fatal(err)
	}
}

// read reads a batch, whose position is to tell the source's.
func (s *shop) read(events int, want string) entrain.Position {
	s.t.Helper()
	b, err := s.r.Read(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if got, known := s.log.SourcePosition(b.Through); len(b.Events) != events || !known || got != sourceAt(want) {
		s.t.Errorf("%d events through %q, which is %q of the source; want %d, %s", len(b.Events), b.Through.Offset, got, events, want)
	}
	if b.Free != nil {
		b.Free()
	}
	if err := s.r.Ack(s.t.Context(), b.Through); err != nil {
		s.t.Error(err)
	}
	return b.Through
}

// TestSourcePosition: a position of the log tells where the source was, also when
// the source has moved on without an event since.
func TestSourcePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t)
		s.write("0/10@1", entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null))
		var err error
		if s.r, err = s.log.Read("c", "shop").Open(t.Context(), entrain.Position{}); err != nil {
			t.Fatal(err)
		}
		defer s.r.Close()
		s.read(1, "0/10@1")
		s.write("0/20@1")
		s.read(0, "0/20@1")
		go func() {
			<-time.After(time.Minute)
			s.write("0/30@1")
		}()
		last := s.read(0, "0/30@1")
		again, err := s.log.Read("c", "shop").Open(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		for _, bad := range []string{"", "x", "1 2", "12"} {
			if got, known := s.log.SourcePosition(sourceAt(bad)); known {
				t.Errorf("position %q tells of %v", bad, got)
			}
		}
	})
}
