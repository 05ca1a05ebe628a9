package pipeline_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// tenUpdates commits a row and nine changes of it.
func tenUpdates(src *entraintest.MemorySource) {
	table := entraintest.StandardTable()
	cells := func(v string) []entraintest.Cell {
		return []entraintest.Cell{entraintest.Text("1"), entraintest.Text(v), entraintest.Text(v), entraintest.Null}
	}
	src.Commit(entraintest.Insert(table, cells("a")...))
	for i := range 9 {
		src.Commit(entraintest.Update(table, cells(string(rune('b'+i)))...), entraintest.Update(table, cells("x")...), entraintest.Update(table, cells("y")...))
	}
}

// TestRedeliver: what is wanted of a stretch is delivered once more, in order and in
// whole transactions, and the position stays; what the sink refuses ends the stretch,
// not the pipeline.
func TestRedeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		tenUpdates(live)
		f := openOffice(t, live, pipeline.DeadLetters{})
		defer f.end()
		again := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2, Bounded: true})
		tenUpdates(again)
		flow := len(f.sink.IDs())
		before, err := f.Delivered(t.Context())
		if err != nil || before.IsZero() {
			t.Fatalf("delivered %s, %v", before, err)
		}
		wanted := func(e *entrain.Event) bool { return e.Tx.Version == 4000 || e.Tx.Version == 6000 && e.Ordinal != 1 }
		n, err := f.Redeliver(t.Context(), pipeline.Redelivery{Source: again, Wants: wanted})
		want := append(idsOf(4000, 3), "source/memory/6000/0", "source/memory/6000/2")
		if got := f.sink.IDs()[flow:]; err != nil || n != 5 || !slices.Equal(got, want) {
			t.Errorf("redelivered %d, %v: %v, want %v", n, err, got, want)
		}
		if at, err := f.Delivered(t.Context()); err != nil || at != before {
			t.Errorf("the position is %s, want %s (%v)", at, before, err)
		}
		f.picky.bad["source/memory/9000/1"] = true
		n, err = f.Redeliver(t.Context(), pipeline.Redelivery{Source: again, Wants: func(e *entrain.Event) bool { return e.Tx.Version >= 8000 }})
		if err == nil || !strings.Contains(err.Error(), "does not fit") || n != 3 {
			t.Errorf("redelivered %d, %v; want the 3 before what is refused", n, err)
		}
		live.Commit(entraintest.Insert(entraintest.StandardTable(), entraintest.Text("2"), entraintest.Null, entraintest.Null, entraintest.Null))
		if _, err := f.Delivered(t.Context()); err != nil || f.Status().Phase != "streaming" {
			t.Errorf("the pipeline is %s, %v", f.Status().Phase, err)
		}
	})
}

// TestEndBehindRefusedReplay: a pipeline that is told to end just behind a replay that was
// refused ends well.
func TestEndBehindRefusedReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 3)
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/2000/0")
		if _, err := f.Replay(t.Context(), nil); err == nil {
			t.Error("what is refused was replayed")
		}
		f.end() // it reports an error
	})
}
