package contract

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

var tx = &entrain.Transaction{Stream: &entrain.Stream{Source: "shop", Incarnation: "i"}, Version: 7}

// table is one with the shape of orders' contract.
func table() *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Type: "bigint", Modifier: -1, Kind: entrain.Integer, Key: true},
		{Name: "status", Type: "text", Modifier: -1},
		{Name: "total", Type: "numeric(12,2)", Modifier: -1, Kind: entrain.Decimal},
	}}
	t.Version = t.Fingerprint()
	return t
}

// row makes an event; "NULL" and "-" are no values.
func row(t *entrain.Table, op entrain.Op, values ...string) *entrain.Event {
	var b entrain.RowBuilder
	b.Begin(nil, len(values))
	for _, v := range values {
		switch v {
		case "NULL":
			b.Null()
		case "-":
			b.Unchanged()
		default:
			b.Value([]byte(v))
		}
	}
	r, _ := b.End()
	e := &entrain.Event{Op: op, Table: t, Tx: tx}
	if op == entrain.OpDelete {
		e.Before = r
	} else {
		e.After = r
	}
	return e
}

func describe(b *Breach, e *entrain.Event) string {
	if b == nil {
		return "conforms"
	}
	text := fmt.Sprintf("%s %s %s: %s", b.Level, b.Kind, b.Column, b.Want)
	if v := b.Value(e); v != "" {
		text += ", have " + v
	}
	return text
}

func TestJudgeRows(t *testing.T) {
	shape := table()
	for _, c := range []struct {
		rule   func(*Column) // of status
		values []string
		op     entrain.Op
		want   string
	}{
		{nil, []string{"1", "open", "1.50"}, entrain.OpInsert, "conforms"},
		{nil, []string{"1", "open", "NULL"}, entrain.OpRead, "conforms"},
		{nil, []string{"1", "NULL", "1"}, entrain.OpInsert, "stop null status: not null, have NULL"},
		{nil, []string{"1", "-", "-"}, entrain.OpUpdate, "conforms"},
		{nil, []string{"1", "lost", "1"}, entrain.OpUpdate, `stop value status: one of ["open" "paid"], have "lost"`},
		{nil, []string{"1", "paid", "-0.01"}, entrain.OpInsert, `stop value total: at least 0, have "-0.01"`},
		{nil, []string{"1", "paid", "NaN"}, entrain.OpInsert, "conforms"},
		{nil, []string{"1", "NULL", "NULL"}, entrain.OpDelete, "conforms"},
		{func(c *Column) { c.Values, c.Pattern = nil, "^[a-z]+$" }, []string{"1", "Open", "1"}, entrain.OpInsert, `stop value status: pattern ^[a-z]+$, have "Open"`},
		{func(c *Column) { c.Values, c.MaxLength = nil, 3 }, []string{"1", "äöü", "1"}, entrain.OpInsert, "conforms"},
		{func(c *Column) { c.Values, c.MaxLength = nil, 3 }, []string{"1", "äöüß", "1"}, entrain.OpInsert, `stop value status: at most 3 characters, have "äöüß"`},
		{func(c *Column) { c.Classification = PII }, []string{"1", "secret", "1"}, entrain.OpInsert, `stop value status: one of ["open" "paid"], have a value that is not shown (pii)`},
	} {
		v := New([]*Contract{orders(t, func(o *Contract) {
			if c.rule != nil {
				c.rule(&o.Columns[1])
			}
		})}, Options{Level: Stop})
		e := row(shape, c.op, c.values...)
		if got := describe(v.Judge(e), e); got != c.want {
			t.Errorf("%v: %s, want %s", c.values, got, c.want)
		}
	}
}

// A shape that breaks the contract makes every event a breach, whatever it is; one
// that keeps it, none. The status decides how bad that is.
func TestJudgeShapes(t *testing.T) {
	without := table()
	without.Columns = without.Columns[:1]
	without.Version = without.Fingerprint()
	other := table()
	other.Name = "items"
	for _, c := range []struct {
		status Status
		level  Level
		table  *entrain.Table
		want   string
	}{
		{Active, Stop, table(), "conforms"},
		{Active, Stop, without, "stop missing status: text not null"},
		{Deprecated, DeadLetter, without, "dead_letter missing status: text not null"},
		{Proposed, Stop, without, "warn missing status: text not null"},
		{Retired, Stop, table(), "stop retired : no event"},
		{Active, Off, without, "conforms"},
		{Active, Stop, other, "conforms"},
	} {
		met := 0
		v := New([]*Contract{orders(t, func(o *Contract) { o.Status = c.status })},
			Options{Level: c.level, Met: func(*Contract, *entrain.Table, []Difference) { met++ }})
		values := []string{"1", "open", "1"}[:len(c.table.Columns)]
		for _, op := range []entrain.Op{entrain.OpInsert, entrain.OpDelete, entrain.OpRead} {
			e := row(c.table, op, values...)
			if got := describe(v.Judge(e), e); got != c.want {
				t.Errorf("%s %s: %s, want %s", c.status, op, got, c.want)
			}
		}
		if b := v.Judge(&entrain.Event{Op: entrain.OpSchema, Table: c.table, Tx: tx}); b != nil {
			t.Errorf("an event that tells of a shape is a breach: %v", b)
		}
		if covered := v.Covers(c.table); met > 1 || (met == 1) != covered {
			t.Errorf("%s: met %d times, covered %v", c.status, met, covered)
		}
	}
}

// A table whose shape changes is judged by the one that its event has, also when
// another value stands for the same shape.
func TestJudgeChangingShapes(t *testing.T) {
	met := 0
	v := New([]*Contract{orders(t, nil)}, Options{Level: Warn, Met: func(*Contract, *entrain.Table, []Difference) { met++ }})
	without := table()
	without.Columns = without.Columns[:1]
	without.Version = without.Fingerprint()
	for i, shape := range []*entrain.Table{table(), table(), without, table()} {
		v.Judge(&entrain.Event{Op: entrain.OpMessage, Tx: tx})
		e := row(shape, entrain.OpInsert, []string{"1", "open", "1"}[:len(shape.Columns)]...)
		if broken := v.Judge(e) != nil; broken != (i == 2) {
			t.Errorf("event %d: broken %v", i, broken)
		}
	}
	if met != 3 || len(v.plans) != 1 {
		t.Errorf("met %d shapes and kept %d", met, len(v.plans))
	}
}

// Numbers are compared exactly, of whatever length: against big.Rat.
func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	number := func() string {
		text := []string{"", "-", "+"}[r.IntN(3)] + strings.Repeat("0", r.IntN(3)) + fmt.Sprint(r.IntN(1000)) + strings.Repeat("9", r.IntN(30)*r.IntN(2))
		if r.IntN(2) == 0 {
			text += "." + fmt.Sprint(r.IntN(100)) + strings.Repeat("0", r.IntN(3))
		}
		return text
	}
	for range 20000 {
		a, b := number(), number()
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		got := compareNumbers([]byte(a), []byte(b))
		if min(1, max(-1, got)) != x.Cmp(y) {
			t.Fatalf("%s, %s: %d, want %d", a, b, got, x.Cmp(y))
		}
		bound := newBound(b)
		if got := bound.compare([]byte(a)); min(1, max(-1, got)) != x.Cmp(y) {
			t.Fatalf("%s against the bound %s: %d, want %d", a, b, got, x.Cmp(y))
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"1e3", "999", 1}, {"NaN", "1e300", 1}, {"1", "Infinity", -1}, {"-Infinity", "-99999999", -1}, {"NaN", "NaN", 0}, {"1.5e-1", "0.15", 0}, {"1.5e2", "1", 1}, {"-1.5e2", "-1", -1}} {
		bound := newBound(c.b)
		if got, against := compareNumbers([]byte(c.a), []byte(c.b)), bound.compare([]byte(c.a)); got != c.want || against != c.want {
			t.Errorf("%s, %s: %d and %d, want %d", c.a, c.b, got, against, c.want)
		}
	}
}

// A row is judged without an allocation.
func TestJudgeAllocates(t *testing.T) {
	v, e := judged(t)
	if n := testing.AllocsPerRun(1000, func() {
		if v.Judge(e) != nil {
			t.Fatal("a breach")
		}
	}); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// judged is an event that keeps every rule.
func judged(t testing.TB) (*Validator, *entrain.Event) {
	c := orders(t, func(o *Contract) {
		o.Columns[0].Min, o.Columns[0].Max = "1", "1000000000000"
		o.Columns[1].MaxLength = 10
		o.Columns[2].Max = "100000.00"
	})
	return New([]*Contract{c}, Options{Level: Stop}), row(table(), entrain.OpInsert, "123456789", "paid", "1234.50")
}

func BenchmarkJudge(b *testing.B) {
	v, e := judged(b)
	b.Run("rules", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Judge(e)
		}
	})
	bare := New([]*Contract{orders(b, func(o *Contract) { o.Columns = o.Columns[:1] })}, Options{Level: Stop})
	b.Run("not null only", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bare.Judge(e)
		}
	})
	none := New(nil, Options{Level: Stop})
	b.Run("no contract", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			none.Judge(e)
		}
	})
}
