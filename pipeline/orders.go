package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

// TableStatus is where a table is in its life.
type TableStatus struct {
	Table string     `json:"table"`
	State TableState `json:"state"`
	// Held: no further chunk is read.
	Held bool `json:"held,omitempty"`
	// Refresh: the sink had the rows before, so that a cancelled copy leaves the
	// table streaming.
	Refresh bool `json:"refresh,omitempty"`
	// Reason of a failure, for people, and the code of the stop that it is, if it is
	// one.
	Reason string `json:"reason,omitempty"`
	Code   string `json:"code,omitempty"`
	// Since when; zero if that is not remembered.
	Since time.Time `json:"since"`
	// Rows copied so far, and about how many there are; -1 if nobody knows.
	Rows     int64 `json:"rows"`
	Estimate int64 `json:"estimate"`
}

// Do carries out an order and returns when it is written down; copying goes on
// by itself. It may be called while Run works, from any goroutine. An order that
// makes no sense in the table's state is a *[entrain.Stop].
func (p *Pipeline) Do(ctx context.Context, o Order) error {
	if o.Do.AboutLetters() {
		return p.doLetters(ctx, o)
	}
	if o.Do == OrderStand || o.Do == OrderGo {
		return errors.New("without a stream no sink stands still by itself: end the process, and the source keeps its log")
	}
	if o.Do == OrderFlush {
		return errors.New("without a stream nothing waits for a window")
	}
	t := p.tables
	if t.store == nil {
		return errors.New("orders about tables need a store that keeps them")
	}
	if err := t.load(ctx); err != nil {
		return err
	}
	if o.Sink != "" {
		return fmt.Errorf("sink %s: without a stream no sink begins by itself; the rows of a table are delivered once more by "+
			"entrain snapshot start FILE --table SCHEMA.TABLE", o.Sink)
	}
	if o.Table == "" {
		return p.doAll(ctx, o)
	}
	name, err := parseTable(o.Table)
	if err != nil {
		return err
	}
	if p.initial.runs() {
		return stopInitial(o)
	}
	if err := p.checkStreams(ctx, name); err != nil {
		return err
	}
	if o.Do == OrderAdd {
		return p.addTable(ctx, name)
	}
	listed, err := p.listTables(ctx)
	if err != nil {
		return err
	}
	names, err := o.with(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if o.Where == "" && !slices.Contains([]Verb{OrderResync, OrderResume, OrderRefresh}, o.Do) {
			break
		}
		if err := p.try(ctx, o, findTable(listed, n.schema, n.name)); err != nil {
			return err
		}
	}
	for _, n := range names {
		if err := t.order(ctx, o, n, listed); err != nil {
			return err
		}
	}
	return nil
}

// with returns the names of all tables of the order, of which first is one.
func (o *Order) with(first tableName) ([]tableName, error) {
	if len(o.With) > 0 && o.Do != OrderResync {
		return nil, fmt.Errorf("%s takes one table", o.Do)
	}
	names := []tableName{first}
	for _, text := range o.With {
		name, err := parseTable(text)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// try reads one row as an order wants it, so that one is refused that cannot be carried
// out, instead of being the end of a table or of the pipeline.
func (p *Pipeline) try(ctx context.Context, o Order, found *entrain.ChunkTable) error {
	if o.Where != "" && o.Do != OrderRefresh {
		return fmt.Errorf("%s takes no condition", o.Do)
	}
	if found == nil || found.Refused != "" {
		return nil // the order is refused for that
	}
	source, ok := p.opt.Source.(entrain.Chunker)
	if !ok {
		return nil
	}
	cs, err := source.Chunks(ctx)
	if err != nil {
		return err
	}
	defer closeQuietly(p, "chunks", cs)
	_, err = cs.Read(ctx, entrain.ChunkQuery{Table: found.Table, Where: o.Where, Rows: 1})
	switch {
	case o.Where == "" && entrain.IsRetryable(err):
		return nil // it is tried again
	case o.Where == "", errors.Is(err, entrain.ErrDisconnected):
		return err
	case err != nil:
		return &entrain.Stop{
			Code: "where_refused",
			What: fmt.Sprintf("the rows of table %s cannot be chosen by: %s", found.Table, o.Where),
			Why:  "it is put into the WHERE of a query at the source",
			Next: "mend the condition and type the command again",
			Err:  innermost(err),
		}
	}
	return nil
}

// innermost is the cause of all that err wraps: what the server said, without what
// we did.
func innermost(err error) error {
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return err
		}
		err = cause
	}
}

// parseTable splits schema.table at the first dot.
func parseTable(text string) (tableName, error) {
	schema, name, found := strings.Cut(text, ".")
	if !found || schema == "" || name == "" {
		return tableName{}, &entrain.Stop{
			Code: "table_name", What: fmt.Sprintf("%q is no name of a table", text),
			Next: "write it as schema.table, such as public.orders",
		}
	}
	return tableName{schema, name}, nil
}

// doAll carries an order out for all tables that it makes sense for.
func (p *Pipeline) doAll(ctx context.Context, o Order) error {
	if !slices.Contains([]Verb{OrderHold, OrderResume, OrderCancel}, o.Do) {
		return fmt.Errorf("%s needs a table", o.Do)
	}
	if p.initial.runs() {
		p.initial.order(o.Do)
		return nil
	}
	names := p.tables.subjects(o.Do)
	var listed []entrain.ChunkTable
	if o.Do == OrderResume && len(names) > 0 {
		var err error
		if listed, err = p.listTables(ctx); err != nil {
			return err
		}
	}
	n := 0
	for _, name := range names {
		err := p.tables.order(ctx, o, name, listed)
		var stop *entrain.Stop
		switch {
		case err == nil:
			n++
		case !errors.As(err, &stop) || stop.Code != codeTableState: // else it has just come to its end
			return err
		}
	}
	if n == 0 {
		return &entrain.Stop{
			Code: "not_copying", What: "no table is in a state for that: the rows of none are being copied",
			Next: "entrain table list FILE",
		}
	}
	return nil
}

// subjects are the tables that an order for all is about.
func (t *tables) subjects(do Verb) []tableName {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []tableName
	for _, l := range t.sorted() {
		if l.reads() && (do == OrderCancel || l.Held == (do == OrderResume)) {
			names = append(names, tableName{l.Schema, l.Name})
		}
	}
	return names
}

// makeTable lets a sink that makes tables make this one, unless the rules of the
// pipeline give it another shape.
func (p *Pipeline) makeTable(ctx context.Context, found *entrain.ChunkTable) error {
	maker, ok := p.opt.Sink.(entrain.TableMaker)
	if !ok {
		return nil
	}
	to, err := p.tables.shapeFor(found.Table)
	if err != nil {
		return err
	}
	shaped := *found
	if to != found.Table {
		shaped.Table, shaped.Definition = to, nil
	}
	return maker.MakeTable(ctx, shaped)
}

// order changes a table's life between two transactions of the stream.
func (t *tables) order(ctx context.Context, o Order, name tableName, listed []entrain.ChunkTable) error {
	do := o.Do
	found := findTable(listed, name.schema, name.name)
	var sink tableName
	if found != nil {
		to, err := t.shapeFor(found.Table)
		if err != nil {
			return err
		}
		sink = tableName{to.Schema, to.Name}
		if err := t.alone(found, sink, listed); err != nil && (do == OrderResync || do == OrderResume) {
			return err
		}
	}
	divided := t.divided(ctx, do)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.await(ctx, func() bool { return !t.open && (t.lives[name] == nil || !t.lives[name].over) }); err != nil {
		return err
	}
	l, known := t.lives[name], t.lives[name] != nil
	if l == nil && (found == nil || do == OrderPause && found.Refused != "") {
		return stopUnreadable(name, found) // it could not be resumed
	}
	if l == nil {
		l = &life{TableLife: TableLife{Schema: name.schema, Name: name.name, State: TableStreaming}}
	}
	if divided != nil && (do == OrderResync || !l.reads()) {
		return divided
	}
	before := *l
	if err := t.turn(l, o, found, sink); err != nil {
		*l = before
		return err
	}
	t.lives[name] = l
	if l.State == TableStreaming {
		delete(t.lives, name)
	}
	t.p.log.Info("table ordered", "table", name.schema+"."+name.name, "order", string(do), "state", string(l.State))
	if err := t.save(ctx, nil); err != nil {
		*l = before
		if !known {
			l = nil
		}
		t.put(name, l)
		return err
	}
	return nil
}

// turn lets the table obey, and begins to read it if it is to be read; mu is held.
func (t *tables) turn(l *life, o Order, found *entrain.ChunkTable, sink tableName) error {
	if err := l.obey(o, time.Now()); err != nil {
		return err
	}
	if !l.reads() || l.copy != nil {
		return nil
	}
	if found == nil || found.Refused != "" {
		return stopUnreadable(tableName{l.Schema, l.Name}, found)
	}
	l.sink = sink
	t.choose(l, found)
	return t.renew(l, found.Table)
}

// alone makes sure that no other table's rows go to the same table of the sink:
// its double would lack them.
func (t *tables) alone(found *entrain.ChunkTable, sink tableName, listed []entrain.ChunkTable) error {
	if t.p.opt.Transform == nil {
		return nil
	}
	for i := range listed {
		to, err := t.shapeFor(listed[i].Table)
		if err != nil {
			return err
		}
		if listed[i].Table != found.Table && to.Schema == sink.schema && to.Name == sink.name {
			return &entrain.Stop{
				Code: "table_shared",
				What: fmt.Sprintf("the rows of table %s go to %s.%s, and so do those of %s", found.Table, sink.schema, sink.name, listed[i].Table),
				Why:  "a double with the rows of one of them would take the place of both",
				Next: "entrain snapshot start FILE --table " + found.Table.String() + "   # delivers its rows once more, in place",
			}
		}
	}
	return nil
}

// obey moves the table as an order wants it.
func (l *life) obey(o Order, now time.Time) error {
	switch do := o.Do; do {
	case OrderAdd:
		return l.start(TableNew, now)
	case OrderRefresh:
		if l.State != TableStreaming {
			return l.stopState(do)
		}
		err := l.start(TableCopying, now)
		l.Refresh, l.Where, l.Held = true, o.Where, o.Held
		return err
	case OrderResync:
		return l.start(TableResyncing, now)
	case OrderHold, OrderPause:
		if l.reads() && !l.Held {
			l.Held = true
			return nil
		}
		if do == OrderHold || l.State == TablePaused || l.Held {
			return l.stopState(do)
		}
		return l.become(TablePaused, now)
	case OrderResume:
		if l.Held {
			l.Held, l.copy = false, nil
			return nil
		}
		if l.State != TablePaused {
			return l.stopState(do)
		}
		return l.start(TableResyncing, now)
	case OrderCancel:
		return l.cancel(now)
	}
	return fmt.Errorf("unknown order %q", o.Do)
}

// start begins the copying of the table from its first row.
func (l *life) start(as TableState, now time.Time) error {
	if err := l.become(as, now); err != nil {
		return l.stopState(Verb(as))
	}
	l.Copy, l.Held, l.Refresh, l.Where, l.Anew = backfill.Progress{}, false, false, "", as == TableResyncing
	l.Chosen = ""
	l.leave()
	return nil
}

// cancel gives the copying up. A table that lacks rows is paused by that.
func (l *life) cancel(now time.Time) error {
	if !l.reads() {
		return l.stopState(OrderCancel)
	}
	to := TablePaused
	if l.Refresh {
		to = TableStreaming
	}
	if err := l.become(to, now); err != nil {
		return err
	}
	l.Copy, l.Held, l.Refresh, l.Anew = backfill.Progress{}, false, false, false
	l.leave()
	return nil
}

// codeTableState is the stop for an order that makes no sense.
const codeTableState = "table_state"

// stopState refuses an order that makes no sense.
func (l *life) stopState(do Verb) error {
	state := string(l.State)
	if l.Held {
		state += ", and held"
	}
	return &entrain.Stop{
		Code: codeTableState,
		What: fmt.Sprintf("table %s.%s is %s: %s makes no sense", l.Schema, l.Name, state, do.command()),
		Next: "entrain table list FILE",
	}
}

func stopUnreadable(name tableName, found *entrain.ChunkTable) error {
	stop := &entrain.Stop{
		Code: "table_unknown",
		What: fmt.Sprintf("the source does not capture table %s.%s", name.schema, name.name),
		Next: "entrain table list FILE; entrain table add FILE " + name.schema + "." + name.name,
	}
	if found != nil {
		stop.Code, stop.Next = "table_unreadable", "entrain check FILE"
		stop.What = fmt.Sprintf("the rows of table %s.%s cannot be read while the stream flows: %s", name.schema, name.name, found.Refused)
	}
	return stop
}

func stopCaptured(name tableName) error {
	return &entrain.Stop{
		Code: codeTableState,
		What: fmt.Sprintf("table %s.%s is captured already", name.schema, name.name),
		Next: "entrain table resync FILE " + name.schema + "." + name.name + "   # if its rows are to be copied anew",
	}
}

func stopInitial(o Order) error {
	return &entrain.Stop{
		Code: "snapshot_runs",
		What: "the rows of all tables are being copied for the first time: one table cannot be told apart yet",
		Next: "entrain status FILE   # until it is streaming",
	}
}
