// Package dedup says under which keys the changes are remembered that a sink has,
// so that one that comes again is recognised. It is pure.
package dedup

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

// Default is the pattern of who names none.
const Default = "entrain:{delivery}:{id}"

// names are the placeholders.
var names = []string{"source", "table", "lsn", "ordinal", "key", "id", "delivery"}

// Pattern makes keys of events. The zero value is not one; it is immutable.
type Pattern struct {
	text  string
	parts []part
}

// part is a text, or a placeholder if its name is set.
type part struct{ text, name string }

// Parse reads a pattern: text in which {source}, {table}, {lsn}, {ordinal}, {key},
// {id} and {delivery} stand for what an event has.
func Parse(text string) (Pattern, error) {
	p := Pattern{text: text}
	for rest := text; rest != ""; {
		before, behind, found := strings.Cut(rest, "{")
		if before != "" {
			p.parts = append(p.parts, part{text: before})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(behind, "}")
		if !closed || !slices.Contains(names, name) {
			return Pattern{}, fmt.Errorf("%q has {%s, which stands for nothing; known: {%s}", text, name, strings.Join(names, "}, {"))
		}
		p.parts = append(p.parts, part{name: name})
		rest = after
	}
	if len(p.parts) == 0 {
		return Pattern{}, fmt.Errorf("the pattern is empty")
	}
	return p, nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

func (p Pattern) has(name string) bool {
	return slices.ContainsFunc(p.parts, func(a part) bool { return a.name == name })
}

// Completed returns a pattern that tells any two changes of a history apart, and
// what had to be added to this one for that. An LSN alone does not: the rows of one
// COPY share one.
func (p Pattern) Completed() (Pattern, string) {
	added := ""
	if !p.has("id") && !p.has("lsn") {
		added += ":{lsn}"
	}
	if !p.has("id") && !p.has("ordinal") {
		added += ":{ordinal}"
	}
	if added == "" {
		return p, ""
	}
	whole, err := Parse(p.text + added)
	if err != nil { // it was parsed, and so can what is added
		return p, ""
	}
	return whole, added
}

// AppendKey appends the event's key to dst. A {table} without a table is empty, as
// is a {key} without one; several values of a key have commas between them.
func (p Pattern) AppendKey(dst []byte, e *entrain.Event, delivery string) []byte {
	for _, a := range p.parts {
		switch a.name {
		case "":
			dst = append(dst, a.text...)
		case "source":
			dst = append(dst, e.Tx.Stream.Source...)
		case "table":
			dst = appendTable(dst, e)
		case "lsn":
			dst = fmt.Appendf(dst, "%X/%X", e.Tx.Version>>32, uint32(e.Tx.Version))
		case "ordinal":
			dst = strconv.AppendUint(dst, e.Ordinal, 10)
		case "key":
			dst = appendRowKey(dst, e)
		case "id":
			dst = e.AppendID(dst)
		case "delivery":
			dst = append(dst, delivery...)
		}
	}
	return dst
}

func appendTable(dst []byte, e *entrain.Event) []byte {
	switch {
	case e.Table != nil:
		return append(dst, e.Table.String()...)
	case e.Truncate != nil:
		for i, t := range e.Truncate.Tables {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, t.String()...)
		}
	}
	return dst
}

// appendRowKey appends the key's values of the row as it is after the change, else
// before it.
func appendRowKey(dst []byte, e *entrain.Event) []byte {
	image := e.After
	if image == nil {
		image = e.Before
	}
	if e.Table == nil || image == nil {
		return dst
	}
	first := true
	for i := range e.Table.Columns {
		if !e.Table.Columns[i].Key {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		v, _ := image.Column(i, len(e.Table.Columns))
		dst = append(dst, v...)
	}
	return dst
}

// Mark is the value that is kept under the event's key: it says which change of
// which history it was, and who delivered it. A key that another change has made,
// or another delivery, is thereby told from one that this change made.
func Mark(e *entrain.Event, delivery string) string {
	text := append([]byte(delivery), 0)
	sum := sha256.Sum256(e.AppendID(text))
	return base64.RawStdEncoding.EncodeToString(sum[:15])
}

// Remembered reports whether an event is one that is remembered: a change that a
// retry brings again as it was. Rows that are read anew are not, nor what is said
// of tables.
func Remembered(e *entrain.Event) bool {
	if e.OfCopy() {
		return false
	}
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpTruncate, entrain.OpMessage:
		return true
	}
	return false
}
