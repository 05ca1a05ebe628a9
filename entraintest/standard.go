package entraintest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

var standard = newStandard()

func newStandard() *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "conformance", Columns: []entrain.Column{
		{Name: "id", Type: "bigint", Modifier: -1, Kind: entrain.Integer, Key: true},
		{Name: "name", Type: "text", Modifier: -1, Kind: entrain.Text},
		{Name: "body", Type: "text", Modifier: -1, Kind: entrain.Text},
		{Name: "n", Type: "numeric", Modifier: -1, Kind: entrain.Decimal},
	}}
	t.Version = t.Fingerprint()
	return t
}

// StandardTable returns the table that the suites work on: public.conformance
// with the columns id (bigint, the key), name (text), body (text, large) and n
// (numeric). It is one immutable value.
func StandardTable() *entrain.Table { return standard }

// SQL returns the statement that makes the event's change. It quotes values by
// doubling apostrophes and names not at all: enough for [StandardTable] at any
// SQL database, and for nothing else. An UPDATE mentions no column that is
// [Unchanged] in After, and the key only if Before is set. It panics for an operation that has no statement.
func SQL(e entrain.Event) string {
	switch e.Op {
	case entrain.OpInsert:
		values := make([]string, len(e.Table.Columns))
		for i, c := range Cells(e.Table, e.After) {
			values[i] = literal(c)
		}
		return fmt.Sprintf("INSERT INTO %s VALUES (%s)", e.Table, strings.Join(values, ", "))
	case entrain.OpUpdate:
		var sets []string
		for i, c := range Cells(e.Table, e.After) {
			col := e.Table.Columns[i]
			if c != Unchanged && (!col.Key || e.Before != nil) {
				sets = append(sets, col.Name+" = "+literal(c))
			}
		}
		return fmt.Sprintf("UPDATE %s SET %s WHERE %s", e.Table, strings.Join(sets, ", "), where(e))
	case entrain.OpDelete:
		return fmt.Sprintf("DELETE FROM %s WHERE %s", e.Table, where(e))
	case entrain.OpTruncate:
		names := make([]string, len(e.Truncate.Tables))
		for i, t := range e.Truncate.Tables {
			names[i] = t.String()
		}
		return "TRUNCATE TABLE " + strings.Join(names, ", ")
	}
	panic("entraintest: no statement makes a " + e.Op.String())
}

// where returns the condition for the row as it was before the event.
func where(e entrain.Event) string {
	row := e.Before
	if len(row) == 0 {
		row = e.After
	}
	var terms []string
	for i, c := range Cells(e.Table, row) {
		if e.Table.Columns[i].Key {
			terms = append(terms, e.Table.Columns[i].Name+" = "+literal(c))
		}
	}
	return strings.Join(terms, " AND ")
}

func literal(c Cell) string {
	if c == Null {
		return "NULL"
	}
	return "'" + strings.ReplaceAll(c.Text, "'", "''") + "'"
}

// std, set, move, remove and empty are the changes of the standard table, short
// enough for histories to be read at a glance.

func std(id int64, name, body, n Cell) entrain.Event {
	return Insert(standard, Text(strconv.FormatInt(id, 10)), name, body, n)
}

func set(id int64, name, body, n Cell) entrain.Event {
	return Update(standard, Text(strconv.FormatInt(id, 10)), name, body, n)
}

func move(from, to int64, cells ...Cell) entrain.Event {
	key := []string{strconv.FormatInt(from, 10)}
	return Rekey(standard, key, append([]Cell{Text(strconv.FormatInt(to, 10))}, cells...)...)
}

func remove(id int64) entrain.Event { return Delete(standard, strconv.FormatInt(id, 10)) }

func empty() entrain.Event { return Truncate(standard) }

// filler returns a text of n bytes that does not compress well, the same for
// the same seed.
func filler(seed uint64, n int) Cell {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	rnd := rand.New(rand.NewPCG(seed, 1))
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[rnd.IntN(len(letters))]
	}
	return Text(string(text))
}
