package transform

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain/connector"
)

// Rule says what becomes of the changes of some tables. The zero value of every
// field but Tables leaves things as they are.
type Rule struct {
	// Tables are patterns over schema.table at the source, as
	// [connector.MatchTables] reads them.
	Tables []string `yaml:"tables,required"`
	// Rename is the new schema.table; {schema} and {table} stand for the
	// source's names.
	Rename string `yaml:"rename"`
	// Columns says which columns go on, and by which names.
	Columns Columns `yaml:"columns"`
	// When judges changes: a CEL expression over new, old, op, table and
	// schema. Changes for which it is not true are left out.
	When string `yaml:"when"`
	// Where judges rows: a CEL expression over new, table and schema. Rows for
	// which it is not true do not exist behind the rule: an update that makes
	// it true becomes an insert, one that ends it a delete.
	Where string `yaml:"where"`
	// OldUnknown says what to do with an update or delete if Where depends on
	// values of the old row that the log did not carry.
	OldUnknown OldUnknown `yaml:"old_unknown"`
}

// Columns chooses and names columns. All names are exact, and those of the
// source.
type Columns struct {
	// Include lists the columns that go on. Default: all.
	Include []string `yaml:"include"`
	// Exclude lists columns that do not. What identifies a row cannot be
	// excluded.
	Exclude []string `yaml:"exclude"`
	// Rename gives columns that go on another name.
	Rename map[string]string `yaml:"rename"`
}

// OldUnknown is a policy for changes whose old row is not known well enough.
type OldUnknown string

const (
	// OldStop stops the pipeline by name. It is the default.
	OldStop OldUnknown = "stop"
	// OldReplace makes such an update an insert of the new row, or a delete if
	// Where is not true of it, and lets such a delete pass. That is right for a
	// sink that replaces a row which it has and overlooks the deletion of one
	// which it has not, such as PostgreSQL.
	OldReplace OldUnknown = "replace"
)

// RuleError is a mistake in a rule that can be seen without a table.
type RuleError struct {
	// Rule counts from 0; Key leads to the value inside it, as a pipeline file
	// has it: "columns", "rename", "cust". List entries are named by their
	// number.
	Rule int
	Key  []string
	// Line and Column lead to the place inside an expression, from 1; 0 if the
	// whole value is meant.
	Line, Column int
	// Message says what is wrong, Hint what to do about it (or nothing).
	Message, Hint string
}

// Error names the rule (from 1), the key and what is wrong.
func (e *RuleError) Error() string {
	msg := fmt.Sprintf("transform rule %d, %s: %s", e.Rule+1, strings.Join(e.Key, "."), e.Message)
	if e.Line > 0 {
		msg += fmt.Sprintf(" (line %d, column %d)", e.Line, e.Column)
	}
	if e.Hint != "" {
		msg += "; " + e.Hint
	}
	return msg
}

// rule is a checked Rule.
type rule struct {
	Rule
	matches func(schema, name string) bool
	when    *filter // nil if every change passes
	where   *filter // nil if every row passes
}

// checkRule compiles everything of a rule that needs no table.
func checkRule(r Rule, lang *language) (*rule, error) {
	if len(r.Tables) == 0 {
		return nil, mistake("expected at least one pattern such as public.orders", "tables")
	}
	for i := range r.Tables {
		if _, err := connector.MatchTables(r.Tables[i : i+1]); err != nil {
			return nil, mistake(err.Error(), "tables", strconv.Itoa(i))
		}
	}
	if err := checkRename(r.Rename); err != nil {
		return nil, err
	}
	if err := r.Columns.check(); err != nil {
		return nil, err
	}
	if r.OldUnknown != "" && r.OldUnknown != OldStop && r.OldUnknown != OldReplace {
		return nil, mistake("expected stop or replace", "old_unknown")
	}
	matches, err := connector.MatchTables(r.Tables)
	if err != nil {
		return nil, err
	}
	out := &rule{Rule: r, matches: matches}
	if out.when, err = lang.parse(aboutChanges, r.When); err != nil {
		return nil, err
	}
	if out.where, err = lang.parse(aboutRows, r.Where); err != nil {
		return nil, err
	}
	return out, nil
}

// mistake is an error in the value at the key of a rule that New numbers.
func mistake(message string, key ...string) *RuleError {
	return &RuleError{Key: key, Message: message}
}

// checkRename refuses what cannot become a schema and a table.
func checkRename(to string) error {
	if to == "" {
		return nil
	}
	sample := tableName{schema: "s", table: "t"}.renamed(to)
	switch {
	case sample.schema == "" || sample.table == "":
		err := mistake("expected the new schema and table", "rename")
		err.Hint = fmt.Sprintf("write schema.table, for example %q", "{schema}."+strings.Trim(to, "."))
		return err
	case strings.ContainsAny(sample.schema+sample.table, "{}"):
		err := mistake("unknown placeholder", "rename")
		err.Hint = "known are {schema} and {table}"
		return err
	}
	return nil
}

// check refuses lists that contradict each other whatever the table.
func (c *Columns) check() error {
	for i, name := range c.Exclude {
		if slices.Contains(c.Include, name) {
			return mistake(fmt.Sprintf("column %q is included, too", name), "columns", "exclude", strconv.Itoa(i))
		}
		if _, renamed := c.Rename[name]; renamed {
			return mistake(fmt.Sprintf("column %q is excluded", name), "columns", "rename", name)
		}
	}
	taken := map[string]string{}
	for _, from := range sortedKeys(c.Rename) {
		to := c.Rename[from]
		switch other, twice := taken[to]; {
		case to == "":
			return mistake(fmt.Sprintf("column %q needs a new name", from), "columns", "rename", from)
		case twice:
			return mistake(fmt.Sprintf("columns %q and %q would both be named %q", other, from, to), "columns", "rename", from)
		case len(c.Include) > 0 && !slices.Contains(c.Include, from):
			return mistake(fmt.Sprintf("column %q is not included", from), "columns", "rename", from)
		}
		taken[to] = from
	}
	return nil
}

// tableName names a table, unquoted.
type tableName struct{ schema, table string }

func (n tableName) String() string { return n.schema + "." + n.table }

// renamed returns the name that a template makes of n; empty parts if the
// template has no dot.
func (n tableName) renamed(to string) tableName {
	if to == "" {
		return n
	}
	schema, table, _ := strings.Cut(to, ".")
	fill := strings.NewReplacer("{schema}", n.schema, "{table}", n.table)
	return tableName{fill.Replace(schema), fill.Replace(table)}
}
