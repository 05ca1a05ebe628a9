package transform

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// orders has a column of every kind; id is the key.
func orders() *entrain.Table {
	return shaped(&entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true},
		{Name: "total", Type: "numeric", Modifier: -1, Kind: entrain.Decimal},
		{Name: "status", Type: "text", Modifier: -1},
		{Name: "paid", Type: "bool", Modifier: -1, Kind: entrain.Boolean},
		{Name: "weight", Type: "float8", Modifier: -1, Kind: entrain.Float},
		{Name: "secret", Type: "bytea", Modifier: -1, Kind: entrain.Bytes},
	}})
}

// fullOrders is orders under REPLICA IDENTITY FULL, where every column is key.
func fullOrders() *entrain.Table {
	t := orders()
	t.FullIdentity = true
	for i := range t.Columns {
		t.Columns[i].Key = true
	}
	return shaped(t)
}

func shaped(t *entrain.Table) *entrain.Table {
	t.Version = t.Fingerprint()
	return t
}

// cells reads "1 9.50 open t 1.5 \x00"; ~ is NULL, ? unchanged.
func cells(text string) []entraintest.Cell {
	var out []entraintest.Cell
	for _, word := range strings.Fields(text) {
		switch word {
		case "~":
			out = append(out, entraintest.Null)
		case "?":
			out = append(out, entraintest.Unchanged)
		default:
			out = append(out, entraintest.Text(word))
		}
	}
	return out
}

// change makes an event of the images; an empty text is no image.
func change(table *entrain.Table, before, after string) entrain.Event {
	e := entrain.Event{Op: entrain.OpUpdate, Table: table, Tx: &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "1"}, Version: 8}}
	if before != "" {
		e.Before = entraintest.Row(table, cells(before)...)
	} else {
		e.Op = entrain.OpInsert
	}
	if after != "" {
		e.After = entraintest.Row(table, cells(after)...)
	} else {
		e.Op = entrain.OpDelete
	}
	return e
}

// updated is an update that logged no old image.
func updated(table *entrain.Table, after string) entrain.Event {
	e := change(table, "", after)
	e.Op = entrain.OpUpdate
	return e
}

// shown is an event in the notation of cells.
func shown(e *entrain.Event) string {
	image := func(row entrain.Row) string {
		if row == nil {
			return "-"
		}
		var words []string
		for i := range e.Table.Columns {
			switch v, state := row.Column(i, len(e.Table.Columns)); state {
			case entrain.Null:
				words = append(words, "~")
			case entrain.Unchanged:
				words = append(words, "?")
			default:
				words = append(words, string(v))
			}
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprintf("%s %s: %s > %s", e.Op, e.Table, image(e.Before), image(e.After))
}

func mustNew(t testing.TB, rules ...Rule) *Transform {
	t.Helper()
	tr, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// apply runs one event through the rules: what comes out, "filtered", or the
// stop's code.
func apply(t testing.TB, tr *Transform, e entrain.Event) string {
	t.Helper()
	freed := 0
	in := &entrain.Batch{Events: []entrain.Event{e}, Through: entrain.Position{Offset: "1"}, Bytes: 100, Free: func() { freed++ }}
	out, err := tr.Apply(in)
	if err != nil {
		return stopCode(t, err)
	}
	defer func() {
		if out.Free(); freed != 1 {
			t.Errorf("the source's batch was freed %d times", freed)
		}
	}()
	if out.Through != in.Through || len(out.Events)+out.Filtered != 1 || out.Bytes < in.Bytes {
		t.Errorf("batch %+v of %+v", out, in)
	}
	if out.Filtered == 1 {
		return "filtered"
	}
	return shown(&out.Events[0])
}

func stopCode(t testing.TB, err error) string {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		t.Fatalf("the error is no stop: %v", err)
	}
	if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "68756e74657232") {
		t.Errorf("the stop shows a value (P8): %v", err)
	}
	return stop.Code + ": " + stop.What
}

const open = "1 150.00 open t 1.5 \\x68756e74657232"

// TestWhere: rows cross the filter's edge as PostgreSQL's row filters let them
// (P1: what stays outside is counted; P3).
func TestWhere(t *testing.T) {
	table, full := orders(), fullOrders()
	small := strings.Replace(open, "150.00", "99.99", 1)
	moved := strings.Replace(small, "1 ", "2 ", 1)
	key := "1 ? ? ? ? ?"
	for _, c := range []struct {
		name, where string
		old         OldUnknown
		e           entrain.Event
		want        string
	}{
		{"insert inside", `new.total > 100`, "", change(table, "", open), "insert public.orders: - > " + open},
		{"insert outside", `new.total > 100`, "", change(table, "", small), "filtered"},
		{"stays inside", `new.total > 10`, "", change(full, small, open), "update public.orders: " + small + " > " + open},
		{"enters", `new.total > 100`, "", change(full, small, open), "insert public.orders: - > " + open},
		{"leaves", `new.total > 100`, "", change(full, open, small), "delete public.orders: " + open + " > -"},
		{"stays outside", `new.total > 200`, "", change(full, open, small), "filtered"},
		{"deleted inside", `new.total > 100`, "", change(full, open, ""), "delete public.orders: " + open + " > -"},
		{"deleted outside", `new.total > 200`, "", change(full, open, ""), "filtered"},
		{"NULL is not true", `new.total > 100`, "", change(table, "", "1 ~ open t ~ ~"), "filtered"},
		{"nor is its opposite", `!(new.total > 100)`, "", change(table, "", "1 ~ open t ~ ~"), "filtered"},
		{"NULL or true", `new.total > 100 || new.id == 1`, "", change(table, "", "1 ~ open t ~ ~"), "insert public.orders: - > 1 ~ open t ~ ~"},
		{"has", `!has(new.total) && has(new.paid)`, "", change(table, "", "1 ~ open t ~ ~"), "insert public.orders: - > 1 ~ open t ~ ~"},
		{"by key, no old image", `new.id < 5`, "", updated(table, open), "update public.orders: - > " + open},
		{"by key, outside", `new.id > 5`, "", updated(table, open), "filtered"},
		{"by key, the key leaves", `new.id < 2`, "", change(table, key, moved), "delete public.orders: " + key + " > -"},
		{"by key, the key enters", `new.id > 1`, "", change(table, key, moved), "insert public.orders: - > " + moved},
		{"by key, deleted", `new.id < 2`, "", change(table, key, ""), "delete public.orders: " + key + " > -"},
		{"the old row is not known", `new.total > 100`, "", updated(table, open), `transform_unlogged: update of a row of public.orders (event s/1/8/0) cannot be judged by where: the log has no value of column "total" for it`},
		{"nor when deleted", `new.total > 100`, "", change(table, key, ""), `transform_unlogged: delete of a row of public.orders (event s/1/8/0) cannot be judged by where: the log has no value of column "total" for it`},
		{"the key decides", `new.id > 5 && new.total > 100`, "", updated(table, open), "filtered"},
		{"has is no way around", `has(new.total) || !has(new.total)`, "", updated(table, open), `transform_unlogged: update of a row of public.orders (event s/1/8/0) cannot be judged by where: the log has no value of column "total" for it`},
		{"a large value is not known", `new.status != "void"`, "replace", updated(table, "1 150 ? t 1 ~"), `transform_unlogged: update of a row of public.orders (event s/1/8/0) cannot be judged by where: the log has no value of column "status" for it`},
		{"enters with a large value", `new.id > 1`, "", change(table, key, "2 150 ? t 1 ~"), `transform_partial: update of a row of public.orders (event s/1/8/0) lets the row in, but the log does not carry all of it`},
		{"replace: inside now", `new.total > 100`, "replace", updated(table, open), "insert public.orders: - > " + open},
		{"replace: outside now", `new.total > 100`, "replace", updated(table, small), "delete public.orders: " + key + " > -"},
		{"replace: deleted", `new.total > 100`, "replace", change(table, key, ""), "delete public.orders: " + key + " > -"},
		{"replace: moved outside", `new.total > 100`, "replace", change(table, key, moved), "delete public.orders: " + key + " > -"},
		{"replace: moved inside", `new.total > 10`, "replace", change(table, key, moved), `transform_partial: update of a row of public.orders (event s/1/8/0) lets the row in, but the log does not carry all of it`},
		{"replace: a large value", `new.total > 10`, "replace", updated(table, "1 150 ? t 1 ~"), `transform_partial: update of a row of public.orders (event s/1/8/0) lets the row in, but the log does not carry all of it`},
		{"table and schema", `schema + "." + table == "public.orders"`, "", change(table, "", open), "insert public.orders: - > " + open},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := mustNew(t, Rule{Tables: []string{"public.*"}, Where: c.where, OldUnknown: c.old})
			if diff := cmp.Diff(c.want, apply(t, tr, c.e)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhen: changes are judged whole, and pass as they are or not at all (P1).
func TestWhen(t *testing.T) {
	table, full := orders(), fullOrders()
	paid := strings.Replace(open, " open ", " paid ", 1)
	for _, c := range []struct {
		name, when string
		e          entrain.Event
		pass       string // yes, no or unknown
	}{
		{"by operation", `op != "delete"`, change(table, "1 ? ? ? ? ?", ""), "no"},
		{"by operation", `op != "delete"`, change(table, "", open), "yes"},
		{"a change of a column", `op != "update" || new.status != old.status`, change(full, open, paid), "yes"},
		{"none", `op != "update" || new.status != old.status`, change(full, open, open), "no"},
		{"decided before old is asked", `op != "update" || new.status != old.status`, change(table, "", open), "yes"},
		{"not logged", `op != "update" || new.status != old.status`, updated(table, open), "unknown"},
		{"the key of a row that did not move", `old.id == new.id`, updated(table, open), "yes"},
		{"no old row", `old.id == new.id`, change(table, "", open), "no"},
		{"no old row", `!has(old.id)`, change(table, "", open), "yes"},
		{"the example", `new.total > 100 && old.status != "void"`, change(full, open, paid), "yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := apply(t, mustNew(t, Rule{Tables: []string{"*.*"}, When: c.when}), c.e)
			want := map[string]string{"yes": shown(&c.e), "no": "filtered", "unknown": "transform_unlogged"}[c.pass]
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s; want %s", c.when, got, want)
			}
		})
	}
}

// TestValues: columns have the types of docs/transform.md, and no digit is lost.
func TestValues(t *testing.T) {
	table := orders()
	row := "9007199254740993 100.00000000000000000001 open t 1.5 \\x00ff"
	for _, c := range []struct{ where, row, want string }{
		{`new.id == 9007199254740993`, row, "yes"},
		{`new.id == 9007199254740992`, row, "no"},
		{`new.total > 100`, row, "yes"},
		{`new.total <= 100`, row, "no"},
		{`new.total >= 100.0 && new.total < 100.1`, row, "yes"},
		{`new.total == decimal("100.00000000000000000001000")`, row, "yes"},
		{`new.total == decimal(100)`, row, "no"},
		{`new.total in [decimal(1), decimal("100.00000000000000000001")]`, row, "yes"},
		{`new.total > decimal("-Infinity") && new.total < decimal("NaN")`, row, "yes"},
		{`double(new.total) == 100.0 && string(new.total).size() == 24`, row, "yes"},
		{`new.total < -5`, "1 -5.01 x t 1 ~", "yes"},
		{`new.total > -5`, "1 -5.01 x t 1 ~", "no"},
		{`new.total == decimal("-0.0")`, "1 0 x t 1 ~", "yes"},
		{`new.total > 1000000`, "1 NaN x t 1 ~", "yes"},
		{`new.weight > 1`, row, "yes"},
		{`new.weight == 1.5`, row, "yes"},
		{`new.weight > 1e308`, "1 1 x t Infinity ~", "yes"},
		{`new.total < new.weight`, "1 5 x t Infinity ~", "yes"},
		{`new.total > new.weight`, "1 5 x t -Infinity ~", "yes"},
		{`new.total < new.weight`, "1 5 x t NaN ~", "no"}, // a double's NaN is CEL's
		{`new.total > new.weight`, "1 5 x t NaN ~", "no"},
		{`new.total < decimal(new.weight)`, "1 5 x t NaN ~", "yes"},
		{`new.total >= new.weight`, "1 Infinity x t Infinity ~", "yes"},
		{`decimal(new.weight) == new.total`, "1 -Infinity x t -Infinity ~", "yes"},
		{`decimal(new.weight) == new.total`, "1 NaN x t NaN ~", "yes"},
		{`new.paid`, row, "yes"},
		{`new.paid`, "1 1 x f 1 ~", "no"},
		{`new.secret == b"\x00\xff"`, row, "yes"},
		{`new.status.startsWith("op") && new.status.matches("^o.*n$")`, row, "yes"},
		{`new.status in ["open", "paid"]`, row, "yes"},
		{`["open", "paid"].exists(s, s == new.status)`, row, "yes"},
		{`new.id > 1`, "123456789012345678901 1 x t 1 ~", "stop"},
		{`1 / new.id > 1`, "0 1 x t 1 ~", "stop"},
		{`int(new.status) > 1`, "1 1 hunter2 t 1 ~", "stop"},
		{`new.secret.size() > 1`, "1 1 x t 1 \\xZZ", "stop"},
	} {
		e := change(table, "", c.row)
		got := apply(t, mustNew(t, Rule{Tables: []string{"*.*"}, Where: c.where}), e)
		want := map[string]string{"yes": shown(&e), "no": "filtered", "stop": "transform_expression: insert of a row of public.orders (event s/1/8/0)"}[c.want]
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s of %s: %s; want %s", c.where, c.row, got, c.want)
		}
	}
}

// TestCostIsBounded: an expression that would take for ever is stopped (P6).
func TestCostIsBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	expr := "true"
	for _, v := range []string{"a", "b", "c", "d"} {
		expr = list + ".all(" + v + ", " + expr + ")"
	}
	got := apply(t, mustNew(t, Rule{Tables: []string{"*.*"}, Where: expr}), change(orders(), "", open))
	if !strings.HasPrefix(got, "transform_expression") {
		t.Errorf("got %s", got)
	}
}
