package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

// uncaptured is the end of copying a table that the source does not capture (any
// more). What the sink has of it stays.
func (t *tables) uncaptured(ctx context.Context, l *life) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := tableName{l.Schema, l.Name}
	if t.lives[name] != l || !l.reads() {
		return nil // it was ordered so meanwhile
	}
	text := l.Schema + "." + l.Name
	t.p.log.Warn("a table was to be copied, but the source does not capture it", "table", text, "next", "entrain table add FILE "+text)
	if l.State == TableNew || l.Refresh {
		t.put(name, nil)
	} else if err := l.cancel(time.Now()); err != nil {
		return err
	}
	return t.save(ctx, nil)
}

// stopCopy is the stop for a table whose rows are being copied and cannot be, as the
// source has it now.
func stopCopy(table *entrain.Table, cause error) error {
	return &entrain.Stop{
		Code: "table_unreadable",
		What: fmt.Sprintf("the rows of table %s cannot be copied while the stream flows: %v", table, cause),
		Why:  "they are copied in the order of a key",
		Next: "give the table a key again at the source (ALTER TABLE … REPLICA IDENTITY DEFAULT), then: entrain run FILE\n" +
			"or leave it out until then: on_table_error: resync in FILE, then: entrain run FILE",
		Table: table,
		Err:   cause,
	}
}

// failed marks a table; mu is held.
func (t *tables) failed(ctx context.Context, l *life, cause error) error {
	name := l.Schema + "." + l.Name
	if err := l.become(TableFailed, time.Now()); err != nil {
		return err
	}
	l.Reason, l.Copy, l.Anew, l.Held = cause.Error(), backfill.Progress{}, false, false
	var stop *entrain.Stop
	if errors.As(cause, &stop) {
		l.Code = stop.Code
	}
	l.leave()
	t.lives[tableName{l.Schema, l.Name}] = l
	t.p.log.Error("table failed, its changes are left out from now on", "table", name, "error", cause,
		"next", "entrain table resync FILE "+name)
	return t.save(ctx, nil)
}

// survive reports whether the pipeline goes on without the table that an error is
// about, which has failed by it.
func (t *tables) survive(ctx context.Context, cause error) bool {
	var stop *entrain.Stop
	if t.store == nil || !errors.As(cause, &stop) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if stop.Code == codeShadowLost && stop.Table != nil {
		return t.redo(ctx, stop)
	}
	if t.p.opt.OnTableError != TableErrorResync || stop.Table == nil {
		return false
	}
	name := t.sourceOf(stop.Table)
	l := t.lives[name]
	if l == nil {
		l = &life{TableLife: TableLife{Schema: name.schema, Name: name.name, State: TableStreaming}}
	}
	if l.silent() {
		return false // leaving it out did not help
	}
	return t.failed(ctx, l, cause) == nil
}

// codeShadowLost is the stop of a sink that has no double of a table any more: it
// has put it in the table's place just before a crash, or was restored.
const codeShadowLost = "shadow_lost"

// redo begins a resync from its first row; mu is held.
func (t *tables) redo(ctx context.Context, stop *entrain.Stop) bool {
	l := t.lives[t.sourceOf(stop.Table)]
	if l == nil || !l.Anew {
		return false
	}
	l.Copy = backfill.Progress{}
	l.leave()
	t.p.log.Warn("the sink has lost the double of a table: its rows are read again", "table", l.Schema+"."+l.Name)
	if err := t.save(ctx, nil); err != nil {
		t.p.log.Warn("will be written down later", "error", err) // the next failure leads here again
	}
	return true
}

// sourceOf is the source's name of a table of the sink; mu is held. A table that is
// made anew shares the sink's with no other. Of one that is copied no event may have
// come yet.
func (t *tables) sourceOf(table *entrain.Table) tableName {
	to := tableName{table.Schema, table.Name}
	from, seen := t.sources[to]
	for _, l := range t.sorted() {
		if l.sink == to && (l.Anew || !seen && l.reads()) {
			return tableName{l.Schema, l.Name}
		}
	}
	if seen {
		return from
	}
	return to
}

// again begins the copying of a table once more, of which the stream has other rows
// now.
func (t *tables) again(ctx context.Context, what task, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := what.life
	if l.copy != what.copy {
		return nil // it was ordered elsewhere meanwhile
	}
	t.p.log.Warn("a table is copied from its beginning once more", "table", what.query.Table.String(), "reason", cause)
	l.Copy, l.begun = backfill.Progress{}, false
	if err := t.renew(l, l.copy.Table()); err != nil {
		return err
	}
	return t.save(ctx, nil)
}

// refused is the end of a copying that the source refuses: of the table, unless the
// sink has its rows already. By default a table's end is the pipeline's, too.
func (t *tables) refused(ctx context.Context, what task, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := what.life
	switch {
	case l.copy != what.copy || !l.reads():
		return nil // it was ordered elsewhere meanwhile
	case l.Refresh:
		t.quit(l, cause)
		return t.save(ctx, nil)
	case t.p.opt.OnTableError != TableErrorResync:
		return fmt.Errorf("table %s.%s: %w", l.Schema, l.Name, cause)
	}
	return t.failed(ctx, l, cause)
}

// quit ends a refresh that cannot go on: the table streams as before; mu is held.
func (t *tables) quit(l *life, cause error) {
	t.p.log.Error("the rows of a table are not delivered once more", "table", l.Schema+"."+l.Name, "error", cause)
	delete(t.lives, tableName{l.Schema, l.Name})
	l.copy = nil
	t.owed = true
	t.signal()
}

// unhanded is what becomes of rows that the pipeline's rules do not take. A refresh is given
// up, and the session begins anew: what was to come behind them is on no way any more.
func (t *tables) unhanded(ctx context.Context, f *flight, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := f.life
	if l == nil || !l.Refresh || errors.Is(cause, errDraining) || entrain.IsRetryable(cause) || ctx.Err() != nil {
		return cause
	}
	if t.lives[tableName{l.Schema, l.Name}] == l { // else it was ordered elsewhere meanwhile
		t.quit(l, cause)
	}
	if err := t.save(ctx, nil); err != nil {
		return errors.Join(err, cause)
	}
	return errReopen
}

// unfit is what becomes of a table whose copy does not take what the stream shows; mu
// is held.
func (t *tables) unfit(l *life, stop error) error {
	if !l.Refresh {
		return stop
	}
	t.quit(l, stop)
	return nil
}
