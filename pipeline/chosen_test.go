package pipeline_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestOtherRowsChosen: a copy beside the stream that is interrupted goes on where it
// stood, unless other rows of the table are chosen by then, by the source or by a rule:
// then it begins anew, into a new double.
func TestOtherRowsChosen(t *testing.T) {
	for name, c := range map[string]struct {
		chosen, rule string
		begun        int
	}{"same": {"", "", 1}, "by the source": {"id > 5", "", 2}, "by a rule": {"", "new.id > 5", 2}} {
		synctest.Test(t, func(t *testing.T) {
			w := newLiving(0)
			sink, store := newLivingSink(w), &tableStore{world: w}
			w.commit(15)
			rule := ""
			options := pipeline.Options{Source: w, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{
				Rules: func(_, _ string) string { return rule },
			}}
			table := w.tables[1].String()
			process(t, 0, options, func(p *pipeline.Pipeline) {
				finish(t, 0, w, p)
				for len(w.states[len(w.states)-1][1]) < 8 {
					w.commit(1)
				}
				w.mu.Lock()
				w.slow, w.begun = time.Second, 0
				w.mu.Unlock()
				if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: table}); err != nil {
					t.Fatal(err)
				}
				<-time.After(1500 * time.Millisecond)
			})
			lives, err := store.LoadTables(t.Context())
			if err != nil || len(lives) != 1 || lives[0].Copy.After == nil {
				t.Fatalf("%s: not in the middle of a copy: %+v, %v", name, lives, err)
			}
			w.mu.Lock()
			w.slow, w.begun = 0, 1
			w.mu.Unlock()
			w.chosen, rule = c.chosen, c.rule
			process(t, 0, options, func(p *pipeline.Pipeline) {
				<-time.After(time.Minute)
				wantState(t, p, table, pipeline.TableStreaming)
			})
			if w.begun != c.begun {
				t.Errorf("%s: the copy was begun %d times, want %d", name, w.begun, c.begun)
			}
			if diff := sink.rows[table].Diff(w.states[len(w.states)-1][1]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		})
	}
}

// TestOtherRowsCopied (P5): where other rows are chosen while the first copy is not
// complete, it does not go on; where they are the same, it does.
func TestOtherRowsCopied(t *testing.T) {
	for rules, code := range map[string]string{"": "", "new.id > 5": "snapshot_rows"} {
		w := newWorld(0)
		w.budget = 0
		w.commit(12)
		sink := &loaderSink{world: w, rows: map[string]entraintest.Rows{}, loads: map[string]bool{}, notes: map[string]string{}}
		store := &ledgerStore{world: w}
		now := ""
		options := pipeline.Options{Source: w, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{
			Mode: pipeline.SnapshotInitial, Rules: func(_, _ string) string { return now },
		}}
		if _, err := run(t, options); err != nil {
			t.Fatal(err)
		}
		store.ledger.Complete = false // as of a copy that was cut off behind its last table
		for _, done := range store.ledger.Tables {
			if done.Chosen == "" {
				t.Errorf("what was chosen of table %s is not noted", done.Name)
			}
			note, err := json.Marshal(done)
			if err != nil {
				t.Fatal(err)
			}
			sink.notes[done.Schema+"."+done.Name] = string(note)
		}
		now = rules
		fresh := newWorld(0) // whose stream has not passed anything yet
		fresh.budget = 0
		options.Source = fresh
		_, err := run(t, options)
		var stop *entrain.Stop
		if errors.As(err, &stop); (code != "") != (stop != nil) {
			t.Fatalf("%q: %v", rules, err)
		}
		names := func(table *entrain.Table) bool { return stop != nil && strings.Contains(stop.What, table.String()) }
		if stop != nil && (stop.Code != code || !slices.ContainsFunc(w.tables, names)) { // they are finished in any order
			t.Errorf("%v", err)
		}
	}
}
