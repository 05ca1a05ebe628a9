package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// lackingPatience bounds how long a capture is asked about a table: it may wait for
// room in the stream, and the stop that names the table must not wait for that.
const lackingPatience = 10 * time.Second

// Definition is how the source has a table, t, which is as the rules of the pipeline
// have it. Nil: the source has none, or how it is made is not known. It may be called
// while Run works, from any goroutine.
func (p *Pipeline) Definition(ctx context.Context, t *entrain.Table) (*entrain.ChunkTable, error) {
	listed, err := p.listTables(ctx)
	if err != nil {
		return nil, err
	}
	for i := range listed {
		found := &listed[i]
		to, err := p.tables.shapeFor(found.Table)
		if err != nil || to.Schema != t.Schema || to.Name != t.Name {
			continue // another one, or one that the rules leave out
		}
		if to != found.Table || found.Definition == nil {
			return nil, nil
		}
		return found, nil
	}
	return nil, nil
}

// Refresh is [OrderRefresh] for a table of the source's, and that its rows are being read
// already is no error. It may be called while Run works, from any goroutine.
func (p *Pipeline) Refresh(ctx context.Context, t *entrain.Table) error {
	name := t.Schema + "." + t.Name
	err := p.Do(ctx, Order{Do: OrderRefresh, Table: name})
	if err != nil && !p.refreshes(ctx, name) {
		return fmt.Errorf("have the rows of table %s delivered once more: %w", name, err)
	}
	return nil
}

// refreshes reports whether the rows of a table are being read.
func (p *Pipeline) refreshes(ctx context.Context, name string) bool {
	states, err := p.Tables(ctx)
	for _, st := range states {
		if err == nil && st.Table == name {
			return (st.State == TableCopying || st.State == TableNew) && !st.Held
		}
	}
	return false
}

// lacks reports whether a session ended by a table that the sink lacks and that the
// next one is to make. That is tried once a table and run; for Run's goroutine.
func (p *Pipeline) lacks(cause error) bool {
	var stop *entrain.Stop
	if p.opt.Lacking == nil || !errors.As(cause, &stop) || stop.Code != codeTableMissing || stop.Table == nil {
		return false
	}
	p.tables.mu.Lock()
	defer p.tables.mu.Unlock()
	name := tableName{stop.Table.Schema, stop.Table.Name}
	if p.tables.met[name] {
		return false
	}
	p.tables.met[name] = true
	p.lacking = stop
	return true
}

// makeLacking makes the table that the last session lacked. If it cannot be made, the
// table is missed again, and that is the stop.
func (p *Pipeline) makeLacking(ctx context.Context) error {
	missing := p.lacking
	p.lacking = nil
	maker, makes := p.opt.Sink.(entrain.TableMaker)
	if missing == nil || !makes {
		return nil
	}
	asking, stop := context.WithTimeout(ctx, lackingPatience)
	found, err := p.opt.Lacking(asking, missing)
	stop()
	if err != nil || found == nil {
		p.log.Warn("a table that the sink lacks cannot be made", "table", missing.Table.String(), "error", err)
		return ctx.Err()
	}
	if err := maker.MakeTable(ctx, *found); err != nil {
		return err
	}
	p.log.Info("made a table that the sink lacked; its rows are delivered once more", "table", missing.Table.String())
	return nil
}
