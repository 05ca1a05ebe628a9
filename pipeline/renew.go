package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/entrainsync/entrain"
)

// renew begins a new history with the source, where the snapshot mode allows it and
// the error says that the old one is lost. The next session opens it, and copies
// every table anew.
func (p *Pipeline) renew(ctx context.Context, cause error) bool {
	var stop *entrain.Stop
	if p.opt.Snapshot.Mode != SnapshotWhenNeeded || !errors.As(cause, &stop) || !stop.Lost || p.tables.store == nil {
		return false
	}
	renewer, ok := p.opt.Source.(entrain.Renewer)
	if !ok || p.renews {
		return false // it has just been tried
	}
	listed, err := p.listTables(ctx)
	for i := range listed {
		if err == nil && listed[i].Refused != "" {
			err = stopUnreadable(tableName{listed[i].Table.Schema, listed[i].Table.Name}, &listed[i])
		}
	}
	if err != nil {
		p.log.Error("the source has lost the position, and not all tables can be copied anew", "error", err)
		return false
	}
	p.log.Warn("the source has lost the position: all tables are copied anew", "error", cause)
	if err := renewer.Renew(ctx); err != nil {
		p.log.Error("no new history can be begun at the source", "error", err)
		return false
	}
	p.renews = true
	return true
}

// renewTables has every table copied anew, before the first event of the new
// history.
func (p *Pipeline) renewTables(ctx context.Context) error {
	listed, err := p.listTables(ctx)
	if err != nil {
		return fmt.Errorf("copy all tables anew: %w", err)
	}
	t := p.tables
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.lives, func(_ tableName, l *life) bool { return !l.silent() })
	for i := range listed {
		table := listed[i].Table
		if listed[i].Refused != "" {
			return stopUnreadable(tableName{table.Schema, table.Name}, &listed[i])
		}
		l := &life{TableLife: TableLife{Schema: table.Schema, Name: table.Name, State: TableStreaming}}
		if err := l.start(TableResyncing, time.Now()); err != nil {
			return err
		}
		to, err := t.shapeFor(table)
		if err != nil {
			return err
		}
		l.sink = tableName{to.Schema, to.Name}
		t.choose(l, &listed[i])
		if err := t.renew(l, table); err != nil {
			return err
		}
		t.lives[tableName{table.Schema, table.Name}] = l
	}
	if err := t.save(ctx, nil); err != nil {
		return err
	}
	p.renews = false
	return nil
}
