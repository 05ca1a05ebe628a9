package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain/pipeline"
)

// TestSlowBarrier: a transaction that stays open at the source holds up the table that
// waits for its end. Chunks of others are read meanwhile, and orders are carried out.
func TestSlowBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.slow = time.Second
		sink, store := newLivingSink(w), &tableStore{world: w}
		w.commit(15)
		process(t, 0, pipeline.Options{Source: w, Sink: sink, Store: store}, func(p *pipeline.Pipeline) {
			finish(t, 0, w, p)
			for len(w.states[len(w.states)-1][1]) < 8 { // several chunks
				w.commit(1)
			}
			quick, slow := w.tables[1].String(), w.tables[2].String()
			order := func(do pipeline.Verb, table string) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := p.Do(ctx, pipeline.Order{Do: do, Table: table}); err != nil {
					t.Fatal(err)
				}
			}
			order(pipeline.OrderRefresh, quick)
			<-time.After(500 * time.Millisecond) // its first chunk is being read
			ends := make(chan struct{})
			w.mu.Lock()
			w.barrier = func(ctx context.Context) error {
				select {
				case <-ends:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			w.mu.Unlock()
			order(pipeline.OrderRefresh, slow)
			<-time.After(30 * time.Second)
			wantState(t, p, quick, pipeline.TableStreaming)
			wantState(t, p, slow, pipeline.TableCopying)
			order(pipeline.OrderCancel, slow)
			wantState(t, p, slow, pipeline.TableStreaming)
			order(pipeline.OrderResync, slow)
			order(pipeline.OrderHold, slow)
			order(pipeline.OrderResume, slow)
			wantState(t, p, slow, pipeline.TableResyncing)
			close(ends)
			<-time.After(30 * time.Second)
			wantState(t, p, slow, pipeline.TableStreaming)
		})
	})
}

func wantState(t *testing.T, p *pipeline.Pipeline, table string, want pipeline.TableState) {
	t.Helper()
	list, err := p.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		if st.Table == table && st.State != want {
			t.Errorf("table %s is %s, want %s", table, st.State, want)
		}
	}
}

// TestOrderWhileAdopted: a table is ordered elsewhere while a session that begins looks
// for what the source has of it. The order stands, whatever was found.
func TestOrderWhileAdopted(t *testing.T) {
	for _, captured := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newLiving(0)
			sink, store := newLivingSink(w), &tableStore{world: w}
			table := w.tables[1]
			if err := store.SaveTables(t.Context(), []pipeline.TableLife{
				{Schema: table.Schema, Name: table.Name, State: pipeline.TableResyncing, Anew: true},
			}, nil); err != nil {
				t.Fatal(err)
			}
			p, err := pipeline.New(pipeline.Options{Source: w, Sink: sink, Store: store})
			if err != nil {
				t.Fatal(err)
			}
			ordered := make(chan error, 1)
			w.captured[1] = captured
			w.listing = func() {
				go func() { ordered <- p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderCancel, Table: table.String()}) }()
				<-time.After(time.Second)
			}
			ctx, stop := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- p.Run(ctx) }()
			<-time.After(time.Minute)
			wantState(t, p, table.String(), pipeline.TablePaused)
			stop()
			if err := errors.Join(<-ordered, <-result); err != nil {
				t.Errorf("captured %v: %v", captured, err)
			}
		})
	}
}
