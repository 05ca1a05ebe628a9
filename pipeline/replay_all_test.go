package pipeline_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestReplayOfAllButOneTable: a table whose letters the sink does not take holds up what
// comes behind them, and nothing else.
func TestReplayOfAllButOneTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		table := entraintest.StandardTable()
		other := *table
		other.Name = "other"
		row := func(key string) []entraintest.Cell {
			return []entraintest.Cell{entraintest.Text(key), entraintest.Text("a"), entraintest.Text("b"), entraintest.Null}
		}
		src.Commit(entraintest.Insert(table, row("1")...))                                           // 1000
		src.Commit(entraintest.Insert(&other, row("1")...))                                          // 2000
		src.Commit(entraintest.Update(table, row("1")...), entraintest.Insert(&other, row("2")...))  // 3000
		src.Commit(entraintest.Update(&other, row("2")...), entraintest.Insert(&other, row("3")...)) // 4000
		src.Commit(entraintest.Update(&other, row("1")...))                                          // 5000
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/1000/0", "source/memory/2000/0")
		defer f.end()
		if n := len(f.box.ids()); n != 7 {
			t.Fatalf("parked: %v", f.box.ids())
		}
		f.picky.mu.Lock()
		f.picky.bad = map[string]bool{"source/memory/1000/0": true}
		f.picky.mu.Unlock()
		n, err := f.Replay(t.Context(), nil)
		left := []string{"source/memory/1000/0", "source/memory/3000/0", "source/memory/3000/1", "source/memory/4000/0", "source/memory/4000/1"}
		if got := f.box.ids(); n != 2 || err == nil || !slices.Equal(got, left) {
			t.Errorf("replayed %d, %v; left %v", n, err, got)
		}
		f.picky.mend()
		f.replay(t, 5)
	})
}
