package pipeline_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// TestDefinitions: all tables can be had for a sink that begins, also those whose
// refresh is held; one that is copied for another reason is named.
func TestDefinitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newLiving(0)
		w.commit(15)
		process(t, 0, pipeline.Options{Source: w, Sink: newLivingSink(w), Store: &tableStore{world: w}}, func(p *pipeline.Pipeline) {
			synctest.Wait()
			do := func(o pipeline.Order) {
				t.Helper()
				if err := p.Do(t.Context(), o); err != nil {
					t.Fatalf("%+v: %v", o, err)
				}
			}
			for _, table := range w.tables[1:] { // the first is captured later
				do(pipeline.Order{Do: pipeline.OrderRefresh, Table: table.String(), Held: true})
				if got := stateOf(t, p, table); !got.Held || !got.Refresh || got.State != pipeline.TableCopying {
					t.Errorf("a held refresh is %+v", got)
				}
			}
			all, err := p.Definitions(t.Context())
			if err != nil || len(all) != len(w.tables)-1 {
				t.Fatalf("%d definitions, %v; want %d", len(all), err, len(w.tables)-1)
			}
			do(pipeline.Order{Do: pipeline.OrderCancel, Table: w.tables[1].String()})
			do(pipeline.Order{Do: pipeline.OrderResync, Table: w.tables[1].String()})
			var stop *entrain.Stop
			if _, err := p.Definitions(t.Context()); !errors.As(err, &stop) || stop.Code != "sink_unfilled" || !strings.Contains(stop.What, w.tables[1].String()) {
				t.Errorf("with a table that is resynced: %v", err)
			}
			if err := p.Do(t.Context(), pipeline.Order{Do: pipeline.OrderRefresh, Sink: "lake"}); err == nil || !strings.Contains(err.Error(), "sink lake") {
				t.Errorf("a sink that begins without a stream: %v", err)
			}
			do(pipeline.Order{Do: pipeline.OrderResume})
			finish(t, 0, w, p)
		})
	})
}
