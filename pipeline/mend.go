package pipeline

import (
	"context"
	"time"

	"github.com/entrainsync/entrain"
)

// meetsShape takes the change of a table's shape, which the sink gets whatever the
// state of the table, unless it has no such table yet.
func (t *tables) meetsShape(e *entrain.Event) (bool, error) {
	l := t.lives[tableName{e.Table.Schema, e.Table.Name}]
	switch {
	case l == nil && e.Schema.Resync != "":
		return true, t.mend(remade{e.Table, e.Schema.Resync})
	case l == nil:
		return true, nil
	case l.unmade:
		return false, nil
	case l.copy != nil && (l.Anew || e.Schema.Resync != "") && e.Table.Version != l.copy.Table().Version:
		if err := t.reshaped(l, e.Table); err != nil {
			return true, t.unfit(l, err)
		}
	}
	return true, nil
}

// mend has the rows of a table delivered once more that have changed without a
// word in the log, such as by a default that is another one for each row; mu is
// held.
func (t *tables) mend(r remade) error {
	name := r.table.String()
	_, reads := t.p.opt.Source.(entrain.Chunker)
	if t.store == nil || !reads {
		t.p.log.Warn("rows of a table have values that the log does not tell", "table", name, "reason", r.reason)
		return nil
	}
	l := &life{TableLife: TableLife{Schema: r.table.Schema, Name: r.table.Name, State: TableStreaming}}
	if err := l.obey(Order{Do: OrderRefresh}, time.Now()); err != nil {
		return err
	}
	if err := t.renew(l, r.table); err != nil {
		t.p.log.Warn("rows of a table have values that the log does not tell, and cannot be read by key", "table", name,
			"reason", r.reason, "error", err)
		return nil
	}
	t.lives[tableName{r.table.Schema, r.table.Name}] = l
	t.p.log.Info("the rows of a table are delivered once more", "table", name, "reason", r.reason)
	t.owed = true
	return nil
}

// remade has the rows of a table delivered once more that looks as it did and is
// another; one that is being copied begins anew.
func (t *tables) remade(ctx context.Context, r remade) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lives[tableName{r.table.Schema, r.table.Name}]
	var err error
	switch {
	case l == nil:
		err = t.mend(r)
	case l.reads() && l.copy != nil:
		err = t.reshaped(l, r.table)
	}
	if err != nil || !t.owed {
		return err
	}
	return t.save(ctx, nil)
}
