package entraintest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// memoryHarness fills a harness for a MemorySource; wrap, if not nil, stands
// between it and the suite.
func memoryHarness(cfg MemorySourceConfig, wrap func(*MemorySource) entrain.Source) SourceHarness {
	var src *MemorySource
	return SourceHarness{
		New: func(testing.TB) entrain.Source {
			src = NewMemorySource(cfg)
			if wrap == nil {
				return src
			}
			return wrap(src)
		},
		Commit:       func(_ testing.TB, events ...entrain.Event) { src.Commit(events...) },
		Bounded:      cfg.Bounded,
		FragmentRows: 20 * cfg.BatchEvents,
	}
}

// TestMemorySource: P1 to P5 as far as a source is concerned.
func TestMemorySource(t *testing.T) {
	for _, limit := range []int{0, 1, 3, 16} {
		for _, bounded := range []bool{false, true} {
			t.Run(fmt.Sprintf("batch=%d/bounded=%v", limit, bounded), func(t *testing.T) {
				TestSource(t, memoryHarness(MemorySourceConfig{BatchEvents: limit, Bounded: bounded}, nil))
			})
		}
	}
}

// TestFullImages: a source that logs all columns, before and after, passes
// (P1): the suite must not demand that columns are missing.
func TestFullImages(t *testing.T) {
	h := memoryHarness(MemorySourceConfig{BatchEvents: 5}, nil)
	rows := Rows{}
	newSource, commit := h.New, h.Commit
	h.New = func(t testing.TB) entrain.Source {
		rows = Rows{}
		return newSource(t)
	}
	h.Commit = func(t testing.TB, events ...entrain.Event) {
		full := make([]entrain.Event, len(events))
		for i, e := range events {
			full[i] = fill(rows, e)
		}
		commit(t, full...)
	}
	TestSource(t, h)
}

// fill completes the images of e and applies it to the rows.
func fill(rows Rows, e entrain.Event) entrain.Event {
	edits, err := rows.edits(&e)
	if err != nil {
		panic(err)
	}
	for _, d := range edits {
		rows.set(d.key, d.new)
	}
	if e.Op != entrain.OpUpdate && e.Op != entrain.OpDelete {
		return e
	}
	e.Before = Row(e.Table, edits[0].old...)
	if e.Op == entrain.OpUpdate {
		e.After = Row(e.Table, edits[len(edits)-1].new...)
	}
	return e
}

// TestIdlePositions: positions that no transaction made do not disturb the
// suite (P1).
func TestIdlePositions(t *testing.T) {
	h := memoryHarness(MemorySourceConfig{}, nil)
	var src *MemorySource
	newSource, commit := h.New, h.Commit
	h.New = func(t testing.TB) entrain.Source {
		src = newSource(t).(*MemorySource)
		return src
	}
	h.Commit = func(t testing.TB, events ...entrain.Event) {
		src.Commit()
		commit(t, events...)
		src.Commit()
	}
	TestSource(t, h)
}

// TestSourceMutants: each planted bug fails the cases named beside it, and
// each case of the suite fails for some bug.
func TestSourceMutants(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range sourceMutants {
		t.Run(m.name, func(t *testing.T) {
			cfg := MemorySourceConfig{BatchEvents: 4, Bounded: m.bounded}
			h := memoryHarness(cfg, m.wrap)
			h.Patience = 80 * time.Millisecond
			failed := verdicts{}
			for _, c := range sourceCases {
				if c.only != nil && !c.only(h) {
					continue
				}
				if f := observe(t, func(t testing.TB) { c.run(t, h) }); f != nil {
					failed[c.name], caught[c.name] = f, true
				}
			}
			judge(t, failed, m.fails)
		})
	}
	for _, c := range sourceCases {
		if !caught[c.name] {
			t.Errorf("no mutant fails case %s", c.name)
		}
	}
}

// TestSourceHooks: a source whose connection breaks goes on in a new session
// without loss (P1).
func TestSourceHooks(t *testing.T) {
	src := NewMemorySource(MemorySourceConfig{})
	p := src.Commit(Message("test", "one"))
	r, err := src.Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Read(t.Context())
	if err != nil || b.Through != p || src.Outstanding() != 1 {
		t.Fatalf("read: %v through %s, %v; %d outstanding", b, b.Through, err, src.Outstanding())
	}
	b.Free()
	result := make(chan error)
	go func() {
		_, err := r.Read(t.Context())
		result <- err
	}()
	src.Disconnect(entrain.ErrDisconnected)
	if err := <-result; !errors.Is(err, entrain.ErrDisconnected) || !entrain.IsRetryable(err) {
		t.Errorf("read of a broken session: %v", err)
	}
	again, err := src.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	src.Commit(Message("test", "two"))
	b, err = again.Read(t.Context())
	if err != nil || string(b.Events[0].Message.Content) != "two" {
		t.Fatalf("read after a broken session: %v, %v", b, err)
	}
	if err := again.Ack(t.Context(), b.Through); err != nil {
		t.Error(err)
	}
	if acks := src.Acks(); len(acks) != 1 || acks[0] != b.Through {
		t.Errorf("acknowledged: %v", acks)
	}
}
