package entraintest

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// streamRewind: a log that can be read once more hands out all that it has from where
// Rewind says, up to any position, and leaves no cursor.
func streamRewind(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	log := h.Log(t, v.c)
	rewinder, ok := log.(stream.Rewinder)
	if !ok {
		t.Skip("the log cannot be rewound")
	}
	for i := range int64(3) {
		v.commit(std(2*i, Text("a"), Null, Null), std(2*i+1, Text("b"), Null, Null))
	}
	p := v.tap("c", at{})
	p.drain()
	ends := append([]at{}, p.seen...)
	partition := v.h.partition(v.c.Producer)
	for _, since := range []time.Time{{}, time.Now().Add(-time.Hour)} {
		ctx, cancel := v.context()
		from, whole, err := rewinder.Rewind(ctx, partition, since)
		cancel()
		if err != nil || !whole {
			t.Fatalf("rewind to %s: whole %t, %v", since, whole, err)
		}
		for _, end := range ends {
			v.stretch(log.Read("", partition), at{Position: from}, end)
		}
	}
	if source := log.Read("", partition); v.boundary(source, "no position") == nil {
		t.Error("a stream ends at a text that is no position")
	}
}

// boundary is the error of a bound.
func (v *river) boundary(source entrain.Source, target string) error {
	_, err := source.(entrain.Bounder).Until(target)
	return err
}

// stretch reads from one position to another one, where the session ends.
func (v *river) stretch(source entrain.Source, from, to at) {
	v.t.Helper()
	bounded, err := source.(entrain.Bounder).Until(to.Offset)
	if err != nil {
		v.t.Fatal(err)
	}
	ctx, cancel := v.context()
	defer cancel()
	r, err := bounded.Open(ctx, from.Position)
	if err != nil {
		v.t.Fatal(err)
	}
	defer r.Close()
	p := &tap{v: v, r: r, next: from.events, latest: from}
	for err == nil {
		err = p.read(ctx)
	}
	if !errors.Is(err, io.EOF) || p.next != to.events {
		v.t.Fatalf("from %s to %s: %d events and %v, want %d", from, to, p.next, err, to.events)
	}
}
