package pipeline

import (
	"context"
	"errors"

	"github.com/entrainsync/entrain"
)

// discover looks, once a run, for tables that the source captures and that the
// first copy did not know, and has them copied: they came into the publication
// while nobody looked.
func (p *Pipeline) discover(ctx context.Context) error {
	t := p.tables
	store, keeps := p.opt.Store.(LedgerStore)
	mode := p.opt.Snapshot.Mode
	if mode != SnapshotInitial && mode != SnapshotWhenNeeded || !keeps || t.discovered {
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
	t.discovered = true
	return nil
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
