package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
)

// Level says what becomes of an event that breaks its contract.
type Level string

// The levels, from the mildest on.
const (
	// Off: nothing is looked at.
	Off Level = "off"
	// Warn: it goes on, and is logged and counted.
	Warn Level = "warn"
	// DeadLetter: it is parked, and the others go on.
	DeadLetter Level = "dead_letter"
	// Stop: nothing goes on.
	Stop Level = "stop"
)

// Levels are all of them.
var Levels = []Level{Off, Warn, DeadLetter, Stop}

// Options are about a [Validator].
type Options struct {
	// Level is what becomes of breaches of contracts that hold.
	Level Level
	// TypeName writes the types of the source's columns; nil takes their bare names.
	TypeName func(entrain.Column) string
	// Met, if set, is called when the first event of a shape comes of a table that has
	// a contract, with all differences; by the goroutine that calls Judge.
	Met func(c *Contract, t *entrain.Table, all []Difference)
}

// Breach is a way in which events break a contract. There is one for each way, for
// all events of a shape.
type Breach struct {
	Contract *Contract
	// Table is the shape of the events.
	Table *entrain.Table
	// Difference is what was promised and, of a shape, what there is instead.
	Difference
	// Others break the promise, too: of a shape.
	Others []Difference
	// Level is what is to become of the events.
	Level Level

	index  int // of the column in the table; -1 for none
	hidden bool
}

// Value is the value of an event that breaks a rule, for people: cut if it is long,
// and not shown at all if its column's classification is confidential or pii. It is
// empty for breaches of shape.
func (b *Breach) Value(e *entrain.Event) string {
	if b.index < 0 || e.After == nil || e.Table != b.Table {
		return ""
	}
	v, state := e.After.Column(b.index, len(b.Table.Columns))
	switch {
	case state == entrain.Null:
		return "NULL"
	case b.hidden:
		return "a value that is not shown (" + string(b.Contract.Class(b.Contract.column(b.Column))) + ")"
	}
	const most = 60
	text := []rune(string(v[:min(len(v), 4*most)]))
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return strconv.Quote(string(text))
}

func (c *Contract) column(name string) *Column {
	for i := range c.Columns {
		if c.Columns[i].Name == name {
			return &c.Columns[i]
		}
	}
	return nil
}

// Validator judges events by contracts. It is for one goroutine at a time.
type Validator struct {
	opt       Options
	contracts map[tableName]*Contract
	plans     map[*entrain.Table]*plan
	shapes    map[tableName]*entrain.Table // whose plans are kept
	last      *entrain.Table
	plan      *plan // of last; nil: it has no contract
}

type tableName struct{ schema, name string }

// plan is what is looked at in the rows of a shape.
type plan struct {
	table   *entrain.Table
	whole   *Breach // which every event is; nil for none
	columns []columnPlan
}

type columnPlan struct {
	index int
	null  *Breach // nil if NULL is allowed
	rules []rule
}

type rule struct {
	breach *Breach
	broken func(value []byte) bool
}

// New returns a validator. The contracts have to be checked; of two for one table the
// last one counts.
func New(contracts []*Contract, o Options) *Validator {
	v := &Validator{opt: o, contracts: map[tableName]*Contract{}, plans: map[*entrain.Table]*plan{}, shapes: map[tableName]*entrain.Table{}}
	for _, c := range contracts {
		schema, name := c.Name()
		v.contracts[tableName{schema, name}] = c
	}
	return v
}

// Covers reports whether there is something to be judged of a table. It may be called
// from any goroutine.
func (v *Validator) Covers(t *entrain.Table) bool {
	return v.opt.Level != Off && v.contracts[tableName{t.Schema, t.Name}] != nil
}

// Judge returns the first way in which an event breaks its contract; nil if it does
// not. Judged are rows that come or change, and deletes by their table's shape. Values
// that the log did not carry are not judged.
func (v *Validator) Judge(e *entrain.Event) *Breach {
	if e.Table != v.last {
		v.turn(e)
	}
	p := v.plan
	if p == nil || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd {
		return nil
	}
	if p.whole != nil {
		return p.whole
	}
	if e.After == nil {
		return nil
	}
	n := len(e.Table.Columns)
	for i := range p.columns {
		c := &p.columns[i]
		value, state := e.After.Column(c.index, n)
		breach := c.null
		if state != entrain.Null {
			breach = nil
		}
		if state == entrain.Present {
			breach = c.judge(value)
		}
		if breach != nil {
			return breach
		}
	}
	return nil
}

// judge returns the first rule that a value breaks.
func (c *columnPlan) judge(value []byte) *Breach {
	for k := range c.rules {
		if c.rules[k].broken(value) {
			return c.rules[k].breach
		}
	}
	return nil
}

// turn makes the plan for the event's table that of the next events. That of an event
// which only tells of a shape is made with the first row.
func (v *Validator) turn(e *entrain.Event) {
	t := e.Table
	if t == nil || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd {
		v.last, v.plan = nil, nil
		return
	}
	p, known := v.plans[t]
	if !known {
		p = v.prepare(t)
	}
	v.last, v.plan = t, p
}

// prepare makes the plan for a shape. A table keeps that of its last one only.
func (v *Validator) prepare(t *entrain.Table) *plan {
	name := tableName{t.Schema, t.Name}
	before := v.shapes[name]
	p := v.plans[before]
	if before == nil || before.Version != t.Version || p == nil {
		p = v.newPlan(t, v.contracts[name])
	} else {
		p = p.of(t)
	}
	delete(v.plans, before)
	v.plans[t], v.shapes[name] = p, t
	return p
}

// of is the plan for another value that stands for the same shape.
func (p *plan) of(t *entrain.Table) *plan {
	p.table = t
	for _, b := range p.breaches() {
		b.Table = t
	}
	return p
}

// breaches are all that events can be.
func (p *plan) breaches() []*Breach {
	var all []*Breach
	if p.whole != nil {
		all = append(all, p.whole)
	}
	for _, c := range p.columns {
		if c.null != nil {
			all = append(all, c.null)
		}
		for _, r := range c.rules {
			all = append(all, r.breach)
		}
	}
	return all
}

func (v *Validator) newPlan(t *entrain.Table, c *Contract) *plan {
	if c == nil || v.opt.Level == Off {
		return nil
	}
	p := &plan{table: t}
	all := Compare(c, ShapeOf(t, v.opt.TypeName, nil))
	if v.opt.Met != nil {
		v.opt.Met(c, t, all)
	}
	b := Breach{Contract: c, Table: t, Level: v.opt.Level, index: -1}
	if c.Status == Proposed {
		b.Level = Warn
	}
	if c.Status == Retired {
		b.Difference = Difference{Kind: KindRetired, Want: "no event", Have: "events", Breaking: true}
		p.whole = &b
		return p
	}
	if Breaking(all) {
		p.whole = b.ofShape(all)
		return p
	}
	p.columns = rowPlans(b, t)
	return p
}

// ofShape is the breach that every event of a shape is.
func (b Breach) ofShape(all []Difference) *Breach {
	all = slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return !d.Breaking })
	b.Difference, b.Others = all[0], all[1:]
	return &b
}

// rowPlans is what is looked at in rows. b is what their breaches have in common.
func rowPlans(b Breach, t *entrain.Table) []columnPlan {
	var plans []columnPlan
	for i := range t.Columns {
		promise := b.Contract.column(t.Columns[i].Name)
		if promise == nil {
			continue
		}
		of := b
		of.index, of.hidden = i, b.Contract.hides(promise)
		p := columnPlan{index: i, rules: rulesOf(of, promise, t.Columns[i].Kind)}
		if promise.NotNull() || promise.Key {
			p.null = of.of(KindNull, promise.Name, "not null")
		}
		if p.null != nil || len(p.rules) > 0 {
			plans = append(plans, p)
		}
	}
	return plans
}

// hides reports whether a column's values are in no message.
func (c *Contract) hides(col *Column) bool {
	class := c.Class(col)
	return class == Confidential || class == PII
}

func (b Breach) of(kind Kind, column, want string) *Breach {
	b.Difference = Difference{Kind: kind, Column: column, Want: want, Breaking: true}
	return &b
}

// rulesOf are the rules for a column's values. Bounds of numbers hold where the
// column is one.
func rulesOf(b Breach, c *Column, kind entrain.Kind) []rule {
	var rules []rule
	add := func(want string, broken func([]byte) bool) {
		rules = append(rules, rule{b.of(KindValue, c.Name, want), broken})
	}
	number := kind == entrain.Integer || kind == entrain.Decimal || kind == entrain.Float
	if least := newBound(c.Min); c.Min != "" && number {
		add("at least "+c.Min, func(v []byte) bool { return least.compare(v) < 0 })
	}
	if most := newBound(c.Max); c.Max != "" && number {
		add("at most "+c.Max, func(v []byte) bool { return most.compare(v) > 0 })
	}
	if n := c.MaxLength; n > 0 {
		add(fmt.Sprintf("at most %d characters", n), func(v []byte) bool { return len(v) > n && utf8.RuneCount(v) > n })
	}
	if len(c.Values) > 0 {
		known := make(map[string]struct{}, len(c.Values))
		for _, v := range c.Values {
			known[v] = struct{}{}
		}
		add(fmt.Sprintf("one of %q", c.Values), func(v []byte) bool {
			_, ok := known[string(v)]
			return !ok
		})
	}
	if c.Pattern != "" {
		pattern := regexp.MustCompile(c.Pattern) // Check has seen it
		add("pattern "+c.Pattern, func(v []byte) bool { return !pattern.Match(v) })
	}
	return rules
}
