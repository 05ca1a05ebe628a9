package transform

import (
	"errors"
	"fmt"

	"github.com/entrainsync/entrain"
)

// Transform applies rules to batches. It is for one goroutine at a time, but
// the batches that it returns may be freed by any.
type Transform struct {
	rules []*rule
	plans map[tableName]*plan
	taken map[tableName]tableName // which table has a name behind the rules
	last  *plan                   // of the last event's table; may be nil
	pool  pool
}

// New checks the rules. Its errors are *[RuleError] values.
func New(rules []Rule) (*Transform, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	t := &Transform{plans: map[tableName]*plan{}, taken: map[tableName]tableName{}, pool: newPool()}
	for i, r := range rules {
		checked, err := checkRule(r, lang)
		var wrong *RuleError
		if errors.As(err, &wrong) {
			wrong.Rule = i
		}
		if err != nil {
			return nil, err
		}
		t.rules = append(t.rules, checked)
	}
	return t, nil
}

// Table returns the shape in which the rows of a table leave: table itself if no
// rule changes it.
func (t *Transform) Table(table *entrain.Table) (*entrain.Table, error) {
	p, err := t.plan(table)
	if err != nil {
		return nil, err
	}
	return p.target, nil
}

// Name returns the name that a table of the source has behind the rules. It may be
// called from any goroutine.
func (t *Transform) Name(schema, name string) (toSchema, toName string) {
	to := tableName{schema, name}
	if r := t.rule(schema, name); r != nil {
		to = to.renamed(r.Rename)
	}
	return to.schema, to.table
}

// Rule returns what is done to rows of a table, by its name at the source, in words
// that are others when that is; empty: nothing. It may be called from any goroutine.
func (t *Transform) Rule(schema, name string) string {
	r := t.rule(schema, name)
	if r == nil || r.words() == (Rule{}).words() {
		return ""
	}
	return r.words()
}

// words are what a rule makes of rows. Maps are printed in the order of their keys.
func (r Rule) words() string {
	return fmt.Sprintf("%q, %q, %q, %q, %q, %q", r.Rename, r.Columns.Include, r.Columns.Exclude, r.Columns.Rename, r.When, r.Where)
}

// rule returns the one that holds for a table, nil if none does.
func (t *Transform) rule(schema, name string) *rule {
	for _, r := range t.rules {
		if r.matches(schema, name) {
			return r
		}
	}
	return nil
}

// Apply returns the batch as the rules want it: b itself if they change
// nothing, else one whose Free frees b. Events that a filter leaves out are
// added to Filtered (P1). On an error b still belongs to the caller; what
// cannot be judged is an *[entrain.Stop].
func (t *Transform) Apply(b *entrain.Batch) (*entrain.Batch, error) {
	work, err := t.touches(b)
	if err != nil || !work {
		return b, err
	}
	c := t.pool.get()
	for i := range b.Events {
		if err := t.event(c, &b.Events[i]); err != nil {
			t.pool.put(c)
			return nil, err
		}
	}
	return c.hand(b), nil
}

// touches reports whether any event is subject to a rule.
func (t *Transform) touches(b *entrain.Batch) (bool, error) {
	for i := range b.Events {
		work, err := t.touchesEvent(&b.Events[i])
		if work || err != nil {
			return work, err
		}
	}
	return false, nil
}

func (t *Transform) touchesEvent(e *entrain.Event) (bool, error) {
	if e.Table != nil {
		p, err := t.plan(e.Table)
		return err == nil && !p.idle(), err
	}
	if e.Truncate == nil {
		return false, nil
	}
	for _, table := range e.Truncate.Tables {
		p, err := t.plan(table)
		if err != nil || p.target != p.source {
			return err == nil, err
		}
	}
	return false, nil
}

// plan returns what is to be done with a table's rows. It is worked out anew
// when the table's shape is another one.
func (t *Transform) plan(table *entrain.Table) (*plan, error) {
	if t.last != nil && t.last.source == table {
		return t.last, nil
	}
	name := tableName{table.Schema, table.Name}
	p := t.plans[name]
	if p == nil || p.source != table && p.source.Version != table.Version {
		var err error
		if p, err = t.prepare(name, table); err != nil {
			return nil, err
		}
	}
	t.last = p
	return p, nil
}

func (t *Transform) prepare(name tableName, table *entrain.Table) (*plan, error) {
	p, err := newPlan(t.rule(table.Schema, table.Name), table)
	if err != nil {
		return nil, err
	}
	to := tableName{p.target.Schema, p.target.Name}
	if first, taken := t.taken[to]; taken && first != name {
		return nil, sameName(to, first, name)
	}
	t.taken[to] = name
	t.plans[name] = p
	return p, nil
}

// event adds what becomes of an event to c.
func (t *Transform) event(c *chunk, e *entrain.Event) error {
	switch {
	case e.Table == nil:
		return t.other(c, e)
	case e.Op == entrain.OpSchema:
		return t.schema(c, e)
	}
	p, err := t.plan(e.Table)
	if err != nil {
		return err
	}
	out := *e
	if e.Op != entrain.OpReadEnd {
		out, err = p.decide(c, e)
	}
	if err != nil {
		return err
	}
	if out.Op == 0 {
		c.filtered++
		return nil
	}
	if p.target != p.source {
		out.Table = p.target
	}
	if p.kept != nil {
		out.Before, out.After = c.project(p, out.Before), c.project(p, out.After)
	}
	c.events = append(c.events, out)
	return nil
}

// other adds an event that has no row; the tables of a truncate have new names.
func (t *Transform) other(c *chunk, e *entrain.Event) error {
	out := *e
	if e.Truncate != nil {
		renamed := *e.Truncate
		renamed.Tables = make([]*entrain.Table, len(e.Truncate.Tables))
		for i, table := range e.Truncate.Tables {
			p, err := t.plan(table)
			if err != nil {
				return err
			}
			renamed.Tables[i] = p.target
		}
		out.Truncate = &renamed
		c.other += truncateSize + 8*len(renamed.Tables)
	}
	c.events = append(c.events, out)
	return nil
}
