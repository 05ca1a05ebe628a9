package packed_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// TestKeeps: a successor finds what a capture has stored, and not what that stores
// when it is fenced.
func TestKeeps(t *testing.T) {
	ctx := t.Context()
	backend := &packed.Memory{}
	begin := func() *packed.Log {
		t.Helper()
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
		return l
	}
	save := func(l *packed.Log, key, value string) {
		t.Helper()
		if err := l.SaveValues(ctx, map[string][]byte{key: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(l *packed.Log, want map[string]string) {
		t.Helper()
		values, err := l.LoadValues(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for key, value := range values {
			got[key] = string(value)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	first := begin()
	save(first, "ledger", "1")
	save(first, "schema/public\x00Überblick", "a")
	second := begin()
	expect(second, map[string]string{"ledger": "1", "schema/public\x00Überblick": "a"})
	save(second, "ledger", "2")
	if err := first.SaveValues(ctx, map[string][]byte{"schema/public\x00Überblick": []byte("zombie")}); !errors.Is(err, packed.ErrFenced) {
		t.Errorf("a fenced capture stores: %v", err)
	}
	expect(second, map[string]string{"ledger": "2", "schema/public\x00Überblick": "a"})
	save(second, "schema/public\x00Überblick", "c")
	expect(begin(), map[string]string{"ledger": "2", "schema/public\x00Überblick": "c"})
	seq, err := backend.Open(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	names, err := seq.State.Values(ctx)
	if kept := slices.Collect(maps.Keys(names)); err != nil || len(kept) > 6 {
		t.Errorf("old values stay: %q, %v", kept, err)
	}
}
