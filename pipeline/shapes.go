package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/entrainsync/entrain"
)

// shapes keeps the histories of all tables, in the store if that can. mu is held
// while they are saved: nobody else waits for it but who wants to see them.
type shapes struct {
	mu     sync.Mutex
	loaded bool
	tables map[tableName]*SchemaHistory
}

// Schemas returns the histories of the shapes that tables had, by name. It may be
// called from any goroutine; before Run it returns nothing.
func (p *Pipeline) Schemas() []SchemaHistory {
	p.shapes.mu.Lock()
	defer p.shapes.mu.Unlock()
	all := make([]SchemaHistory, 0, len(p.shapes.tables))
	for _, h := range p.shapes.tables {
		c := *h
		c.Shapes, c.Told = slices.Clone(h.Shapes), slices.Clone(h.Told)
		all = append(all, c)
	}
	SortSchemas(all)
	return all
}

// SortSchemas sorts histories by the names of their tables.
func SortSchemas(all []SchemaHistory) {
	slices.SortFunc(all, func(a, b SchemaHistory) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
}

// history returns that of a table, which it begins if there is none. The caller
// holds mu.
func (s *shapes) history(schema, name string) *SchemaHistory {
	key := tableName{schema, name}
	h := s.tables[key]
	if h == nil {
		h = &SchemaHistory{Schema: schema, Name: name}
		s.tables[key] = h
	}
	return h
}

// loadShapes reads the histories from the store, once. The caller holds mu.
func (p *Pipeline) loadShapes(ctx context.Context) error {
	s := &p.shapes
	if s.loaded {
		return nil
	}
	s.tables = map[tableName]*SchemaHistory{}
	if store, ok := p.opt.Store.(SchemaStore); ok {
		all, err := store.LoadSchemas(ctx)
		if err != nil {
			return err
		}
		for i := range all {
			s.tables[tableName{all[i].Schema, all[i].Name}] = &all[i]
		}
	}
	s.loaded = true
	return nil
}

// saveShapes writes the histories of some tables. After an error they are read
// anew before their next use. The caller holds mu.
func (p *Pipeline) saveShapes(ctx context.Context, changed map[*SchemaHistory]bool) error {
	store, ok := p.opt.Store.(SchemaStore)
	if !ok || len(changed) == 0 {
		return nil
	}
	var some []SchemaHistory
	for h := range changed {
		some = append(some, *h)
	}
	SortSchemas(some)
	err := store.SaveSchemas(ctx, some)
	p.shapes.loaded = err == nil
	return err
}

// copiedShapes notes the shapes that tables' rows had when they were copied:
// changes since then are told of.
func (p *Pipeline) copiedShapes(ctx context.Context, tables []*entrain.Table, point entrain.SnapshotPoint) error {
	p.shapes.mu.Lock()
	defer p.shapes.mu.Unlock()
	if err := p.loadShapes(ctx); err != nil {
		return err
	}
	changed := map[*SchemaHistory]bool{}
	for _, t := range tables {
		h := p.shapes.history(t.Schema, t.Name)
		i, fresh := h.meet(t, Place{Incarnation: point.Stream.Incarnation, Version: point.Version}, point.Time)
		if !fresh {
			continue
		}
		h.Shapes[i].Known = true
		h.trim()
		changed[h] = true
	}
	return p.saveShapes(ctx, changed)
}

// shapeWatch puts events of changed shapes between those of a session's reader.
// It is for the reading goroutine. What it says about an event does not depend on
// the session, so that an event that comes again has the same before it.
type shapeWatch struct {
	p *Pipeline
	// current has the tables whose shape at this place is known; a pointer that
	// is not there, or that stands for another, is looked up.
	current map[*entrain.Table]*watched
	names   map[tableName]*watched
	// remade are tables whose rows changed without a word, since the last look.
	remade []remade
}

// remade is a table that looks as it did, and why its rows do not.
type remade struct {
	table  *entrain.Table
	reason string
}

// watched is a table and the shape that its last event had.
type watched struct{ table *entrain.Table }

func (p *Pipeline) watchShapes() *shapeWatch {
	return &shapeWatch{p: p, current: map[*entrain.Table]*watched{}, names: map[tableName]*watched{}}
}

// pass adds to the batch what its events say about shapes. The histories are
// saved before anything of the batch can be delivered: an event that the sink has
// is never told of again, one that it may lack is.
func (w *shapeWatch) pass(ctx context.Context, b *entrain.Batch) error {
	if !w.news(b.Events) {
		return nil
	}
	s := &w.p.shapes
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := w.p.loadShapes(ctx); err != nil {
		return fmt.Errorf("schemas: %w", err)
	}
	changed := map[*SchemaHistory]bool{}
	events := make([]entrain.Event, 0, len(b.Events)+1)
	for i := range b.Events {
		e := &b.Events[i]
		if e.Op == entrain.OpSchema && e.Table == nil {
			w.told(e, changed)
			continue
		}
		for n, t := range tablesOf(e) {
			if change := w.change(ctx, seen{e, t, n}, changed); change != nil {
				events = append(events, *change)
				b.Bytes += int(unsafe.Sizeof(*change))
			}
		}
		events = append(events, *e)
	}
	b.Events = events
	if err := w.p.saveShapes(ctx, changed); err != nil {
		return fmt.Errorf("schemas: %w", err)
	}
	return nil
}

// tablesOf are the tables whose shape an event shows.
func tablesOf(e *entrain.Event) []*entrain.Table {
	switch {
	case e.Op == entrain.OpTruncate:
		return e.Truncate.Tables
	case e.Table == nil || e.Op == entrain.OpReadEnd || e.Op == entrain.OpSchema:
		return nil
	}
	return []*entrain.Table{e.Table}
}

// news reports whether any event may say something new about a shape.
func (w *shapeWatch) news(events []entrain.Event) bool {
	var last *entrain.Table
	for i := range events {
		e := &events[i]
		switch {
		case e.Table != nil && e.Table == last:
		case e.Op == entrain.OpTruncate, e.Op == entrain.OpSchema:
			return true
		case e.Table != nil:
			if !w.is(e.Table) {
				return true
			}
			last = e.Table
		}
	}
	return false
}

func (w *shapeWatch) is(t *entrain.Table) bool {
	known := w.current[t]
	return known != nil && known.table == t
}

// told keeps a statement that the source announced.
func (w *shapeWatch) told(e *entrain.Event, changed map[*SchemaHistory]bool) {
	for _, d := range e.Schema.DDL {
		h := w.p.shapes.history(d.Schema, d.Table)
		if !h.tell(d, placeOf(e)) {
			continue
		}
		changed[h] = true
		if name := h.remade(d); name != "" {
			w.remade = append(w.remade, remade{h.Table(len(h.Shapes) - 1), "column " + name + " was dropped and another one of that name added"})
		}
	}
}

// seen is a table that an event shows, the nth of its tables.
type seen struct {
	e     *entrain.Event
	table *entrain.Table
	n     int
}

// change returns the event that is due before e, nil if none is.
func (w *shapeWatch) change(ctx context.Context, s seen, changed map[*SchemaHistory]bool) *entrain.Event {
	if w.is(s.table) {
		return nil
	}
	h := w.p.shapes.history(s.table.Schema, s.table.Name)
	at := placeOf(s.e)
	i, fresh := h.meet(s.table, at, s.e.Tx.CommitTime)
	var out *entrain.Event
	if fresh {
		changed[h] = true
		w.p.describeShape(ctx, h, i)
	}
	if h.due(i, at) {
		change := h.Change(i)
		w.p.logChange(s, change)
		out = &entrain.Event{
			Op: entrain.OpSchema, Ordinal: entrain.SchemaOrdinal(at.Ordinal, s.n), Table: s.table, Tx: s.e.Tx, Schema: change,
		}
	}
	if fresh {
		h.trim()
	}
	w.remember(s.table)
	return out
}

func (w *shapeWatch) remember(t *entrain.Table) {
	name := tableName{t.Schema, t.Name}
	known := w.names[name]
	if known == nil {
		known = &watched{}
		w.names[name] = known
	}
	delete(w.current, known.table)
	known.table = t
	w.current[t] = known
}

// describeWithin bounds a question to the source's catalog.
const describeWithin = 10 * time.Second

// describeShape asks the source about columns of a new shape that no statement
// told of. The catalog may be ahead of the log, so that what it says is believed
// of columns it still has.
func (p *Pipeline) describeShape(ctx context.Context, h *SchemaHistory, i int) {
	change := h.Change(i)
	if change == nil || !slices.ContainsFunc(change.Columns, func(c entrain.ColumnChange) bool {
		return c.Kind == entrain.ColumnAdded && c.Facts == nil
	}) {
		return
	}
	source, ok := p.opt.Source.(entrain.Describer)
	if !ok {
		h.Shapes[i].Unasked = true
		return
	}
	ctx, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	facts, err := source.Describe(ctx, h.Table(i))
	if err != nil {
		p.log.Warn("the source's catalog could not be asked about new columns", "table", h.Schema+"."+h.Name, "error", err)
	}
	h.Shapes[i].Facts = facts
}

// logChange says that the shape of a table has changed.
func (p *Pipeline) logChange(s seen, c *entrain.SchemaChange) {
	var what []string
	for _, col := range c.Columns {
		what = append(what, describeColumn(col))
	}
	if c.Identity {
		what = append(what, "identity")
	}
	p.log.Info("the shape of a table has changed", "table", s.table.String(), "changes", what, "event", s.e.ID(),
		"fingerprint", fmt.Sprintf("%016x", s.table.Version))
	if c.Resync != "" {
		p.log.Warn("rows that the sink has already may differ from the source's", "table", s.table.String(), "why", c.Resync)
	}
}

// describeColumn is a change of a column in words.
func describeColumn(c entrain.ColumnChange) string {
	text := c.Kind.String()
	for _, side := range []*entrain.Column{c.Before, c.After} {
		if side != nil {
			text += " " + side.Name + " " + side.Type
		}
	}
	return text
}
