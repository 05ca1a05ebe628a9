package encoding

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

// TestFlatGolden pins the wire form: docs/format.md describes these bytes.
func TestFlatGolden(t *testing.T) {
	f := NewFlat()
	var got []byte
	for _, e := range append(events(), stockEvents()...) {
		var err error
		if got, err = f.Append(got, &e); err != nil {
			t.Fatal(err)
		}
	}
	checkGolden(t, "testdata/flat.jsonl", got)
}

// Columns that are called like metadata are all there, under names of their own
// (P1).
func TestFlatKeepsColumnsApart(t *testing.T) {
	table := &entrain.Table{Schema: "s", Name: "t"}
	for _, name := range []string{"__op", "___op", "_op", "op", "__table", "__unchanged", "__id"} {
		table.Columns = append(table.Columns, entrain.Column{Name: name, Type: "text"})
	}
	e := entrain.Event{Op: entrain.OpInsert, Table: table, Tx: tx(1), After: row("a", "b", "c", "d", "e", "f", "g")}
	out, err := NewFlat().Append(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"__op": "insert", "__deleted": false, "__schema": "s", "__table": "t", "__schema_version": "0000000000000000", "__id": "shop/7-1/1/0", "__version": "1",
		"__ordinal": 0.0, "__commit_time": "2026-11-22T20:00:00.123456Z",
		"____op": "a", "___op": "b", "_op": "c", "op": "d", "___table": "e", "___unchanged": "f", "___id": "g",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFlatRefusesUnknownOperation(t *testing.T) {
	if _, err := NewFlat().Append(nil, &entrain.Event{Op: 99, Tx: tx(1)}); err == nil {
		t.Error("operation 99 was written")
	}
}

// TestFlatAllocates proves P6 for the hot path: nothing per event.
func TestFlatAllocates(t *testing.T) {
	checkAllocations(t, NewFlat(), append(events(), stockEvents()...))
}
