package transform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// TestColumns: states, order and both images survive a projection, and what is
// left out is nowhere in the rows (P8).
func TestColumns(t *testing.T) {
	table, full := orders(), fullOrders()
	for _, c := range []struct {
		name string
		rule Rule
		e    entrain.Event
		want string
	}{
		{"exclude", Rule{Columns: Columns{Exclude: []string{"secret", "total"}}}, change(table, "", open), "insert public.orders: - > 1 open t 1.5"},
		{"include keeps the table's order", Rule{Columns: Columns{Include: []string{"paid", "id"}}}, change(full, open, "2 ~ ~ ~ ~ ~"), "update public.orders: 1 t > 2 ~"},
		{"both", Rule{Columns: Columns{Include: []string{"paid", "id"}, Exclude: []string{"status"}}}, change(table, "1 ? ? ? ? ?", ""), "delete public.orders: 1 ? > -"},
		{"unchanged stays", Rule{Columns: Columns{Exclude: []string{"total"}}}, updated(table, "1 5 ? t ~ ?"), "update public.orders: - > 1 ? t ~ ?"},
		{"renamed table", Rule{Rename: "sales.{schema}_{table}.x"}, change(table, "", open), "insert sales.public_orders.x: - > " + open},
		{"empty rule", Rule{}, change(table, "", open), "insert public.orders: - > " + open},
		{"filter and projection", Rule{Where: "new.total > 100", Columns: Columns{Include: []string{"id"}}}, change(full, open, "1 99 open t 1 ~"), "delete public.orders: 1 > -"},
		{"replace and projection", Rule{Where: "new.total > 100", OldUnknown: OldReplace, Columns: Columns{Exclude: []string{"secret"}}}, updated(table, "1 99 open t 1 ~"), "delete public.orders: 1 ? ? ? ? > -"},
		{"what is left out need not be logged", Rule{Where: "new.id > 1", Columns: Columns{Exclude: []string{"status"}}}, change(table, "1 ? ? ? ? ?", "2 9 ? t 1 ~"), "insert public.orders: - > 2 9 t 1 ~"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.rule.Tables = []string{"public.*"}
			if diff := cmp.Diff(c.want, apply(t, mustNew(t, c.rule), c.e)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRenamedColumns: a new name is a new shape, and changes nothing else.
func TestRenamedColumns(t *testing.T) {
	table := orders()
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Columns: Columns{Rename: map[string]string{"id": "order_id", "total": "id"}}})
	in := &entrain.Batch{Events: []entrain.Event{change(table, "", open)}}
	out, err := tr.Apply(in)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Events[0].Table
	want := slices.Clone(table.Columns)
	want[0].Name, want[1].Name = "order_id", "id"
	if diff := cmp.Diff(want, got.Columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if got.Version != got.Fingerprint() || got.Version == table.Version {
		t.Errorf("version %x of %x", got.Version, table.Version)
	}
	if &out.Events[0].After[0] != &in.Events[0].After[0] {
		t.Error("rows whose columns all go on are copied")
	}
	if table.Columns[0].Name != "id" {
		t.Error("the source's table was changed")
	}
}

// TestUnfit: what a rule says about a table that has another shape is a named
// stop (P5), never a guess.
func TestUnfit(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Columns: Columns{Exclude: []string{"secert"}}}, `transform_unfit: the transform rule for table public.orders does not fit it: columns.exclude names column "secert", which the table does not have: it has ["id" "total" "status" "paid" "weight" "secret"]`},
		{Rule{Columns: Columns{Include: []string{"id", "x"}}}, `columns.include names column "x"`},
		{Rule{Columns: Columns{Rename: map[string]string{"x": "y"}}}, `columns.rename names column "x"`},
		{Rule{Columns: Columns{Rename: map[string]string{"total": "paid"}}}, `columns "total" and "paid" would both be named "paid"`},
		{Rule{Columns: Columns{Exclude: []string{"id"}}}, `column "id" cannot be left out: it identifies the row`},
		{Rule{Columns: Columns{Include: []string{"total"}}}, `column "id" cannot be left out: it identifies the row`},
		{Rule{Where: "new.x == 1"}, `where names column "x"`},
		{Rule{When: "old.x == 1"}, `when names column "x"`},
		{Rule{Where: "new.total == 1"}, `found no matching overload for '_==_' applied to '(decimal, int)' (where, line 1, column 11)`},
		{Rule{Where: "100 < new.total"}, `found no matching overload for '_<_' applied to '(int, decimal)' (where, line 1, column 5)`},
		{Rule{Where: "new.status"}, `where is of type string, not true or false`},
		{Rule{Where: "new.total in [1, 2]"}, `found no matching overload`},
	} {
		c.rule.Tables = []string{"*.*"}
		if got := apply(t, mustNew(t, c.rule), change(orders(), "", open)); !strings.Contains(got, c.want) {
			t.Errorf("%+v:\n%s\nwant %s", c.rule, got, c.want)
		}
	}
	keyless := fullOrders()
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Columns: Columns{Exclude: []string{"id"}}})
	if got := apply(t, tr, change(keyless, open, "")); !strings.HasPrefix(got, "delete public.orders: 150.00 open") {
		t.Errorf("under full identity any column can be left out: %s", got)
	}
}

// TestShapesChange: every version of a table has its own projection; a column
// that a rule names and DDL drops is a named stop (P5).
func TestShapesChange(t *testing.T) {
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Columns: Columns{Exclude: []string{"secret"}}, Where: "new.total > 100"})
	first := orders()
	grown := orders()
	grown.Columns = append(slices.Clone(grown.Columns), entrain.Column{Name: "note", Type: "text", Modifier: -1})
	shaped(grown)
	shrunk := orders()
	shrunk.Columns = shrunk.Columns[:5]
	shaped(shrunk)
	for _, c := range []struct {
		table *entrain.Table
		row   string
		want  string
	}{
		{first, open, "insert public.orders: - > 1 150.00 open t 1.5"},
		{grown, open + " hi", "insert public.orders: - > 1 150.00 open t 1.5 hi"},
		{orders(), open, "insert public.orders: - > 1 150.00 open t 1.5"},
		{shrunk, "1 150.00 open t 1.5", `transform_unfit: the transform rule for table public.orders does not fit it: columns.exclude names column "secret", which the table does not have: it has ["id" "total" "status" "paid" "weight"]`},
	} {
		if diff := cmp.Diff(c.want, apply(t, tr, change(c.table, "", c.row))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	one, two := orders(), orders()
	p, err := tr.plan(one)
	if again, _ := tr.plan(two); err != nil || p.target != again.target {
		t.Errorf("equal shapes after a reconnect have two targets: %v", err)
	}
}

// TestFirstRuleCounts, and a table that no rule fits goes on as it is.
func TestFirstRuleCounts(t *testing.T) {
	tr := mustNew(t,
		Rule{Tables: []string{"public.ord*"}, Rename: "a.{table}"},
		Rule{Tables: []string{"public.*"}, Rename: "b.{table}"})
	items := orders()
	items.Name = "items"
	other := orders()
	other.Schema = "other"
	for table, want := range map[*entrain.Table]string{orders(): "a.orders", shaped(items): "b.items", shaped(other): "other.orders"} {
		if got := apply(t, tr, change(table, "", open)); !strings.HasPrefix(got, "insert "+want+":") {
			t.Errorf("%s; want %s", got, want)
		}
	}
}

// TestNamesMeet: two tables never become one, whether a rule names both or one
// takes the other's own name (P3: their keys would be one).
func TestNamesMeet(t *testing.T) {
	shard := func(schema string) *entrain.Table {
		table := orders()
		table.Schema = schema
		return shaped(table)
	}
	tr := mustNew(t, Rule{Tables: []string{"shop_*.orders"}, Rename: "public.orders"})
	if got := apply(t, tr, change(shard("shop_1"), "", open)); !strings.HasPrefix(got, "insert public.orders") {
		t.Errorf("the first: %s", got)
	}
	if got := apply(t, tr, change(shard("shop_2"), "", open)); got != "transform_name: tables shop_1.orders and shop_2.orders would both be named public.orders" {
		t.Errorf("the second: %s", got)
	}
	if got := apply(t, tr, change(orders(), "", open)); got != "transform_name: tables shop_1.orders and public.orders would both be named public.orders" {
		t.Errorf("the one without a rule: %s", got)
	}
	swap := mustNew(t, Rule{Tables: []string{"a.orders"}, Rename: "b.orders"}, Rule{Tables: []string{"b.orders"}, Rename: "a.orders"})
	if got := apply(t, swap, change(shard("a"), "", open)) + apply(t, swap, change(shard("b"), "", open)); strings.Count(got, "insert") != 2 {
		t.Errorf("two that change places: %s", got)
	}
}

// TestTruncateAndMessages pass every filter; a truncate's tables are renamed.
func TestTruncateAndMessages(t *testing.T) {
	plain := orders()
	plain.Schema = "other"
	truncate := entraintest.Truncate(orders(), shaped(plain))
	truncate.Truncate.Cascade = true
	message := entraintest.Message("app", "hello")
	in := &entrain.Batch{Events: []entrain.Event{truncate, message}}
	out, err := mustNew(t, Rule{Tables: []string{"public.*"}, Rename: "sales.orders", Where: "false", When: "false"}).Apply(in)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Events[0].Truncate
	if fmt.Sprint(got.Tables) != "[sales.orders other.orders]" || !got.Cascade || in.Events[0].Truncate.Tables[0].Schema != "public" {
		t.Errorf("truncate %+v of %+v", got, in.Events[0].Truncate)
	}
	if out.Events[1].Message != message.Message || out.Filtered != 0 {
		t.Errorf("batch %+v", out)
	}
}

// TestUntouchedBatches are handed on as they are: rules for other tables cost
// nothing.
func TestUntouchedBatches(t *testing.T) {
	tr := mustNew(t, Rule{Tables: []string{"sales.*"}, Where: "new.total > 1"})
	in := &entrain.Batch{Events: []entrain.Event{change(orders(), "", open), entraintest.Message("a", "b"), entraintest.Truncate(orders())}}
	if out, err := tr.Apply(in); out != in || err != nil {
		t.Errorf("got %p, %v of %p", out, err, in)
	}
}

// TestProjectionAgainstModel compares rows of any shape and state with the
// obvious way to leave columns out (P8).
func TestProjectionAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "columns")
		table := &entrain.Table{Schema: "s", Name: "t"}
		var rule Rule
		var before, after, wantBefore, wantAfter []entraintest.Cell
		for i := range n {
			name := fmt.Sprintf("c%d", i)
			table.Columns = append(table.Columns, entrain.Column{Name: name, Modifier: -1, Key: i == 0})
			b, a := anyCell(t), anyCell(t)
			before, after = append(before, b), append(after, a)
			if i > 0 && rapid.Bool().Draw(t, "excluded") {
				rule.Columns.Exclude = append(rule.Columns.Exclude, name)
				continue
			}
			wantBefore, wantAfter = append(wantBefore, b), append(wantAfter, a)
		}
		rule.Tables = []string{"s.t"}
		tr, err := New([]Rule{rule})
		if err != nil {
			t.Fatal(err)
		}
		e := entrain.Event{Op: entrain.OpUpdate, Table: shaped(table), Before: entraintest.Row(table, before...), After: entraintest.Row(table, after...)}
		rows := rapid.IntRange(1, 4).Draw(t, "rows")
		out, err := tr.Apply(&entrain.Batch{Events: slices.Repeat([]entrain.Event{e}, rows)})
		if err != nil || len(out.Events) != rows {
			t.Fatalf("%d events, %v", len(out.Events), err)
		}
		for _, got := range out.Events {
			if diff := cmp.Diff([][]entraintest.Cell{wantBefore, wantAfter},
				[][]entraintest.Cell{entraintest.Cells(got.Table, got.Before), entraintest.Cells(got.Table, got.After)}); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	})
}

func anyCell(t *rapid.T) entraintest.Cell {
	cell := entraintest.Cell{State: entrain.State(rapid.IntRange(0, 2).Draw(t, "state"))}
	if cell.State == entrain.Present {
		cell.Text = rapid.String().Draw(t, "value")
	}
	return cell
}

// TestMemoryIsReused: a projection allocates nothing once it runs, and a batch
// says what it holds (P6).
func TestMemoryIsReused(t *testing.T) {
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Rename: "a.b", Columns: Columns{Exclude: []string{"secret"}}})
	in := &entrain.Batch{Events: slices.Repeat([]entrain.Event{change(fullOrders(), open, open)}, 1000), Bytes: 1000}
	var size int
	allocs := testing.AllocsPerRun(20, func() {
		out, err := tr.Apply(in)
		if err != nil {
			t.Fatal(err)
		}
		size = out.Bytes
		out.Free()
	})
	if allocs > 0 {
		t.Errorf("%.0f allocations for 1,000 events", allocs)
	}
	if rows := 2 * len(in.Events) * (5*4 + len("1150.00opent1.5")); size != in.Bytes+rows+len(in.Events)*eventSize {
		t.Errorf("the batch says it holds %d bytes", size)
	}
}

// TestCountsStartAnew: memory that is used again brings no counts along (P1).
func TestCountsStartAnew(t *testing.T) {
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Rename: "a.b", Where: "new.total > 100"})
	events := []entrain.Event{change(orders(), "", open), change(orders(), "", "2 1 open t 1 ~"), entraintest.Truncate(orders())}
	var sizes []int
	for range 3 {
		out, err := tr.Apply(&entrain.Batch{Events: events, Filtered: 5})
		if err != nil || out.Filtered != 6 || len(out.Events) != 2 {
			t.Fatalf("batch %+v, %v", out, err)
		}
		sizes = append(sizes, out.Bytes)
		out.Free()
	}
	if len(slices.Compact(sizes)) != 1 {
		t.Errorf("sizes %d", sizes)
	}
}

// TestErrorLeavesTheBatch: after an error the batch is the caller's, and memory
// goes back to the pool.
func TestErrorLeavesTheBatch(t *testing.T) {
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Where: "1 / new.id > 0"})
	freed := false
	in := &entrain.Batch{Events: []entrain.Event{change(orders(), "", open), change(orders(), "", "0 1 x t 1 ~")}, Free: func() { freed = true }}
	_, err := tr.Apply(in)
	var stop *entrain.Stop
	if !errors.As(err, &stop) || !strings.Contains(err.Error(), "division by zero") || !stop.Data {
		t.Errorf("error %v", err)
	}
	if freed || len(tr.pool) != 1 {
		t.Errorf("freed: %t, %d chunks in the pool", freed, len(tr.pool))
	}
}
