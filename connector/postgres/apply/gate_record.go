package apply

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
)

// The states of row versions.
const (
	wholeRow   = 'w' // the last change had all columns
	partialRow = 'p' // it left some out
	deletedRow = 'd'
)

// rowVersions are what is noted of rows of one table that were changed in order, each
// row once.
type rowVersions struct {
	table *targetTable
	index map[string]int
	list  []rowVersion
	// met counts, once a COPY has met versions that were there, the sets until the next.
	met int
}

type rowVersion struct {
	key     string
	version versiongate.Version
	state   byte
	fresh   bool // the row was inserted, so that it hardly has a version
}

func (r *rowVersions) note(key []byte, row rowVersion) {
	if i, there := r.index[string(key)]; there {
		r.list[i].version, r.list[i].state = row.version, row.state
		return
	}
	row.key = string(key)
	r.index[row.key] = len(r.list)
	r.list = append(r.list, row)
}

func (r *rowVersions) reset() {
	clear(r.index)
	clear(r.list)
	r.list = r.list[:0]
}

// rowsOf returns what is noted of a table.
func (g *gate) rowsOf(t *targetTable) *rowVersions {
	r := g.rows[t.Relation]
	if r == nil {
		r = &rowVersions{index: map[string]int{}}
		g.rows[t.Relation] = r
	}
	r.table = t
	return r
}

// record notes the versions of what was applied in order.
func (g *gate) record(ctx context.Context, p part) error {
	var key []byte
	for i := range p.events {
		e := &p.events[i]
		switch {
		case !versiongate.Gated(e) || e.Settling && e.Op != entrain.OpTruncate:
		case e.Op == entrain.OpTruncate:
			if err := g.emptied(ctx, e.Truncate.Tables, p.versions[i]); err != nil {
				return err
			}
		default:
			key = g.noteRow(key, e, p.versions[i])
		}
	}
	for relation, r := range g.rows {
		if err := g.store(ctx, r); err != nil {
			return err
		}
		r.reset()
		if len(g.rows) > maxCachedTables {
			delete(g.rows, relation)
		}
	}
	return nil
}

// noteRow notes a change of a row; key is a buffer.
func (g *gate) noteRow(key []byte, e *entrain.Event, v versiongate.Version) []byte {
	t := g.w.catalog.table(e.Table)
	r, n := g.rowsOf(t), len(t.columns)
	if e.Op == entrain.OpDelete {
		key = versiongate.AppendKey(key[:0], t.Key, n, e.Before)
		r.note(key, rowVersion{version: v, state: deletedRow})
		return key
	}
	key = versiongate.AppendKey(key[:0], t.Key, n, e.After, e.Before)
	if len(e.Before) > 0 {
		now := len(key)
		key = versiongate.AppendKey(key, t.Key, n, e.Before, e.After)
		if old := key[now:]; string(old) != string(key[:now]) {
			r.note(old, rowVersion{version: v, state: deletedRow})
		}
		key = key[:now]
	}
	state := byte(wholeRow)
	if !t.whole(e) {
		state = partialRow
	}
	r.note(key, rowVersion{version: v, state: state, fresh: e.Op == entrain.OpInsert})
	return key
}

// whole reports whether a change has all columns that the target takes, or the old
// image has what it leaves out.
func (t *targetTable) whole(e *entrain.Event) bool {
	for i := range t.columns {
		if e.After.State(i) == entrain.Unchanged && !t.columns[i].omit &&
			(len(e.Before) == 0 || e.Before.State(i) == entrain.Unchanged) {
			return false
		}
	}
	return true
}

// emptied notes a truncate: whatever the tables had is older than that.
func (g *gate) emptied(ctx context.Context, tables []*entrain.Table, v versiongate.Version) error {
	names := make([]string, len(tables))
	for i, table := range tables {
		t := g.w.catalog.table(table)
		names[i] = table.String()
		g.rowsOf(t).reset()
		if err := g.run(ctx, versiongate.ForgetSQL, append([]string{relationText(t)}, texts(v)...)...); err != nil {
			return fmt.Errorf("forget the versions of table %s: %w", table, err)
		}
	}
	return g.raise(ctx, names, v)
}

const (
	oidChar         = 18
	oidCharArray    = 1002
	oidInt8Array    = 1016
	oidOID          = 26
	oidInt4         = 23
	versionsAtATime = 50_000
	// copiedVersions is from how many on versions of new rows are stored by COPY.
	copiedVersions = 32
)

var recordTypes = []uint32{oidOID, oidInt4, oidTextArray, oidInt8Array, oidInt8Array, oidCharArray}

// store writes what is noted of a table, in the order of the keys, as their index has
// them.
func (g *gate) store(ctx context.Context, r *rowVersions) error {
	slices.SortFunc(r.list, func(a, b rowVersion) int {
		switch {
		case a.fresh == b.fresh:
			return cmp.Or(cmp.Compare(a.version.Era, b.version.Era), strings.Compare(a.key, b.key))
		case a.fresh:
			return -1
		}
		return 1
	})
	fresh := 0
	for fresh < len(r.list) && r.list[fresh].fresh {
		fresh++
	}
	rest := r.list
	if fresh >= copiedVersions && r.met == 0 {
		err := g.w.attempt(ctx, func() error { return g.copyVersions(ctx, r.table, r.list[:fresh]) })
		switch {
		case err == nil:
			rest = r.list[fresh:]
		case dial.SQLState(err) == stateUnique:
			r.met = copyAgain
		default:
			return fmt.Errorf("note the versions of %d new rows of %s: %w", fresh, r.table.Table, err)
		}
	} else if r.met > 0 {
		r.met--
	}
	for len(rest) > 0 {
		n := 1
		for n < len(rest) && n < versionsAtATime && rest[n].version.Era == rest[0].version.Era {
			n++
		}
		if err := g.mergeVersions(ctx, r.table, rest[:n]); err != nil {
			return fmt.Errorf("note the versions of %d rows of %s: %w", n, r.table.Table, err)
		}
		rest = rest[n:]
	}
	return nil
}

// copyVersions stores versions of rows that have none.
func (g *gate) copyVersions(ctx context.Context, t *targetTable, list []rowVersion) error {
	b := append(g.buf[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for i := range list {
		row := &list[i]
		b = binary.BigEndian.AppendUint16(b, 6) // columns
		b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), row.version.Number)
		b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), row.version.Ordinal)
		b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), t.Relation)
		b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(row.version.Era))
		b = append(b, 0, 0, 0, 1, row.state)
		b = binary.BigEndian.AppendUint32(b, uint32(len(row.key)))
		b = append(b, row.key...)
	}
	b = binary.BigEndian.AppendUint16(b, 0xffff)
	g.buf = b
	tag, err := g.w.conn.CopyFrom(ctx, bytes.NewReader(b), versiongate.CopySQL)
	if err != nil {
		return err
	}
	return checkCopied(tag, int64(len(list)))
}

// mergeVersions stores versions of one era.
func (g *gate) mergeVersions(ctx context.Context, t *targetTable, list []rowVersion) error {
	keys, numbers := openArray(oidText, len(list)), openArray(oidInt8, len(list))
	ordinals, states := openArray(oidInt8, len(list)), openArray(oidChar, len(list))
	for i := range list {
		row := &list[i]
		keys = binary.BigEndian.AppendUint32(keys, uint32(len(row.key)))
		keys = append(keys, row.key...)
		numbers = binary.BigEndian.AppendUint32(numbers, 8)
		numbers = binary.BigEndian.AppendUint64(numbers, row.version.Number)
		ordinals = binary.BigEndian.AppendUint32(ordinals, 8)
		ordinals = binary.BigEndian.AppendUint64(ordinals, row.version.Ordinal)
		states = binary.BigEndian.AppendUint32(states, 1)
		states = append(states, row.state)
	}
	w := g.w
	st := w.stmts.get(statementKey{form: "row versions"}, func() *statement {
		return &statement{sql: versiongate.RecordSQL, oids: recordTypes}
	})
	f := takeOff(ctx, w.conn, w.stmts, w.exec.sent)
	f.add(call{st: st, values: [][]byte{[]byte(relationText(t)), strconv.AppendInt(nil, int64(list[0].version.Era), 10), keys, numbers, ordinals, states},
		formats: []int16{0, 0, formatBinary, formatBinary, formatBinary, formatBinary}})
	_, err := f.land(ignoreRows)
	w.exec.sent = f.sent
	return err
}

// openArray begins an array of n elements in binary form.
func openArray(element uint32, n int) []byte {
	b := make([]byte, 0, arrayHeader+n*16)
	b = binary.BigEndian.AppendUint32(b, 1) // dimensions
	b = binary.BigEndian.AppendUint32(b, 0) // no NULL
	b = binary.BigEndian.AppendUint32(b, element)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return binary.BigEndian.AppendUint32(b, 1) // the first index
}
