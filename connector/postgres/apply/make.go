package apply

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// MakeTable makes a table that is copied while the stream flows; see
// [entrain.TableMaker]. Indexes and references are there from the beginning: what
// comes in chunks comes beside changes, which need them.
func (s *Sink) MakeTable(ctx context.Context, t entrain.ChunkTable) error {
	by, ok := s.lease.get()
	if !ok {
		return errNoHolder
	}
	x, err := s.openLoad(ctx, by)
	if err != nil {
		return err
	}
	defer dial.Close(ctx, x.conn)
	err = x.transact(ctx, x.holder(), func() error { return x.explain(ctx, x.makeWhole(ctx, t), t.Table) })
	if err != nil {
		return fmt.Errorf("make table %s: %w", t.Table, err)
	}
	return nil
}

// makeWhole makes what is missing; where tables are not to be made it only says
// so.
func (x *loadSession) makeWhole(ctx context.Context, t entrain.ChunkTable) error {
	from := entrain.SnapshotTable{Table: t.Table, Definition: t.Definition}
	_, made, err := x.findTable(ctx, from)
	if err != nil || made == madeByOthers {
		return err
	}
	if err := x.define(ctx, t.Table, t.Definition.After); err != nil {
		return err
	}
	return x.referTable(ctx, from)
}
