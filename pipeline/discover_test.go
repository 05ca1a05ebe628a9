package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// ledgered is a store with a first copy that is complete.
type ledgered struct {
	tableStore
	ledger pipeline.Ledger
}

func (s *ledgered) LoadLedger(context.Context) (pipeline.Ledger, error) { return s.ledger, nil }

func (s *ledgered) SaveLedger(_ context.Context, l pipeline.Ledger, _ *pipeline.Checkpoint) error {
	s.ledger = l
	return nil
}

// TestTableThatWasLeftOut: a table that has its rows and is captured no more is
// paused, so that what it changes by meanwhile is not missing in silence once it is
// captured again.
func TestTableThatWasLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		sink, store := newLivingSink(w), &ledgered{tableStore: tableStore{world: w}}
		capture := func(captured bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.captured[0], w.captured[1] = captured, captured
		}
		capture(true)
		o := pipeline.Options{Source: w, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{Mode: pipeline.SnapshotNever}}
		process(t, 0, o, func(*pipeline.Pipeline) { w.commit(20) })
		store.ledger.Complete = true
		for _, table := range w.tables {
			store.ledger.Tables = append(store.ledger.Tables, pipeline.CopiedTable{Schema: table.Schema, Name: table.Name})
		}
		o.Snapshot.Mode = pipeline.SnapshotInitial
		capture(false)
		process(t, 0, o, func(p *pipeline.Pipeline) { w.commit(20) })
		capture(true)
		process(t, 0, o, func(p *pipeline.Pipeline) {
			w.commit(20)
			<-time.After(time.Second)
			if got := stateOf(t, p, w.tables[1]).State; got != pipeline.TablePaused {
				t.Errorf("the table is %s", got)
			}
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: w.tables[0].String()}); err != nil {
				t.Fatal(err)
			}
			finish(t, 0, w, p)
		})
		for i, table := range w.tables {
			if diff := sink.rows[table.String()].Diff(w.states[len(w.states)-1][i]); diff != "" {
				t.Errorf("%s differs:\n%s", table, diff)
			}
		}
	})
}

// gone is a source one of whose tables cannot be read by key any more.
type gone struct{ *living }

func (g gone) Chunks(ctx context.Context) (entrain.ChunkSession, error) {
	s, err := g.living.Chunks(ctx)
	return goneSession{s, g.tables[1].Name}, err
}

type goneSession struct {
	entrain.ChunkSession
	name string
}

func (s goneSession) Read(ctx context.Context, q entrain.ChunkQuery) (*entrain.Chunk, error) {
	if q.Table.Name == s.name {
		return nil, entrain.Retryable(errFault)
	}
	return s.ChunkSession.Read(ctx, q)
}

// TestUnreadableTableHindersNoOther: chunks of a table that is locked or gone are tried
// again and again, and those of the others are read meanwhile.
func TestUnreadableTableHindersNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		process(t, 0, pipeline.Options{Source: gone{w}, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			w.commit(30)
			synctest.Wait()
			for _, table := range w.tables[1:] {
				if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderResync, Table: table.String()}); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				w.commit(1)
				<-time.After(100 * time.Millisecond)
			}
			if got := stateOf(t, p, w.tables[2]).State; got != pipeline.TableStreaming {
				t.Errorf("the other table is %s", got)
			}
		})
	})
}
