package transform

import (
	"errors"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestMistakes: what is wrong whatever the tables are is found before anything
// runs, with its place.
func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		rule         Rule
		key          string
		line, column int
		want         string
	}{
		{Rule{Tables: []string{}}, "tables", 0, 0, "at least one pattern"},
		{Rule{Tables: []string{"a.b", "orders"}}, "tables.1", 0, 0, "has no schema"},
		{Rule{Rename: "orders"}, "rename", 0, 0, "expected the new schema and table"},
		{Rule{Rename: "sales."}, "rename", 0, 0, "expected the new schema and table"},
		{Rule{Rename: "{scheme}.{table}"}, "rename", 0, 0, "unknown placeholder"},
		{Rule{Columns: Columns{Include: []string{"a"}, Exclude: []string{"b", "a"}}}, "columns.exclude.1", 0, 0, "is included, too"},
		{Rule{Columns: Columns{Exclude: []string{"a"}, Rename: map[string]string{"a": "b"}}}, "columns.rename.a", 0, 0, "is excluded"},
		{Rule{Columns: Columns{Include: []string{"a"}, Rename: map[string]string{"b": "c"}}}, "columns.rename.b", 0, 0, "is not included"},
		{Rule{Columns: Columns{Rename: map[string]string{"a": "c", "b": "c"}}}, "columns.rename.b", 0, 0, `"a" and "b" would both be named "c"`},
		{Rule{Columns: Columns{Rename: map[string]string{"a": ""}}}, "columns.rename.a", 0, 0, "needs a new name"},
		{Rule{OldUnknown: "guess"}, "old_unknown", 0, 0, "stop or replace"},
		{Rule{Where: "new.total >"}, "where", 1, 12, "Syntax error"},
		{Rule{Where: "new.total > 1 &&\n  nwe.x"}, "where", 2, 3, "undeclared reference to 'nwe'"},
		{Rule{Where: "sqrt(new.total) > 1"}, "where", 1, 5, "undeclared reference to 'sqrt'"},
		{Rule{Where: "1 + 2"}, "where", 0, 0, "of type int"},
		{Rule{Where: "old.total > 1"}, "where", 1, 1, "where has no old"},
		{Rule{Where: `op == "insert"`}, "where", 1, 1, "where has no op"},
		{Rule{Where: "new.total == null"}, "where", 1, 14, "nothing is equal to null"},
		{Rule{When: "new == old"}, "when", 1, 1, "can only be followed by a column"},
		{Rule{When: `new["total"] > 1`}, "when", 1, 1, "can only be followed by a column"},
		{Rule{When: "dyn(new.total) == 1"}, "when", 1, 4, "dyn() is not available"},
		{Rule{When: `op in ["insert", 1]`}, "when", 1, 18, "expected type 'string'"},
	} {
		if c.rule.Tables == nil {
			c.rule.Tables = []string{"*.*"}
		}
		_, err := New([]Rule{{Tables: []string{"a.a"}}, c.rule})
		var wrong *RuleError
		if !errors.As(err, &wrong) {
			t.Errorf("%+v: %v", c.rule, err)
			continue
		}
		if wrong.Rule != 1 || strings.Join(wrong.Key, ".") != c.key || wrong.Line != c.line || wrong.Column != c.column || !strings.Contains(wrong.Message, c.want) {
			t.Errorf("%+v:\n%+v\nwant %s at %s %d:%d", c.rule, wrong, c.want, c.key, c.line, c.column)
		}
		if !strings.HasPrefix(err.Error(), "transform rule 2, "+c.key+": ") {
			t.Errorf("error %q", err)
		}
	}
}

// TestQuotedColumns: columns whose names are no words can be named.
func TestQuotedColumns(t *testing.T) {
	for _, name := range []string{"Order Total", "Balance €", "€", "0", "naïve", `"'`, "a`b", "a\\", "//", "合計", "r'"} {
		table := orders()
		table.Columns[1].Name, table.Columns[2].Name = name, "in"
		quoted := "`" + strings.ReplaceAll(name, "`", "``") + "`"
		for where, want := range map[string]bool{
			"new." + quoted + " > 100 && new.`in` == 'open'":                                   true,
			"new." + quoted + " > 999 || new.`in` != 'open'":                                   false,
			"'`é`' == \"`é`\" && r'\\' != '' && new." + quoted + " > 1 // `é`, `€`":            true,
			"new.`in` == '''open''' && new." + quoted + " > 100 && new." + quoted + " < 1000":  true,
			"has(new." + quoted + ") && new." + quoted + " > 100 || new.`in` == \"\"\"`\"\"\"": true,
		} {
			e := change(shaped(table), "", open)
			tr, err := New([]Rule{{Tables: []string{"*.*"}, Where: where}})
			if err != nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			if got := apply(t, tr, e); (got == shown(&e)) != want {
				t.Errorf("%s: got %s", where, got)
			}
		}
	}
}

// TestQuotedColumnsInMistakes: what stands for a name is seen by nobody.
func TestQuotedColumnsInMistakes(t *testing.T) {
	_, err := New([]Rule{{Tables: []string{"*.*"}, Where: "new.`Größe €` > 1 &&& true"}})
	var wrong *RuleError
	if !errors.As(err, &wrong) || wrong.Line != 1 || wrong.Column != 21 {
		t.Errorf("mistake %+v, want it at 1:21", wrong)
	}
	_, err = New([]Rule{{Tables: []string{"*.*"}, Where: "new `Größe €`"}})
	if err == nil || !strings.Contains(err.Error(), "`Größe €`") {
		t.Errorf("mistake %v does not name the column as it was written", err)
	}
	tr := mustNew(t, Rule{Tables: []string{"*.*"}, Where: "new.`Größe €` > 1"})
	_, err = tr.Apply(&entrain.Batch{Events: []entrain.Event{change(orders(), "", open)}, Free: func() {}})
	if err == nil || !strings.Contains(err.Error(), `names column "Größe €"`) {
		t.Errorf("a column that is not there: %v", err)
	}
}

// TestRuleInWords: what is done to a table's rows reads otherwise when it is something
// else, and only then.
func TestRuleInWords(t *testing.T) {
	same := Rule{Tables: []string{"public.orders"}, Where: "new.id > 1", Columns: Columns{Exclude: []string{"a"}, Rename: map[string]string{"x": "y", "c": "d"}}}
	words := mustNew(t, same).Rule("public", "orders")
	again := same
	again.Tables, again.OldUnknown = []string{"public.*"}, OldReplace
	if got := mustNew(t, again).Rule("public", "orders"); got != words || words == "" {
		t.Errorf("%s, want %s", got, words)
	}
	others := []func(r *Rule){
		func(r *Rule) { r.Where = "new.id > 2" }, func(r *Rule) { r.When = "op != 'delete'" }, func(r *Rule) { r.Rename = "a.b" },
		func(r *Rule) { r.Columns.Exclude = nil }, func(r *Rule) { r.Columns.Include = []string{"id", "x", "c"} },
		func(r *Rule) { r.Columns.Rename = map[string]string{"x": "z", "c": "d"} },
	}
	seen := map[string]bool{words: true}
	for i, change := range others {
		other := same
		change(&other)
		got := mustNew(t, other).Rule("public", "orders")
		if seen[got] {
			t.Errorf("%d: %s again", i, got)
		}
		seen[got] = true
	}
	for _, table := range []string{"other", "Orders"} {
		if got := mustNew(t, same).Rule("public", table); got != "" {
			t.Errorf("%s: %s", table, got)
		}
	}
	if got := mustNew(t, Rule{Tables: []string{"*.*"}}).Rule("public", "orders"); got != "" {
		t.Errorf("a rule that does nothing: %s", got)
	}
}
