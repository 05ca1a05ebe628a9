package pipeline

import (
	"testing"

	"github.com/entrainsync/entrain"
)

// TestFlightsOfCancelledOrders: rows that were on their way when their order was
// cancelled are not waited for (P6, P9): what is copied later lands behind them.
func TestFlightsOfCancelledOrders(t *testing.T) {
	all := newTables(&Pipeline{})
	first, second := new(entrain.Batch), new(entrain.Batch)
	all.flying = []flight{{batch: first, life: new(life)}, {batch: second, life: new(life)}}
	if !all.busy() {
		t.Error("rows are on their way, and nothing is busy")
	}
	for i, b := range []*entrain.Batch{first, second} {
		if _, err := all.durable(t.Context(), []*entrain.Batch{b}, nil); err != nil {
			t.Fatal(err)
		}
		if got := len(all.flying); got != 1-i {
			t.Errorf("%d flights behind batch %d, want %d", got, i+1, 1-i)
		}
	}
	if all.busy() {
		t.Error("nothing is on its way, and something is busy")
	}
}
