package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// MakesTables reports whether tables that are missing are made (create_tables).
func (s *Sink) MakesTables() bool { return s.cfg.CreateTables }

// MakeTable makes a table that is copied while the stream flows; see
// [entrain.TableMaker]. Indexes and references are there from the beginning: what
// comes in chunks comes beside changes, which need them.
func (s *Sink) MakeTable(ctx context.Context, t entrain.ChunkTable) error {
	err := s.asHolder(ctx, func(x *loadSession) error {
		by := x.holder()
		return x.transact(ctx, by, func() error {
			// The writer's transactions lock this row first: waiting for them here, while
			// nothing else is locked, is no deadlock with a table that both need.
			if _, err := x.ask(ctx, by.sql+" FOR SHARE", by.args...); err != nil {
				return fmt.Errorf("hold the position row: %w", err)
			}
			return x.explain(ctx, x.makeWhole(ctx, t), t.Table)
		})
	})
	if err != nil {
		return fmt.Errorf("make table %s: %w", t.Table, err)
	}
	return nil
}

// makeWhole makes what is missing; where tables are not to be made it only says
// so. A table that a copy has made, and left without its indexes, gets them, too.
func (x *loadSession) makeWhole(ctx context.Context, t entrain.ChunkTable) error {
	from := entrain.SnapshotTable{Table: t.Table, Definition: t.Definition}
	_, made, err := x.findTable(ctx, from)
	if err == nil && made == madeByOthers {
		made, err = x.madeHalf(ctx, t.Table)
	}
	if err != nil || made == madeByOthers || t.Definition == nil {
		return err
	}
	if err := x.define(ctx, t.Table, slices.Concat(t.Definition.Indexes, t.Definition.After)); err != nil {
		return err
	}
	return x.referTable(ctx, from)
}

// madeHalf reports whether it was an unfinished load of ours that made a table.
func (x *loadSession) madeHalf(ctx context.Context, t *entrain.Table) (tableMaker, error) {
	found, err := x.ask(ctx, readsLoadsSQL)
	if err == nil && found != nil {
		found, err = x.ask(ctx, madeHalfSQL, x.cfg.Pipeline, t.Schema, t.Name)
	}
	if err != nil {
		return madeByOthers, fmt.Errorf("look for an earlier load: %w", err)
	}
	return tableMaker(found != nil), nil
}
