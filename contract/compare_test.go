package contract

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

func no() *bool { return new(bool) }

// orders is a contract with the defaults filled in.
func orders(t testing.TB, change func(*Contract)) *Contract {
	t.Helper()
	c := &Contract{Table: "public.orders", Columns: []Column{
		{Name: "id", Type: "bigint", Key: true},
		{Name: "status", Type: "text", Nullable: no(), Values: []string{"open", "paid"}},
		{Name: "total", Type: "numeric(12,2)", Min: "0"},
	}}
	if change != nil {
		change(c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// What changes of a shape break which level: the table of docs/contracts.md.
func TestCompareByLevel(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Shape)
		want   string // the levels that break
	}{
		{"nothing", func(*Shape) {}, "no difference"},
		{"a column that may be NULL comes", func(s *Shape) { s.Fields = append(s.Fields, Field{"note", "text", MayBeNull, false}) }, ""},
		{"a column of which nothing is known comes", func(s *Shape) { s.Fields = append(s.Fields, Field{"note", "text", NullUnknown, false}) }, ""},
		{"a column without NULL comes", func(s *Shape) { s.Fields = append(s.Fields, Field{"note", "text", NeverNull, false}) }, "backward full"},
		{"a column that may be NULL goes", func(s *Shape) { s.Fields = s.Fields[:2] }, ""},
		{"a column without NULL goes", func(s *Shape) { s.Fields = slices.Delete(s.Fields, 1, 2) }, "forward full"},
		{"a key goes", func(s *Shape) { s.Fields = s.Fields[1:] }, "backward forward full"},
		{"a wider type", func(s *Shape) { s.Fields[2].Type = "numeric" }, "forward full"},
		{"a narrower type", func(s *Shape) { s.Fields[2].Type = "numeric(10,2)" }, "backward full"},
		{"another type", func(s *Shape) { s.Fields[2].Type = "text" }, "backward forward full"},
		{"the same type by another name", func(s *Shape) { s.Fields[0].Type = "int8" }, "no difference"},
		{"text without a length by another name", func(s *Shape) { s.Fields[1].Type = "character varying" }, ""},
		{"NULL comes", func(s *Shape) { s.Fields[1].Null = MayBeNull }, "forward full"},
		{"NULL goes", func(s *Shape) { s.Fields[2].Null = NeverNull }, "backward full"},
		{"nothing known of NULL", func(s *Shape) { s.Fields[1].Null = NullUnknown }, "no difference"},
		{"another key", func(s *Shape) { s.Fields[0].Key, s.Fields[1].Key = false, true }, "backward forward full"},
		{"no key known", func(s *Shape) { s.KeyUnknown, s.Fields[0].Key = true, false }, "no difference"},
		{"another order", func(s *Shape) { slices.Reverse(s.Fields) }, "no difference"},
	} {
		var broken []string
		differs := false
		for _, level := range []Compatibility{Backward, Forward, Full, None} {
			of := orders(t, func(c *Contract) { c.Compatibility = level })
			have := of.Shape()
			c.change(&have)
			all := Compare(of, have)
			differs = differs || len(all) > 0
			if Breaking(all) {
				broken = append(broken, string(level))
			}
		}
		got := strings.Join(broken, " ")
		if !differs {
			got = "no difference"
		}
		if got != c.want {
			t.Errorf("%s: broken %q, want %q", c.name, got, c.want)
		}
	}
}

// randomChange changes a shape in one way and says which levels that breaks, on its
// own grounds: what readers with the one shape can do with rows of the other.
func randomChange(r *rand.Rand, s *Shape, n int) (column string, backward, forward bool) {
	i := 1 + r.IntN(len(s.Fields)-1) // not the key
	f := &s.Fields[i]
	switch r.IntN(5) {
	case 0:
		null := []Nullability{MayBeNull, NeverNull}[r.IntN(2)]
		name := fmt.Sprintf("new%d", n)
		s.Fields = append(s.Fields, Field{name, "text", null, false})
		return name, null == NeverNull, false
	case 1:
		name, null := f.Name, f.Null
		s.Fields = slices.Delete(s.Fields, i, i+1)
		return name, false, null == NeverNull
	case 2:
		f.Type = "bigint"
		return f.Name, false, true
	case 3:
		f.Type = "smallint"
		return f.Name, true, false
	}
	if f.Null == MayBeNull {
		f.Null = NeverNull
		return f.Name, true, false
	}
	f.Null = MayBeNull
	return f.Name, false, true
}

// TestCompareProperty: after random changes of different columns, exactly those are
// found, and exactly the breaking ones are called so, at every level.
func TestCompareProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		c := &Contract{Table: "a.b", Columns: []Column{{Name: "id", Type: "bigint", Key: true}}}
		for i := range 2 + r.IntN(8) {
			null := r.IntN(2) == 0
			c.Columns = append(c.Columns, Column{Name: fmt.Sprintf("c%d", i), Type: "integer", Nullable: &null})
		}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		have := c.Shape()
		want := map[string][2]bool{}
		for n := range r.IntN(4) {
			before := Shape{Fields: slices.Clone(have.Fields)}
			column, backward, forward := randomChange(r, &before, n)
			if _, twice := want[column]; twice || len(before.Fields) < 2 || strings.HasPrefix(column, "new") && !slices.ContainsFunc(before.Fields, func(f Field) bool { return f.Name == column }) {
				continue
			}
			have.Fields, want[column] = before.Fields, [2]bool{backward, forward}
		}
		r.Shuffle(len(have.Fields), func(i, k int) { have.Fields[i], have.Fields[k] = have.Fields[k], have.Fields[i] })
		for _, level := range compatibilities {
			c.Compatibility = level
			got, expected := map[string]bool{}, map[string]bool{}
			for _, d := range Compare(c, have) {
				got[d.Column] = d.Breaking
			}
			for column, breaks := range want {
				expected[column] = level.backward() && breaks[0] || level.forward() && breaks[1]
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Fatalf("round %d, %s (-want +got):\n%s\ncontract %+v\ntable %+v", round, level, diff, c.Shape(), have)
			}
		}
	}
}

// Types hold each other as values do.
func TestTypes(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"integer", "int4", "same"}, {"smallint", "integer", "wider"}, {"bigint", "int", "narrower"}, {"integer", "numeric", "wider"},
		{"integer", "numeric(10,0)", "wider"}, {"integer", "numeric(10,2)", "other"}, {"integer", "numeric(9)", "other"},
		{"numeric(10,2)", "numeric(12,4)", "wider"}, {"numeric(10,2)", "numeric(11,4)", "other"}, {"numeric(5)", "decimal(5,0)", "same"},
		{"real", "float8", "wider"}, {"integer", "double precision", "wider"}, {"bigint", "double precision", "other"}, {"smallint", "real", "wider"}, {"integer", "real", "other"},
		{"varchar(10)", "character varying(20)", "wider"}, {"varchar(10)", "text", "wider"}, {"varchar", "text", "both"}, {"character(3)", "char(4)", "other"}, {"char", "character(1)", "same"},
		{"timestamp(3)", "timestamp without time zone", "wider"}, {"timestamp(3) with time zone", "timestamptz(3)", "same"}, {"timestamp", "timestamptz", "other"},
		{"int4[]", "bigint[]", "wider"}, {"integer[][]", "integer[]", "same"}, {"integer", "integer[]", "other"}, {`"char"`, "char", "other"},
		{"public.mood", "public.mood", "same"}, {"public.mood", "text", "other"}, {"geometry(Point,4326)", "geometry(Point, 4326)", "other"}, {"date", "timestamp", "other"},
		{"bit(3)", "bit(4)", "other"}, {"varbit(3)", "bit varying(4)", "wider"}, {"numeric(", "numeric", "other"},
	} {
		a, b := parseType(c.a), parseType(c.b)
		got := map[[2]bool]string{{true, true}: "both", {true, false}: "wider", {false, true}: "narrower"}[[2]bool{b.holds(a), a.holds(b)}]
		if a.equal(b) {
			got = "same"
		}
		if got == "" {
			got = "other"
		}
		if got != c.want {
			t.Errorf("%s → %s: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

// What a new version of a contract breaks is decided by the former's level.
func TestEvolve(t *testing.T) {
	for _, c := range []struct {
		name string
		was  func(*Contract)
		next func(*Contract)
		want []Difference
	}{
		{"nothing", nil, nil, nil},
		{"a lower level is told", nil, func(c *Contract) { c.Compatibility = None }, []Difference{{KindLevel, "", "full", "none", false}}},
		{"and excuses nothing", nil, func(c *Contract) { c.Compatibility, c.Columns[1].Type = None, "integer" },
			[]Difference{{KindType, "status", "text", "integer", true}, {KindLevel, "", "full", "none", false}}},
		{"a proposal may change", func(c *Contract) { c.Status = Proposed }, func(c *Contract) { c.Columns[1].Type = "integer" },
			[]Difference{{KindType, "status", "text", "integer", false}, {KindStatus, "", "proposed", "active", false}}},
		{"back in life", nil, func(c *Contract) { c.Status = Proposed }, []Difference{{KindStatus, "", "active", "proposed", true}}},
		{"on in life", nil, func(c *Contract) { c.Status = Retired }, []Difference{{KindStatus, "", "active", "retired", false}}},
		{"another class", nil, func(c *Contract) { c.Columns[1].Classification = PII }, []Difference{{KindClass, "status", "", "pii", false}}},
		{"more values", func(c *Contract) { c.Compatibility = Backward }, func(c *Contract) { c.Columns[1].Values, c.Compatibility = []string{"open", "paid", "sent"}, Backward },
			[]Difference{{KindRule, "status", `values ["open" "paid"]`, `values ["open" "paid" "sent"]`, false}}},
		{"more values, forward", func(c *Contract) { c.Compatibility = Forward }, func(c *Contract) { c.Columns[1].Values, c.Compatibility = nil, Forward },
			[]Difference{{KindRule, "status", `values ["open" "paid"]`, "", true}}},
		{"a higher least number", func(c *Contract) { c.Compatibility = Forward }, func(c *Contract) { c.Columns[2].Min, c.Compatibility = "1.50", Forward },
			[]Difference{{KindRule, "total", "min 0", "min 1.50", false}}},
		{"a lower least number", func(c *Contract) { c.Compatibility = Forward }, func(c *Contract) { c.Columns[2].Min, c.Compatibility = "-1", Forward },
			[]Difference{{KindRule, "total", "min 0", "min -1", true}}},
		{"a largest number", func(c *Contract) { c.Compatibility = Backward }, func(c *Contract) { c.Columns[2].Max, c.Compatibility = "9", Backward },
			[]Difference{{KindRule, "total", "", "max 9", true}}},
		{"a pattern", func(c *Contract) { c.Compatibility = Forward }, func(c *Contract) { c.Columns[1].Pattern, c.Compatibility = "o", Forward },
			[]Difference{{KindRule, "status", "", "pattern o", false}}},
		{"a shorter length", nil, func(c *Contract) { c.Columns[1].MaxLength = 3 }, []Difference{{KindRule, "status", "", "max_length 3", true}}},
	} {
		got := Evolve(orders(t, c.was), orders(t, c.next))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if got := Evolve(orders(t, nil), nil); !Breaking(got) || got[0].Kind != KindRemoved {
		t.Errorf("an active contract is gone: %v", got)
	}
	if got := Evolve(orders(t, func(c *Contract) { c.Status = Retired }), nil); Breaking(got) {
		t.Errorf("a retired contract is gone: %v", got)
	}
}

// A draft keeps what no table shows, and follows the table in the rest.
func TestDraft(t *testing.T) {
	table := &entrain.Table{Schema: "public", Name: "orders", Columns: []entrain.Column{
		{Name: "id", Type: "int8", Modifier: -1, Key: true}, {Name: "status", Type: "int4", Modifier: -1}, {Name: "total", Type: "text", Modifier: -1}, {Name: "note", Type: "text", Modifier: -1}}}
	facts := []entrain.ColumnFacts{{Name: "id", NotNull: true}, {Name: "status", NotNull: true}, {Name: "note", NotNull: true}}
	s := ShapeOf(table, nil, facts)
	fresh := Draft(s, nil)
	if err := fresh.Check(); err != nil || fresh.Status != Proposed || len(Compare(fresh, s)) > 0 {
		t.Errorf("%v: %+v differs from its table: %v", err, fresh, Compare(fresh, s))
	}
	former := orders(t, func(c *Contract) {
		c.Owner, c.Status, c.Columns[1].Description, c.Columns[1].MaxLength = "sales", Deprecated, "where it is", 9
	})
	again := Draft(s, former)
	if err := again.Check(); err != nil || len(Compare(again, s)) > 0 {
		t.Errorf("%v, differs: %v", err, Compare(again, s))
	}
	if again.Owner != "sales" || again.Status != Deprecated || again.Columns[1].Description != "where it is" || again.Columns[1].MaxLength != 9 ||
		again.Columns[0].Type != "bigint" || again.Columns[2].Min != "" || len(again.Columns) != 4 || former.Columns[2].Min != "0" {
		t.Errorf("again: %+v", again)
	}
}
