package transform_test

import (
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/transform"
)

// Rules are checked once and then applied to every batch, usually as the
// Transform of pipeline.Options.
func Example() {
	rules, err := transform.New([]transform.Rule{{
		Tables:  []string{"public.orders"},
		Rename:  "sales.large_orders",
		Columns: transform.Columns{Exclude: []string{"card"}},
		Where:   `new.total > 100`,
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	orders := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Kind: entrain.Integer, Key: true}, {Name: "total", Kind: entrain.Decimal}, {Name: "card"},
	}}
	batch := &entrain.Batch{Events: []entrain.Event{
		entraintest.Insert(orders, entraintest.Text("1"), entraintest.Text("99.50"), entraintest.Text("4111")),
		entraintest.Insert(orders, entraintest.Text("2"), entraintest.Text("100.01"), entraintest.Text("5500")),
	}}
	out, err := rules.Apply(batch)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.Free()
	for i := range out.Events {
		e := &out.Events[i]
		fmt.Println(e.Op, e.Table, entraintest.Cells(e.Table, e.After))
	}
	fmt.Println("filtered:", out.Filtered)
	// Output:
	// insert sales.large_orders ["2" "100.01"]
	// filtered: 1
}
