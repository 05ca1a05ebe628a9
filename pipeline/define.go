package pipeline

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// define makes the tables at the sink that a durable stream's definitions are
// about, and takes these events out of the batch. What was read before is in order
// with it only by the sink's own means: a definition stands in front of the first
// row of its table, outside of any transaction with rows.
func (s *session) define(ctx context.Context, b *entrain.Batch) error {
	kept := b.Events[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if e.Op != entrain.OpSchema || e.Schema.Make == nil {
			kept = append(kept, *e)
			continue
		}
		b.Filtered++
		maker, ok := s.p.opt.Sink.(entrain.TableMaker)
		if !ok {
			continue
		}
		t := entrain.ChunkTable{Table: e.Table, Rows: -1, Definition: e.Schema.Make}
		if t.Definition.Dialect == "" {
			t.Definition = nil // the capture knows none
		}
		if err := maker.MakeTable(ctx, t); err != nil {
			return fmt.Errorf("make table %s: %w", e.Table, err)
		}
	}
	b.Events = kept
	return nil
}

// defines reports whether any event is a definition.
func defines(events []entrain.Event) bool {
	for i := range events {
		if e := &events[i]; e.Op == entrain.OpSchema && e.Schema.Make != nil {
			return true
		}
	}
	return false
}
