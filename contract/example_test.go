package contract_test

import (
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
)

// A contract is compared with a table, and rows are judged by it.
func Example() {
	null := false
	orders := &contract.Contract{Table: "public.orders", Columns: []contract.Column{
		{Name: "id", Type: "bigint", Key: true},
		{Name: "status", Type: "text", Nullable: &null, Values: []string{"open", "paid"}},
	}}
	if err := orders.Check(); err != nil {
		fmt.Println(err)
		return
	}
	table := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Type: "int4", Modifier: -1, Kind: entrain.Integer, Key: true}, {Name: "status", Type: "text", Modifier: -1}}}
	for _, d := range contract.Compare(orders, contract.ShapeOf(table, nil, nil)) {
		fmt.Println(d, "- breaking:", d.Breaking)
	}

	orders.Compatibility = contract.Forward // a smaller type is no harm to who reads the larger one
	var b entrain.RowBuilder
	b.Begin(nil, 2)
	b.Value([]byte("1"))
	b.Value([]byte("lost"))
	row, _ := b.End()
	e := &entrain.Event{Op: entrain.OpInsert, Table: table, After: row}
	if breach := contract.New([]*contract.Contract{orders}, contract.Options{Level: contract.Stop}).Judge(e); breach != nil {
		fmt.Println("column", breach.Column, "wants", breach.Want+", not", breach.Value(e))
	}
	// Output:
	// column id: type: contract has bigint, table has int4 - breaking: true
	// column status wants one of ["open" "paid"], not "lost"
}
