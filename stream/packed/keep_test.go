package packed_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// keeping is a log that a writer has taken over.
type keeping struct {
	t   *testing.T
	log *packed.Log
}

func keep(t *testing.T, backend packed.Backend) keeping {
	t.Helper()
	ctx := t.Context()
	l, err := packed.New(packed.Config{Backend: backend, Producer: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.LoadValues(ctx); !entrain.IsRetryable(err) {
		t.Errorf("without a writer: %v", err)
	}
	w, err := l.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if err := l.SaveValues(ctx, map[string][]byte{"x": nil}); err == nil {
		t.Error("values were taken before the stream was taken over")
	}
	if _, err := w.(entrain.Positioner).Position(ctx); err != nil {
		t.Fatal(err)
	}
	return keeping{t, l}
}

func (k keeping) save(key, value string) {
	k.t.Helper()
	if err := k.log.SaveValues(k.t.Context(), map[string][]byte{key: []byte(value)}); err != nil {
		k.t.Fatal(err)
	}
}

func (k keeping) expect(want map[string]string) {
	k.t.Helper()
	values, err := k.log.LoadValues(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	got := map[string]string{}
	for key, value := range values {
		got[key] = string(value)
	}
	if !maps.Equal(got, want) {
		k.t.Errorf("%v, want %v", got, want)
	}
}

// TestKeeps: a successor finds what a capture has stored, and not what that stores
// when it is fenced.
func TestKeeps(t *testing.T) {
	const shape = "schema/public\x00Überblick"
	backend := &packed.Memory{}
	first := keep(t, backend)
	first.save("ledger", "1")
	first.save(shape, "a")
	second := keep(t, backend)
	second.expect(map[string]string{"ledger": "1", shape: "a"})
	second.save("ledger", "2")
	if err := first.log.SaveValues(t.Context(), map[string][]byte{shape: []byte("zombie")}); !errors.Is(err, packed.ErrFenced) {
		t.Errorf("a fenced capture stores: %v", err)
	}
	second.expect(map[string]string{"ledger": "2", shape: "a"})
	second.save(shape, "c")
	keep(t, backend).expect(map[string]string{"ledger": "2", shape: "c"})
	seq, err := backend.Open(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	names, err := seq.State.Values(t.Context())
	if kept := slices.Collect(maps.Keys(names)); err != nil || len(kept) > 6 {
		t.Errorf("old values stay: %q, %v", kept, err)
	}
}
