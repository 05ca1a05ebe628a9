package entraintest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// sinkOver fills a harness for a MemorySink; wrap, if not nil, stands between
// its writers and the suite.
func sinkOver(keeps Keeps, wrap func(*MemorySink) entrain.Sink) SinkHarness {
	var sink *MemorySink
	return SinkHarness{
		New: func(testing.TB) entrain.Sink {
			sink = NewMemorySink(MemorySinkConfig{Keeps: keeps})
			if wrap == nil {
				return sink
			}
			return wrap(sink)
		},
		Rows:  func(testing.TB) Rows { return sink.Rows("public.conformance") },
		Keeps: keeps,
	}
}

// TestMemorySink: P1 to P4 as far as a sink is concerned.
func TestMemorySink(t *testing.T) {
	t.Run("position", func(t *testing.T) { TestSink(t, sinkOver(KeepsPosition, nil)) })
	t.Run("mark", func(t *testing.T) { TestSink(t, sinkOver(KeepsMark, nil)) })
	t.Run("nothing", func(t *testing.T) { TestSink(t, sinkOver(KeepsNothing, nil)) })
}

// TestVisibleEarly: a sink that shows the open transaction passes, if it says
// so (P2 by its mark).
func TestVisibleEarly(t *testing.T) {
	var sink *MemorySink
	h := sinkOver(KeepsMark, func(s *MemorySink) entrain.Sink {
		sink = s
		return s
	})
	h.Rows = func(testing.TB) Rows {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		return sink.tables["public.conformance"].Clone()
	}
	if f := observe(t, func(t testing.TB) { sinkInvisible(t, h) }); f == nil {
		t.Error("the open transaction is visible, and the suite does not see it")
	}
	h.VisibleEarly = true
	TestSink(t, h)
}

// TestSinkMutants: each planted bug fails the cases named beside it, and each
// case of the suite fails for some bug.
func TestSinkMutants(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range sinkMutants {
		t.Run(m.name, func(t *testing.T) {
			h := sinkOver(m.keeps, m.wrap)
			h.Patience = 80 * time.Millisecond
			failed := verdicts{}
			for _, c := range sinkCases {
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
	for _, c := range sinkCases {
		if !caught[c.name] {
			t.Errorf("no mutant fails case %s", c.name)
		}
	}
}

// TestSinkRefuses: a change that does not fit is named, and nothing of its
// batch has an effect (P1, P2).
func TestSinkRefuses(t *testing.T) {
	sink := NewMemorySink(MemorySinkConfig{Keeps: KeepsPosition})
	w := openAt(t, sink, entrain.Position{})
	g := &target{t: t, stream: &entrain.Stream{Source: "source", Incarnation: "suite"}}
	if err := w.Write(t.Context(), g.batch(true, []entrain.Event{std(1, Null, Null, Null)})); err != nil {
		t.Fatal(err)
	}
	err := w.Write(t.Context(), g.batch(true, []entrain.Event{std(2, Null, Null, Null), std(1, Null, Null, Null)}))
	var refused *entrain.BatchError
	if !errors.As(err, &refused) || refused.Failed[0].ID != "source/suite/32/1" || refused.Failed[0].Table != "public.conformance" {
		t.Errorf("a second insert of a key: %v", err)
	}
	if ids := sink.IDs(); !slices.Equal(ids, []string{"source/suite/16/0"}) {
		t.Errorf("in effect: %v", ids)
	}
	if len(sink.Rows("public.conformance")) != 1 || len(sink.RowsAfter("public.conformance", 0)) != 0 {
		t.Errorf("rows: %v, at the start: %v", sink.Rows("public.conformance"), sink.RowsAfter("public.conformance", 0))
	}
}

// TestSinkHooks: a failure before a write has no effect, one after the commit
// has: the position tells which it was (P2).
func TestSinkHooks(t *testing.T) {
	before, after := errors.New("before"), errors.New("after")
	fail := error(nil)
	hook := func(which error) func(context.Context, *entrain.Batch) error {
		return func(context.Context, *entrain.Batch) error {
			if fail == which {
				return which
			}
			return nil
		}
	}
	sink := NewMemorySink(MemorySinkConfig{
		Keeps: KeepsPosition, BeforeWrite: hook(before), AfterCommit: hook(after),
	})
	g := &target{t: t, stream: &entrain.Stream{Source: "source", Incarnation: "suite"}}
	durable := entrain.Position{}
	for i, which := range []error{before, after} {
		fail = which
		w := openAt(t, sink, durable)
		b := g.batch(true, []entrain.Event{std(int64(i), Null, Null, Null)})
		if fail == after {
			durable = b.Through
		}
		if err := w.Write(t.Context(), b); !errors.Is(err, fail) {
			t.Errorf("write: %v, want %v", err, fail)
		}
		if err := w.Write(t.Context(), g.batch(true)); err == nil {
			t.Error("a session wrote after an error")
		}
	}
	openAt(t, sink, durable)
}

// openAt opens a session that has to find the position.
func openAt(t *testing.T, sink *MemorySink, want entrain.Position) entrain.Writer {
	t.Helper()
	w, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pos, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil || pos != want {
		t.Fatalf("position %s, %v, want %s", pos, err, want)
	}
	return w
}

// TestMemorySinkSifts: a session that has refused a batch goes on, and what was tried is
// in effect with the next commit, but for what was refused (P1, P4).
func TestMemorySinkSifts(t *testing.T) {
	sink := NewMemorySink(MemorySinkConfig{Keeps: KeepsPosition})
	w := openAt(t, sink, entrain.Position{}).(interface {
		entrain.Writer
		entrain.Sifter
	})
	g := &target{t: t, stream: &entrain.Stream{Source: "source", Incarnation: "suite"}}
	row := func(id int64) []entrain.Event { return []entrain.Event{std(id, Null, Null, Null)} }
	b := g.batch(true, row(1), row(2), row(1), row(3))
	var refused *entrain.BatchError
	if err := w.Write(t.Context(), b); !errors.As(err, &refused) {
		t.Fatalf("a second insert of a key: %v", err)
	}
	if err := w.Write(t.Context(), b); err == nil {
		t.Error("a refused batch was written before it was rolled back")
	}
	if err := w.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	part := func(from, to int) error {
		return w.Try(t.Context(), &entrain.Batch{Events: b.Events[from:to], Through: b.Through})
	}
	if err := part(0, 2); err != nil {
		t.Fatal(err)
	}
	if err := part(2, 4); !errors.As(err, &refused) {
		t.Errorf("a second insert of a key: %v", err)
	}
	if err := part(3, 4); err != nil {
		t.Fatal(err)
	}
	if n := len(sink.IDs()); n != 0 {
		t.Errorf("%d events are in effect before the commit", n)
	}
	if err := w.Write(t.Context(), &entrain.Batch{Through: b.Through}); err != nil {
		t.Fatal(err)
	}
	if ids := sink.IDs(); !slices.Equal(ids, []string{b.Events[0].ID(), b.Events[1].ID(), b.Events[3].ID()}) {
		t.Errorf("in effect: %v", ids)
	}
	if err := w.Rollback(t.Context()); err != nil {
		t.Errorf("a rollback of nothing: %v", err)
	}
}
