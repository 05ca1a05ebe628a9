// Package anyevent draws random events for property tests of codecs: every
// operation, every kind of column, values that are hard to carry.
package anyevent

import (
	"math"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
)

// Words are texts that codecs trip over.
var Words = []string{"", "a", "0", "-0", "1", "-17", "007", "9007199254740992", "9007199254740993", "-9007199254740993",
	"123456789012345678901234567890", "1.50", "0.1", "1e+20", "-1.5E-7", "1.", ".5", "NaN", "Infinity", "-Infinity", "t", "f", "true", "null",
	`{"a": [1, "x"]}`, "{\n\"a\":1}", `\x00ff`, `"`, `\`, "a\tb\r\nc\b\f", "\x00\x01\x1f\x7f", "é\u2028\u2029", "\U0001F600", "\uFFFD",
	"\xff\xfe", "ok\xc3", "\xed\xa0\x80", `{"base64":"AA=="}`, "</script>&", "a/b", "2026-11-22 20:00:00.123456+00", "long long long long long text"}

// Text draws a text, often one of Words; it may be no UTF-8.
func Text() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom(Words), rapid.String(), rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes"))
	}))
}

// Table draws a table of up to 9 columns, whose names differ and whose version
// is its fingerprint.
func Table() *rapid.Generator[*entrain.Table] { return rapid.Custom(table) }

func table(t *rapid.T) *entrain.Table {
	name := rapid.OneOf(rapid.SampledFrom([]string{"id", "a", `q"`, "bödy\n", "__op"}), rapid.String())
	out := &entrain.Table{Schema: name.Draw(t, "schema"), Name: name.Draw(t, "name"), FullIdentity: rapid.Bool().Draw(t, "full")}
	names := rapid.SliceOfNDistinct(name, 0, 9, func(s string) string { return s }).Draw(t, "columns")
	if len(names) > 0 || rapid.Bool().Draw(t, "no columns, but a list of them") {
		out.Columns = make([]entrain.Column, 0, len(names))
	}
	for _, n := range names {
		out.Columns = append(out.Columns, entrain.Column{Name: n, Type: name.Draw(t, "type"), Modifier: rapid.Int32().Draw(t, "modifier"),
			Kind: entrain.Kind(rapid.IntRange(0, int(entrain.Bytes)).Draw(t, "kind")), Key: rapid.Bool().Draw(t, "key")})
	}
	out.Version = out.Fingerprint()
	return out
}

// Row draws a row of a table.
func Row(t *rapid.T, table *entrain.Table) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, len(table.Columns))
	for range table.Columns {
		switch rapid.IntRange(0, 5).Draw(t, "state") {
		case 0:
			b.Null()
		case 1:
			b.Unchanged()
		default:
			b.Value([]byte(Text().Draw(t, "value")))
		}
	}
	row, _ := b.End()
	return row
}

// A Maker draws the events of one batch, in transactions.
type Maker struct {
	Tables []*entrain.Table
	Stream *entrain.Stream
	tx     *entrain.Transaction
	next   uint64
}

// NewMaker draws up to 4 tables and a stream.
func NewMaker(t *rapid.T) *Maker {
	return &Maker{
		Tables: rapid.SliceOfN(Table(), 1, 4).Draw(t, "tables"),
		Stream: &entrain.Stream{Source: rapid.StringN(0, 9, -1).Draw(t, "source"), Incarnation: rapid.StringN(0, 9, -1).Draw(t, "incarnation"),
			Database: rapid.SampledFrom([]string{"", "shop"}).Draw(t, "database")},
	}
}

// Event draws an event of any operation.
func (m *Maker) Event(t *rapid.T) entrain.Event {
	if m.tx == nil || rapid.IntRange(0, 3).Draw(t, "new transaction") == 0 {
		m.tx, m.next = m.transaction(t), 0
	}
	e := entrain.Event{Op: entrain.Op(rapid.IntRange(1, int(entrain.OpSchema)).Draw(t, "op")), Tx: m.tx,
		Settling: rapid.Bool().Draw(t, "settling"), Ordinal: m.next + rapid.Uint64Range(0, 2).Draw(t, "skipped")}
	m.next = e.Ordinal + 1
	switch e.Op {
	case entrain.OpTruncate:
		e.Truncate = &entrain.Truncate{Tables: rapid.SliceOfN(rapid.SampledFrom(m.Tables), 1, 3).Draw(t, "truncated"),
			Cascade: rapid.Bool().Draw(t, "cascade"), RestartIdentity: rapid.Bool().Draw(t, "restart")}
	case entrain.OpMessage:
		e.Message = &entrain.Message{Prefix: rapid.String().Draw(t, "prefix"), Content: []byte(Text().Draw(t, "content")),
			Transactional: rapid.Bool().Draw(t, "transactional")}
	case entrain.OpSchema:
		e.Table = rapid.SampledFrom(m.Tables).Draw(t, "table")
		e.Ordinal = entrain.SchemaOrdinal(e.Ordinal, rapid.IntRange(0, 1).Draw(t, "of a truncate"))
		e.Schema = m.schema(t, e.Table)
	case entrain.OpReadEnd:
		if rapid.Bool().Draw(t, "of one table") {
			e.Table = rapid.SampledFrom(m.Tables).Draw(t, "table")
		}
	default:
		e.Table = rapid.SampledFrom(m.Tables).Draw(t, "table")
		m.rows(t, &e)
	}
	return e
}

func (m *Maker) rows(t *rapid.T, e *entrain.Event) {
	if e.Op == entrain.OpDelete || e.Op == entrain.OpUpdate && rapid.Bool().Draw(t, "with a before image") {
		e.Before = Row(t, e.Table)
	}
	if e.Op != entrain.OpDelete {
		e.After = Row(t, e.Table)
	}
}

func (m *Maker) transaction(t *rapid.T) *entrain.Transaction {
	tx := &entrain.Transaction{Stream: m.Stream, ID: rapid.Uint64().Draw(t, "id"), Version: rapid.Uint64().Draw(t, "version"),
		Origin: rapid.SampledFrom([]string{"", "", "node_b", `ö"`}).Draw(t, "origin")}
	if rapid.IntRange(0, 4).Draw(t, "no time") > 0 {
		tx.CommitTime = time.UnixMicro(rapid.Int64Range(0, math.MaxInt32*1_000_000).Draw(t, "time")).UTC()
	}
	return tx
}

func (m *Maker) schema(t *rapid.T, after *entrain.Table) *entrain.SchemaChange {
	before := rapid.SampledFrom(m.Tables).Draw(t, "shape before")
	var facts []entrain.ColumnFacts
	for i := range after.Columns {
		if rapid.Bool().Draw(t, "facts") {
			facts = append(facts, Facts(after.Columns[i].Name).Draw(t, "fact"))
		}
	}
	var ddl []entrain.DDL
	if rapid.Bool().Draw(t, "told") {
		ddl = []entrain.DDL{{Schema: after.Schema, Table: after.Name, ID: rapid.Uint64().Draw(t, "oid"), Tag: "ALTER TABLE",
			Object: Text().Filter(utf8.ValidString).Draw(t, "object"), Renamed: rapid.Int32().Draw(t, "renamed"), Columns: facts,
			Dropped: rapid.SampledFrom([][]string{nil, {}, {"a", "ö"}}).Draw(t, "dropped")}}
	}
	c := entrain.CompareTables(before, after, ddl, facts)
	c.Resync = rapid.SampledFrom([]string{"", "why\n"}).Draw(t, "resync")
	return c
}

// Facts draws what a catalog knows of a column.
func Facts(name string) *rapid.Generator[entrain.ColumnFacts] {
	return rapid.Custom(func(t *rapid.T) entrain.ColumnFacts {
		f := entrain.ColumnFacts{ID: rapid.Int32().Draw(t, "number"), Name: name, Default: rapid.SampledFrom([]string{"", "now()", "'\n'"}).Draw(t, "default"),
			Constant: rapid.Bool().Draw(t, "constant"), Volatile: rapid.Bool().Draw(t, "volatile"), NotNull: rapid.Bool().Draw(t, "not null")}
		if rapid.Bool().Draw(t, "filled") {
			fill := Text().Filter(utf8.ValidString).Draw(t, "fill")
			f.Fill = &fill
		}
		return f
	})
}
