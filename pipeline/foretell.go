package pipeline

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// foretell tells a writer that asks for it which changes of shapes are
// remembered, as the pipeline's rules make them.
func (p *Pipeline) foretell(ctx context.Context, w entrain.Writer) error {
	writer, ok := w.(entrain.Foreseer)
	if !ok {
		return nil
	}
	p.shapes.mu.Lock()
	err := p.loadShapes(ctx)
	p.shapes.mu.Unlock()
	if err != nil {
		return fmt.Errorf("schemas: %w", err)
	}
	var all []entrain.Event
	for _, h := range p.Schemas() {
		for i, s := range h.Shapes {
			change := h.Change(i)
			if change == nil {
				continue
			}
			tx := &entrain.Transaction{Stream: &entrain.Stream{Incarnation: s.Begins.Incarnation}, Version: s.Begins.Version, CommitTime: s.Time}
			all = append(all, p.ruled(entrain.Event{Op: entrain.OpSchema, Ordinal: entrain.SchemaOrdinal(s.Begins.Ordinal, 0),
				Table: h.Table(i), Tx: tx, Schema: change})...)
		}
	}
	writer.Foresee(all)
	return nil
}

// ruled is what the rules make of an event. Rules that do not fit its shape, as
// they may be for another one now, leave nothing of it.
func (p *Pipeline) ruled(e entrain.Event) []entrain.Event {
	b, err := p.transform(&entrain.Batch{Events: []entrain.Event{e}})
	if err != nil {
		return nil
	}
	defer free(b)
	return append([]entrain.Event(nil), b.Events...)
}
