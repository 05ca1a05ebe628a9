package encoding

import (
	"fmt"

	"github.com/entrainsync/entrain"
)

// HasKey reports whether columns of the table identify a row: with a full
// identity, or none, no key of a message can be made.
func HasKey(t *entrain.Table) bool {
	if t.FullIdentity {
		return false
	}
	for i := range t.Columns {
		if t.Columns[i].Key {
			return true
		}
	}
	return false
}

// AppendKey appends the key of a row as a JSON object of the key columns, in the
// table's order and with values as in the native format: {"id":7}. What the row
// does not carry is taken from other, an image of the same key, which may be nil;
// a column that neither has is an error. Equal keys of one shape have equal bytes.
func AppendKey(dst []byte, t *entrain.Table, row, other entrain.Row) ([]byte, error) {
	sep := byte('{')
	n := len(t.Columns)
	for i := range t.Columns {
		c := &t.Columns[i]
		if !c.Key {
			continue
		}
		value, state := row.Column(i, n)
		if state == entrain.Unchanged && other != nil {
			value, state = other.Column(i, n)
		}
		if state == entrain.Unchanged {
			return dst, fmt.Errorf("the log did not carry the key column %q", c.Name)
		}
		dst = append(dst, sep)
		sep = ','
		dst = append(appendString(dst, []byte(c.Name)), ':')
		if state == entrain.Null {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendValue(dst, c.Kind, value)
	}
	if sep == '{' {
		dst = append(dst, '{')
	}
	return append(dst, '}'), nil
}

// TopicName returns s with what a topic's name cannot have replaced by
// underscores, as the format debezium does.
func TopicName(s string) string { return topicName(s) }
