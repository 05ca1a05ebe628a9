package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// discover looks, once a run and where the sink meets one that it lacks, for tables that the source captures and that the
// first copy did not know, and has them copied: they came into the publication
// while nobody looked.
func (p *Pipeline) discover(ctx context.Context) error {
	t := p.tables
	store, keeps := p.opt.Store.(LedgerStore)
	_, chunks := p.opt.Source.(entrain.Chunker)
	mode := p.opt.Snapshot.Mode
	copies := mode == SnapshotInitial || mode == SnapshotWhenNeeded
	if !copies || !keeps || !chunks || t.store == nil || t.discovered {
		return nil
	}
	ledger, err := store.LoadLedger(ctx)
	if err != nil || !ledger.Complete || len(ledger.Tables) == 0 {
		return err
	}
	listed, err := p.listTables(ctx)
	if err != nil {
		// A source that cannot be read beside its stream (a standby) has streamed
		// all the same.
		p.log.Warn("could not look for tables whose rows are not copied", "error", err)
		t.discovered = !entrain.IsRetryable(err)
		return nil
	}
	for i := range listed {
		if err := p.meet(ctx, &listed[i], ledger, listed); err != nil {
			return err
		}
	}
	if err := t.miss(ctx, ledger, listed); err != nil {
		return err
	}
	t.discovered = true
	return nil
}

// codeTableMissing is the stop of a sink that lacks a table.
const codeTableMissing = "table_missing"

// meetsNew reports whether a session ended by a table that the sink lacks since the
// source made it meanwhile: the next session looks for such tables, and has the sink
// make them if it may. That is tried once a table.
func (p *Pipeline) meetsNew(ctx context.Context, cause error) bool {
	var stop *entrain.Stop
	if _, makes := p.opt.Sink.(entrain.TableMaker); !makes || !errors.As(cause, &stop) || stop.Code != codeTableMissing || stop.Table == nil {
		return false
	}
	t := p.tables
	t.mu.Lock()
	name := t.sourceOf(stop.Table)
	known := t.met[name] || t.lives[name] != nil
	t.mu.Unlock()
	if had, err := p.hadRows(ctx, name); known || had || err != nil || !t.discovered {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.met[name] = true
	t.discovered = false
	return true
}

// located says where the stream stands in a stop about a table that the sink lacks.
func located(err error, from entrain.Position) error {
	var stop *entrain.Stop
	if errors.As(err, &stop) && stop.Code == codeTableMissing && !from.IsZero() {
		stop.What += fmt.Sprintf("; its changes follow after position %s", from)
	}
	return err
}

// miss pauses the tables that have their rows and are not captured now: should they
// be once more, their changes from until then are missing.
func (t *tables) miss(ctx context.Context, ledger Ledger, listed []entrain.ChunkTable) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	missed := false
	for _, c := range ledger.Tables {
		name := tableName{c.Schema, c.Name}
		if t.lives[name] != nil || findTable(listed, c.Schema, c.Name) != nil {
			continue
		}
		t.lives[name] = &life{TableLife: TableLife{Schema: c.Schema, Name: c.Name, State: TablePaused, Since: time.Now()}}
		t.p.log.Warn("a table is not captured any more: should it be once more, it has to be resumed",
			"table", c.Schema+"."+c.Name, "next", "entrain table resume FILE "+c.Schema+"."+c.Name)
		missed = true
	}
	if !missed {
		return nil
	}
	return t.save(ctx, nil)
}

// meet has a table copied that nothing is known of.
func (p *Pipeline) meet(ctx context.Context, found *entrain.ChunkTable, ledger Ledger, listed []entrain.ChunkTable) error {
	table := found.Table
	name := tableName{table.Schema, table.Name}
	wants := p.opt.Snapshot.Wants
	if ledger.has(table) || wants != nil && !wants(name.schema, name.name) || p.tables.knows(name) {
		return nil
	}
	if found.Refused != "" {
		p.log.Warn("the rows that a table had before it was captured are not copied", "table", table.String(), "reason", found.Refused)
		return nil
	}
	if err := p.makeTable(ctx, found); err != nil {
		return err
	}
	err := p.tables.order(ctx, Order{Do: OrderAdd}, name, listed)
	var stop *entrain.Stop
	if errors.As(err, &stop) && stop.Code == codeTableState {
		return nil // somebody was faster
	}
	return err
}

func (t *tables) knows(name tableName) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lives[name] != nil
}
