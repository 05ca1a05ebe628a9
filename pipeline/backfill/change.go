package backfill

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"github.com/entrainsync/entrain"
)

// change is what an event says of a row. Its slices belong to the event, or to
// the record.
type change struct {
	op       entrain.Op
	tx       uint64
	columns  int
	old, new []byte // encoded keys; old of update and delete, new of insert and update
	after    entrain.Row
}

// moves reports that the change gives the row another key.
func (ch change) moves() bool {
	return ch.op == entrain.OpUpdate && string(ch.old) != string(ch.new)
}

// partial reports that the log lacks a part of the new row.
func (ch change) partial() bool {
	for i := range ch.columns {
		if ch.after.State(i) == entrain.Unchanged {
			return true
		}
	}
	return false
}

// shapeIn returns the shape under which an event changes the table, nil if it
// does not.
func (c *Copy) shapeIn(e *entrain.Event) *entrain.Table {
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete:
		if c.isTable(e.Table) {
			return e.Table
		}
	case entrain.OpTruncate:
		for _, t := range e.Truncate.Tables {
			if c.isTable(t) {
				return t
			}
		}
	}
	return nil
}

func (c *Copy) isTable(t *entrain.Table) bool {
	return t == c.table || t.Name == c.table.Name && t.Schema == c.table.Schema
}

// read reads an event of the table under a shape with these key columns. The
// result is valid until the next call.
func (c *Copy) read(e *entrain.Event, t *entrain.Table, keys []int) (change, error) {
	ch := change{op: e.Op, tx: e.Tx.ID, columns: len(t.Columns)}
	var err error
	switch e.Op {
	case entrain.OpInsert:
		ch.after = e.After
		c.newKey, err = appendKey(c.newKey[:0], keys, ch.columns, e.After)
		ch.new = c.newKey
	case entrain.OpUpdate:
		ch.after = e.After
		// A value that is kept outside the row and stays as it is may be part of the
		// key: the new image lacks it then, the old one has it.
		c.newKey, err = appendKey(c.newKey[:0], keys, ch.columns, e.After, e.Before)
		ch.new, ch.old = c.newKey, c.newKey
		if len(e.Before) > 0 && err == nil {
			c.oldKey, err = appendKey(c.oldKey[:0], keys, ch.columns, e.Before)
			ch.old = c.oldKey
		}
	case entrain.OpDelete:
		c.oldKey, err = appendKey(c.oldKey[:0], keys, ch.columns, e.Before)
		ch.old = c.oldKey
	}
	if err != nil {
		return change{}, fmt.Errorf("%s of %s in transaction %d: %w", e.Op, t, e.Tx.ID, err)
	}
	return ch, nil
}

// appendKey appends the key of a row: for each of its columns the length and the
// bytes, from the first of the images that has it.
func appendKey(dst []byte, keys []int, n int, images ...entrain.Row) ([]byte, error) {
	for _, col := range keys {
		value, state := []byte(nil), entrain.Unchanged
		for _, row := range images {
			if len(row) > 0 && state == entrain.Unchanged {
				value, state = row.Column(col, n)
			}
		}
		if state != entrain.Present {
			return nil, ErrNoKey
		}
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	return dst, nil
}

// encodeTexts encodes a key as appendKey does.
func encodeTexts(key []string) string {
	var dst []byte
	for _, text := range key {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	return string(dst)
}

// decodeTexts is the reverse of encodeTexts.
func decodeTexts(key []byte) []string {
	var texts []string
	for len(key) > 0 {
		n, size := binary.Uvarint(key)
		texts = append(texts, string(key[size:size+int(n)]))
		key = key[size+int(n):]
	}
	return texts
}

// keyColumns returns the columns that identify a row.
func keyColumns(t *entrain.Table) []int {
	var keys []int
	for i, col := range t.Columns {
		if col.Key && !t.FullIdentity {
			keys = append(keys, i)
		}
	}
	return keys
}

// sameKey reports whether a key of a means the same under b.
func sameKey(a, b *entrain.Table) bool {
	if a == b || a.Version == b.Version {
		return true
	}
	ka, kb := keyColumns(a), keyColumns(b)
	return len(ka) == len(kb) && fingerprint(a, ka) == fingerprint(b, kb)
}

// fingerprint returns the FNV-1a hash of the names and types of the key columns.
func fingerprint(t *entrain.Table, keys []int) uint64 {
	h := fnv.New64a()
	for _, i := range keys {
		col := t.Columns[i]
		fmt.Fprintf(h, "%q,%q,%d,", col.Name, col.Type, col.Modifier)
	}
	return h.Sum64()
}
