package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

// keptKeys is a store of keys that keeps all.
type keptKeys map[string]string

func (k keptKeys) Values(_ context.Context, keys []string) ([]string, error) {
	values := make([]string, len(keys))
	for i := range keys {
		values[i] = k[keys[i]]
	}
	return values, nil
}

func (k keptKeys) Keep(_ context.Context, keys, values []string) error {
	for i := range keys {
		k[keys[i]] = values[i]
	}
	return nil
}

// opsSink keeps no position, only what copies gave it, operations and ids.
type opsSink struct{ ops, ids []string }

func (s *opsSink) Open(context.Context) (entrain.Writer, error) { return s, nil }
func (s *opsSink) Close() error                                 { return nil }

func (s *opsSink) Write(_ context.Context, b *entrain.Batch) error {
	for i := range b.Events {
		if e := &b.Events[i]; e.OfCopy() {
			s.ops, s.ids = append(s.ops, fmt.Sprint(e.Op)), append(s.ids, e.ID())
		}
	}
	return nil
}

// TestResyncIsNoDuplicate: each resync empties the table first, also where changes are
// recognised by their ids: none of two processes, which have read nothing before, gives an
// id that the other one has given (P1).
func TestResyncIsNoDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(15)
		w.budget = 0
		pattern, err := dedup.Parse(dedup.Default)
		if err != nil {
			t.Fatal(err)
		}
		sink, keys, store := &opsSink{}, keptKeys{}, &tableStore{world: w}
		o := pipeline.Options{Source: w, Sink: sink, Store: store, Dedup: &pipeline.Dedup{Store: keys, Pattern: pattern, Delivery: "x"}}
		process(t, 0, o, func(*pipeline.Pipeline) { <-time.After(time.Second) })
		var all []string
		for range 3 {
			*sink = opsSink{}
			process(t, 0, o, func(p *pipeline.Pipeline) {
				synctest.Wait()
				if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: w.tables[1].String()}); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					w.commit(1)
					<-time.After(time.Second)
				}
			})
			made := strings.Join(sink.ops, " ")
			if strings.Count(made, "truncate") != 1 || strings.Count(made, "read_end") != 1 {
				t.Errorf("a resync in a process of its own: the sink gets %s", made)
			}
			all = append(all, sink.ids...)
		}
		slices.Sort(all)
		if some := len(all); len(slices.Compact(all)) != some {
			t.Error("two events have the same id")
		}
	})
}

// TestRefreshThatBreaksARule: a refresh whose rows the rules refuse is given up, and the
// table and its pipeline stream on.
func TestRefreshThatBreaksARule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(15)
		w.budget = 0
		refused := 0
		o := pipeline.Options{Source: w, Sink: newLivingSink(w), Store: &tableStore{world: w},
			Snapshot: pipeline.Snapshot{TransformTable: func(t *entrain.Table) (*entrain.Table, error) { return t, nil }},
			Transform: func(b *entrain.Batch) (*entrain.Batch, error) {
				for i := range b.Events {
					if e := &b.Events[i]; e.Op == entrain.OpRead && e.Table.Name == w.tables[1].Name {
						refused++
						return nil, &entrain.Stop{Code: "contract_broken", Table: e.Table}
					}
				}
				return b, nil
			}}
		process(t, 0, o, func(p *pipeline.Pipeline) {
			synctest.Wait()
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderRefresh, Table: w.tables[1].String()}); err != nil {
				t.Fatal(err)
			}
			finish(t, 0, w, p)
		})
		if refused == 0 {
			t.Error("no row was refused")
		}
	})
}
