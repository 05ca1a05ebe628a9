package contract

import (
	"cmp"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
)

// Shape is what a table looks like somewhere, or what a contract promises of it.
type Shape struct {
	// Table is schema.table.
	Table string
	// Fields in any order.
	Fields []Field
	// KeyUnknown: it is not known what identifies a row.
	KeyUnknown bool
}

// Field is a column of a [Shape].
type Field struct {
	// Name, unquoted, and Type as SQL writes it.
	Name, Type string
	// Null says whether a row may have NULL there.
	Null Nullability
	// Key: the column is part of what identifies a row.
	Key bool
}

// Nullability says whether NULL can occur.
type Nullability uint8

// The answers.
const (
	NullUnknown Nullability = iota
	MayBeNull
	NeverNull
)

// Shape is what the contract promises.
func (c *Contract) Shape() Shape {
	s := Shape{Table: c.Table, KeyUnknown: true}
	for i := range c.Columns {
		col := &c.Columns[i]
		f := Field{Name: col.Name, Type: col.Type, Null: MayBeNull, Key: col.Key}
		if col.NotNull() || col.Key {
			f.Null = NeverNull
		}
		s.KeyUnknown = s.KeyUnknown && !col.Key
		s.Fields = append(s.Fields, f)
	}
	return s
}

// ShapeOf is what a table looks like. typeName writes types as SQL does; nil takes
// their bare names. facts are what a catalog says of the columns; where it says
// nothing, it is not known whether a column can be NULL.
func ShapeOf(t *entrain.Table, typeName func(entrain.Column) string, facts []entrain.ColumnFacts) Shape {
	s := Shape{Table: t.String(), KeyUnknown: true}
	for _, col := range t.Columns {
		f := Field{Name: col.Name, Type: col.Type, Null: nullOf(col.Name, facts), Key: col.Key && !t.FullIdentity}
		if typeName != nil {
			f.Type = typeName(col)
		}
		s.KeyUnknown = s.KeyUnknown && !f.Key
		s.Fields = append(s.Fields, f)
	}
	return s
}

func nullOf(column string, facts []entrain.ColumnFacts) Nullability {
	i := slices.IndexFunc(facts, func(f entrain.ColumnFacts) bool { return f.Name == column })
	switch {
	case i < 0:
		return NullUnknown
	case facts[i].NotNull:
		return NeverNull
	}
	return MayBeNull
}

// Kind is what differs.
type Kind string

// The kinds of differences and breaches.
const (
	KindMissing  Kind = "missing"  // a promised column is not there
	KindAdded    Kind = "added"    // a column is there that is not promised
	KindType     Kind = "type"     // another type
	KindWider    Kind = "wider"    // a target's type that holds all promised values and more
	KindNullable Kind = "nullable" // NULL can occur, or cannot any more
	KindKey      Kind = "key"      // something else identifies a row
	KindNull     Kind = "null"     // a row has NULL where none is promised
	KindValue    Kind = "value"    // a row has a value that a rule excludes
	KindRetired  Kind = "retired"  // the contract has ended
	KindRemoved  Kind = "removed"  // a contract is gone that was not retired
	KindStatus   Kind = "status"   // a contract goes back in its life
	KindRule     Kind = "rule"     // a rule for values is another one
	KindClass    Kind = "class"    // another classification
	KindLevel    Kind = "level"    // another compatibility
	KindNoTable  Kind = "no_table" // there is no such table
)

// Difference is one thing that is not as it is promised.
type Difference struct {
	Kind Kind `json:"kind"`
	// Column is empty if it is about the whole table.
	Column string `json:"column,omitempty"`
	// Want is what is promised, Have what there is, for people.
	Want string `json:"want"`
	Have string `json:"have"`
	// Breaking: by the contract's compatibility it breaks the promise.
	Breaking bool `json:"breaking"`
}

// String says it in one line.
func (d Difference) String() string {
	text := string(d.Kind)
	if d.Column != "" {
		text = "column " + d.Column + ": " + text
	}
	return text + ": contract has " + cmp.Or(d.Want, "nothing") + ", table has " + cmp.Or(d.Have, "nothing")
}

// Compare returns how have differs from what the contract promises: of the promised
// columns in their order, then the others. What is not known of have is no
// difference.
func Compare(c *Contract, have Shape) []Difference {
	return compareShapes(c.Shape(), have, c.Compatibility)
}

func compareShapes(want, have Shape, level Compatibility) []Difference {
	var all []Difference
	for _, w := range want.Fields {
		i := slices.IndexFunc(have.Fields, func(h Field) bool { return h.Name == w.Name })
		if i < 0 {
			all = append(all, Difference{Kind: KindMissing, Column: w.Name, Want: w.String(),
				Breaking: level != None && w.Key || level.forward() && w.Null == NeverNull})
			continue
		}
		all = append(all, compareFields(w, have.Fields[i], level)...)
	}
	for _, h := range have.Fields {
		if !slices.ContainsFunc(want.Fields, func(w Field) bool { return h.Name == w.Name }) {
			all = append(all, Difference{Kind: KindAdded, Column: h.Name, Have: h.String(), Breaking: level.backward() && h.Null == NeverNull})
		}
	}
	if w, h := want.key(), have.key(); w != h && !want.KeyUnknown && !have.KeyUnknown {
		all = append(all, Difference{Kind: KindKey, Want: w, Have: h, Breaking: level != None})
	}
	return all
}

// compareFields compares two columns of one name.
func compareFields(want, have Field, level Compatibility) []Difference {
	var all []Difference
	if w, h := parseType(want.Type), parseType(have.Type); !w.equal(h) {
		breaking := level.backward() && !h.holds(w) || level.forward() && !w.holds(h)
		all = append(all, Difference{Kind: KindType, Column: want.Name, Want: want.Type, Have: have.Type, Breaking: breaking})
	}
	if want.Null != have.Null && want.Null != NullUnknown && have.Null != NullUnknown {
		breaking := level.forward() && have.Null == MayBeNull || level.backward() && have.Null == NeverNull
		all = append(all, Difference{Kind: KindNullable, Column: want.Name, Want: want.Null.String(), Have: have.Null.String(), Breaking: breaking})
	}
	return all
}

// String is type and nullability.
func (f Field) String() string { return strings.TrimSpace(f.Type + " " + f.Null.String()) }

// String says it as SQL does; empty if it is not known.
func (n Nullability) String() string { return [...]string{"", "null", "not null"}[n] }

// key are the names of what identifies a row.
func (s *Shape) key() string {
	var names []string
	for _, f := range s.Fields {
		if f.Key {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Widened are differences at a target: one that has a wider type than is promised takes
// all that is promised, and breaks nothing. It changes all.
func Widened(all []Difference) []Difference {
	for i := range all {
		d := &all[i]
		if d.Kind == KindType && parseType(d.Have).holds(parseType(d.Want)) {
			d.Kind, d.Breaking = KindWider, false
		}
	}
	return all
}

// Breaking reports whether any of the differences breaks the promise.
func Breaking(all []Difference) bool {
	return slices.ContainsFunc(all, func(d Difference) bool { return d.Breaking })
}
