package apply

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

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

// rowVersions are what is noted of rows of one table that were changed in order, as a COPY
// in binary form takes it. A row can be there several times: the newest counts.
type rowVersions struct {
	table *targetTable
	buf   []byte
	rows  int64
}

func (r *rowVersions) note(key []byte, v versiongate.Version, state byte) {
	b := r.buf
	b = binary.BigEndian.AppendUint16(b, 6) // columns
	b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), v.Number)
	b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), v.Ordinal)
	b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), r.table.Relation)
	b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(v.Era))
	b = append(b, 0, 0, 0, 1, state)
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	r.buf = append(b, key...)
	r.rows++
}

func (r *rowVersions) reset() {
	r.buf = append(r.buf[:0], copyHeader...)
	r.rows = 0
}

// rowsOf returns what is noted of a table.
func (g *gate) rowsOf(t *targetTable) *rowVersions {
	r := g.rows[t.Relation]
	if r == nil {
		r = &rowVersions{}
		r.reset()
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
		if r.rows == 0 {
			continue
		}
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
		r.note(key, v, deletedRow)
		return key
	}
	key = versiongate.AppendKey(key[:0], t.Key, n, e.After, e.Before)
	if len(e.Before) > 0 {
		now := len(key)
		key = versiongate.AppendKey(key, t.Key, n, e.Before, e.After)
		if old := key[now:]; string(old) != string(key[:now]) {
			r.note(old, v, deletedRow)
		}
		key = key[:now]
	}
	state := byte(wholeRow)
	if !t.whole(e) {
		state = partialRow
	}
	r.note(key, v, state)
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
	// quietBatch is up to how many events a batch has when the stream is quiet enough to
	// take mergeQuiet versions over from the journal.
	quietBatch = 64
	mergeQuiet = 500
	// journalBound is how many versions may wait. Above it every batch takes over twice as
	// many as it adds.
	journalBound = 5_000_000
)

// store adds what is noted of a table to the journal.
func (g *gate) store(ctx context.Context, r *rowVersions) error {
	r.buf = binary.BigEndian.AppendUint16(r.buf, 0xffff)
	tag, err := g.w.conn.CopyFrom(ctx, bytes.NewReader(r.buf), versiongate.NoteSQL)
	if err == nil {
		err = checkCopied(tag, r.rows)
	}
	if err != nil {
		return fmt.Errorf("note the versions of %d rows of %s: %w", r.rows, r.table.Table, err)
	}
	g.waiting += r.rows
	return nil
}

// merge takes up to most versions over from the journal, those of other deliveries too.
func (g *gate) merge(ctx context.Context, most int64) error {
	row, err := dial.QueryRow(ctx, g.w.conn, versiongate.MergeSQL, strconv.FormatInt(most, 10))
	if err != nil {
		return fmt.Errorf("take over noted versions of rows: %w", err)
	}
	n, err := strconv.ParseInt(row[0], 10, 64)
	g.waiting = max(0, g.waiting-n)
	if n < most {
		g.waiting = 0
	}
	return err
}

// mergeSome takes over some versions behind a batch, if it is small or too many wait.
func (g *gate) mergeSome(ctx context.Context, events int) error {
	switch {
	case g.waiting > g.bound:
		return g.merge(ctx, int64(2*events+mergeQuiet))
	case g.waiting > 0 && events <= quietBatch:
		return g.merge(ctx, mergeQuiet)
	}
	return nil
}
