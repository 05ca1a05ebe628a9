package packed_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream/packed"
)

// TestRestBehindMarker: where the source moves on without an event behind a
// takeover, the position that a reader hands out can be acknowledged.
func TestRestBehindMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t)
		s.write("0/10@1", entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null))
		var err error
		if s.r, err = s.log.Read("c", "shop").Open(t.Context(), entrain.Position{}); err != nil {
			t.Fatal(err)
		}
		defer s.r.Close()
		s.read(1, "0/10@1")
		s.w.Close()
		if s.w, err = s.log.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.w.(entrain.Positioner).Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.write("0/20@1")
		s.read(0, "0/20@1")
	})
}

// TestLargePosition: a position that no message has room for is an error.
func TestLargePosition(t *testing.T) {
	log, err := packed.New(packed.Config{Backend: &packed.Memory{MessageBytes: 4 << 10}, Producer: "shop"})
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
	e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null)
	e.Tx = &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "inc-1"}, Version: 1}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	through := sourceAt(strings.Repeat("x", 10<<10))
	if err := w.Write(ctx, &entrain.Batch{Events: []entrain.Event{e}, Through: through}); err == nil || ctx.Err() != nil {
		t.Errorf("%v after %v, want an error at once", err, ctx.Err())
	}
}
