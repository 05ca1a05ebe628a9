package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/entrainsync/entrain"
)

// addTable makes the source capture a table, and the sink have it. That its rows
// are to be copied is written down first: whatever comes of it meets a sink that
// knows.
func (p *Pipeline) addTable(ctx context.Context, name tableName) error {
	t := p.tables
	adder, ok := p.opt.Source.(entrain.TableAdder)
	if !ok {
		return errors.New("this kind of source captures a fixed set of tables")
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	listed, err := p.listTables(ctx)
	if err != nil {
		return err
	}
	had, err := p.hadRows(ctx, name)
	captured := findTable(listed, name.schema, name.name)
	switch {
	case err != nil:
		return err
	case captured != nil && (had || t.knows(name)):
		return stopCaptured(name)
	case captured != nil && captured.Refused != "":
		return stopUnreadable(name, captured)
	}
	l := &life{TableLife: TableLife{Schema: name.schema, Name: name.name, State: TableStreaming}, unmade: captured == nil}
	as := TableNew
	if had {
		as = TableResyncing // the sink may have rows that are gone at the source
	}
	before, err := t.expect(ctx, l, as)
	if err != nil {
		return err
	}
	if err := adder.AddTable(ctx, name.schema, name.name); err != nil {
		return errors.Join(err, t.revert(ctx, name, before))
	}
	defer t.reopen()
	if listed, err = p.listTables(ctx); err != nil {
		return err
	}
	found := findTable(listed, name.schema, name.name)
	if found == nil || found.Refused != "" {
		return errors.Join(stopUnreadable(name, found), t.pauseNew(ctx, name))
	}
	if err := p.makeTable(ctx, found); err != nil {
		return errors.Join(err, t.pauseNew(ctx, name))
	}
	return nil
}

// expect notes that a table is about to be captured, and returns what was known of it
// before: of one that was captured once the sink may have rows that are gone at the
// source.
func (t *tables) expect(ctx context.Context, l *life, as TableState) (before *life, err error) {
	name := tableName{l.Schema, l.Name}
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.lives[name]
	if before != nil && !before.silent() {
		return nil, before.stopState(OrderAdd)
	}
	if before != nil {
		as = TableResyncing
	}
	if err := l.start(as, time.Now()); err != nil {
		return nil, err
	}
	t.put(name, l)
	if err := t.save(ctx, nil); err != nil {
		t.put(name, before)
		return nil, err
	}
	return before, nil
}

// put makes l what is known of a table, nothing if it is nil; mu is held.
func (t *tables) put(name tableName, l *life) {
	if t.lives[name] = l; l == nil {
		delete(t.lives, name)
	}
	t.signal()
}

// revert makes what was known of a table before known again.
func (t *tables) revert(ctx context.Context, name tableName, before *life) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(name, before)
	return t.save(ctx, nil)
}

// pauseNew leaves a table's changes out that cannot be delivered yet: once that is
// mended, the table is resumed.
func (t *tables) pauseNew(ctx context.Context, name tableName) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lives[name]
	if l == nil {
		return nil
	}
	if err := l.cancel(time.Now()); err != nil {
		return err
	}
	return t.save(ctx, nil)
}

// hadRows reports whether the sink was once given the table's rows.
func (p *Pipeline) hadRows(ctx context.Context, name tableName) (bool, error) {
	store, keeps := p.opt.Store.(LedgerStore)
	if !keeps {
		return false, nil
	}
	ledger, err := store.LoadLedger(ctx)
	return ledger.find(name.schema, name.name) != nil, err
}
