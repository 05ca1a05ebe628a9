package packed_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream/packed"
)

// TestSourcePosition: a position of the log tells where the source was, also when
// the source has moved on without an event since.
func TestSourcePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := packed.New(packed.Config{Backend: &packed.Memory{}, Producer: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		w, err := log.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := func(offset string) entrain.Position { return entrain.Position{Incarnation: "inc-1", Offset: offset} }
		write := func(through entrain.Position, events ...entrain.Event) {
			t.Helper()
			tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "inc-1"}, Version: 1}
			for i := range events {
				events[i].Tx = tx
			}
			if err := w.Write(t.Context(), &entrain.Batch{Events: events, Through: through}); err != nil {
				t.Fatal(err)
			}
		}
		write(at("0/10@1"), entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null))
		r, err := log.Read("c", "shop").Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		read := func(events int, want string) entrain.Position {
			t.Helper()
			b, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, known := log.SourcePosition(b.Through); len(b.Events) != events || !known || got != at(want) {
				t.Errorf("%d events through %q, which is %q of the source; want %d, %s", len(b.Events), b.Through.Offset, got, events, want)
			}
			if b.Free != nil {
				b.Free()
			}
			if err := r.Ack(t.Context(), b.Through); err != nil {
				t.Error(err)
			}
			return b.Through
		}
		read(1, "0/10@1")
		write(at("0/20@1"))
		read(0, "0/20@1")
		go func() {
			time.Sleep(time.Minute)
			write(at("0/30@1"))
		}()
		last := read(0, "0/30@1")
		again, err := log.Read("c", "shop").Open(t.Context(), last)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		for _, bad := range []string{"", "x", "1 2", "12"} {
			if got, known := log.SourcePosition(at(bad)); known {
				t.Errorf("position %q tells of %v", bad, got)
			}
		}
	})
}
