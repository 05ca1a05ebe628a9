package entrain

import (
	"hash/fnv"
	"io"
	"strconv"
)

// Kind says how the canonical text of a column reads, so that encoders can
// choose a form without knowing the source's types.
type Kind uint8

const (
	// Text is any value without a more telling kind; encoders write a string.
	Text Kind = iota
	// Integer is an optional minus and decimal digits, of any length.
	Integer
	// Decimal is an exact number: every digit counts, NaN and ±Infinity occur.
	Decimal
	// Float is a binary float in its shortest exact form, or NaN, ±Infinity.
	Float
	// Boolean is "t" or "f".
	Boolean
	// JSON is a JSON document as the source keeps it, white space included.
	JSON
	// Bytes is "\x" and two hexadecimal digits a byte.
	Bytes
)

// Column describes one column of a [Table].
type Column struct {
	// Name as the source has it, unquoted.
	Name string `json:"name"`
	// Type is the source's name of the type, without a modifier; a type
	// outside the source's system schema is qualified ("public.mood").
	Type string `json:"type"`
	// Modifier is the source's type modifier (length, precision), -1 for none.
	Modifier int32 `json:"modifier"`
	// Kind says how the column's text reads.
	Kind Kind `json:"kind,omitempty"`
	// Key reports that the column is part of what identifies a row in the
	// log: the replica identity.
	Key bool `json:"key,omitempty"`
}

// Table is one version of a table's shape. It is immutable and shared by all
// events that have it, so that comparing pointers is a valid first test.
type Table struct {
	// Schema and Name as the source has them, unquoted.
	Schema, Name string
	// Columns in the order of a row's values.
	Columns []Column
	// FullIdentity reports that before images carry every column, and that
	// therefore no subset of columns is known to identify a row.
	FullIdentity bool
	// Version is a fingerprint of all of the above: equal shapes have equal
	// versions in every process. [Table.Fingerprint] computes it.
	Version uint64
	// Shadow: what is meant is not the table but its double, which is filled
	// anew out of its readers' sight: an [OpTruncate] of it begins one that is
	// empty, and its [OpReadEnd] puts its rows in the place of the table's, at
	// once. A sink that cannot do that takes it for the table itself.
	Shadow bool
}

// String returns the name for people: schema.table, unquoted.
func (t *Table) String() string { return t.Schema + "." + t.Name }

// Fingerprint returns the FNV-1a hash of the table's names, types and keys,
// for [Table.Version].
func (t *Table) Fingerprint() uint64 {
	h := fnv.New64a()
	field := func(s string) { io.WriteString(h, strconv.Quote(s)+",") }
	field(t.Schema)
	field(t.Name)
	field(strconv.FormatBool(t.FullIdentity))
	for _, c := range t.Columns {
		field(c.Name)
		field(c.Type)
		field(strconv.Itoa(int(c.Modifier)))
		field(strconv.FormatBool(c.Key))
	}
	return h.Sum64()
}
