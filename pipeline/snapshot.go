package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/entrainsync/entrain"
)

// Snapshot says whether and how the rows that are there already are copied
// before the stream begins.
type Snapshot struct {
	// Mode: copy nothing, copy once, or copy and end.
	Mode SnapshotMode
	// Wants chooses among the tables that the source captures, by their names
	// there; nil means all.
	Wants func(schema, name string) bool
	// Parallel is how many parts of tables are read at once. Default 4.
	Parallel int
	// PartRows is about how many rows a part has. Default: the source's.
	PartRows int
	// TransformTable returns what Transform makes of a table's shape. Required
	// with a Transform; for one goroutine at a time.
	TransformTable func(*entrain.Table) (*entrain.Table, error)
	// Rules returns what Transform does to rows of a table, by its name at the source, in
	// words that are others when that is; nil: nobody knows.
	Rules func(schema, name string) string
}

// SnapshotMode says whether existing rows are copied.
type SnapshotMode uint8

const (
	// SnapshotNever delivers changes only.
	SnapshotNever SnapshotMode = iota
	// SnapshotInitial copies the rows of all tables once, when the sink has no
	// position yet, and then delivers changes.
	SnapshotInitial
	// SnapshotOnly copies the rows and ends.
	SnapshotOnly
	// SnapshotWhenNeeded is SnapshotInitial, and where the source has lost the
	// position, a new history begins and all tables are copied anew, while their
	// changes flow, each into a double that takes its place.
	SnapshotWhenNeeded
)

const defaultParallel = 4

// errCopied ends a pipeline that was to copy only.
var errCopied = errors.New("the rows are copied")

// copyRows makes sure that the sink has the rows that were there before the
// stream, and returns the position from which the stream has the rest. What
// earlier runs copied stands.
func (p *Pipeline) copyRows(ctx, work context.Context, w entrain.Writer, from entrain.Position) (entrain.Position, error) {
	store, keeps := p.opt.Store.(LedgerStore)
	var ledger Ledger
	if keeps {
		var err error
		if ledger, err = store.LoadLedger(ctx); err != nil {
			return from, err
		}
	}
	if ledger.Withdrawn {
		var err error
		if ledger, err = p.finishWithdrawing(ctx, store, ledger); err != nil {
			return from, err
		}
	}
	p.gate = newGate(ledger)
	only := p.opt.Snapshot.Mode == SnapshotOnly
	if stop := p.stopCopy(ledger, from); stop != nil && !(ledger.Complete && only) {
		return from, stop
	}
	switch {
	case ledger.Complete && only:
		return from, errCopied
	case p.opt.Snapshot.Mode == SnapshotNever, ledger.Complete:
		return from, p.withoutCopy(ctx, ledger)
	case !from.IsZero() && ledger.From.IsZero() && len(ledger.Tables) == 0:
		p.log.Info("the sink has a position: rows that were there before are not copied", "position", from.String())
		return from, p.withoutCopy(ctx, ledger)
	case !keeps:
		return from, errors.New("copying existing rows needs a store that keeps a ledger")
	}
	if err := p.become(phaseSnapshotting, nil); err != nil {
		return from, err
	}
	c := &copying{p: p, store: store, ledger: ledger, writer: w, work: work, from: from}
	copying, end := p.initial.begin(ctx)
	defer end()
	if err := c.run(copying); err != nil {
		if context.Cause(copying) != nil && ctx.Err() == nil { // somebody has cancelled it
			err = c.cancelled(ctx, from)
		}
		return from, fmt.Errorf("copy existing rows: %w", err)
	}
	p.gate = newGate(c.ledger)
	p.advancing.Go(func() { p.advance(ctx) })
	if only {
		return c.ledger.From, errCopied
	}
	return c.ledger.From, nil
}

// stopCopy is the stop of a ledger and a position of the sink that do not go
// together, or with the mode; nil if they do.
func (p *Pipeline) stopCopy(ledger Ledger, from entrain.Position) *entrain.Stop {
	switch {
	case strings.HasPrefix(from.Offset, copyingOffset) && ledger.From.IsZero():
		return &entrain.Stop{
			Code: "snapshot_elsewhere",
			What: "the copying of existing rows was begun and not finished, and this state knows nothing of it",
			Why:  "another process, with another state folder, has begun it: which tables it has copied is known there",
			Next: "entrain run FILE where it was begun, or here: entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
		}
	case ledger.Complete && ledger.From.IsZero() && from.IsZero():
		return &entrain.Stop{
			Code: "snapshot_alone",
			What: "the rows were copied by a run with snapshot mode only, which kept no place in the source's log",
			Why:  "what changed at the source since then is not known",
			Next: "entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
		}
	case p.opt.Snapshot.Mode == SnapshotNever && !ledger.Complete && len(ledger.Tables) > 0:
		return &entrain.Stop{
			Code: "snapshot_unfinished",
			What: fmt.Sprintf("the copying of existing rows was begun (%d tables have theirs) and not finished", len(ledger.Tables)),
			Why:  "changes of the tables that were copied could not be told from what their copies contain",
			Next: "set snapshot.mode to initial in FILE and run it to its end, or: entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
		}
	}
	return nil
}

// noteUp notes that both ends were reached: from then on the pipeline retries.
func (p *Pipeline) noteUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.up = true
}

// copying is one try at copying what the ledger lacks.
type copying struct {
	p      *Pipeline
	store  LedgerStore
	mu     sync.Mutex // of the ledger, while tables are finished
	ledger Ledger
	grown  chan struct{}    // there is more in the ledger than was saved
	fresh  []*entrain.Table // of what is more there
	writer entrain.Writer
	work   context.Context
	from   entrain.Position // the sink's
	snap   entrain.Snapshot
	point  entrain.SnapshotPoint
	tables []entrain.SnapshotTable
	made   bool // what keeps the source's log was made by this try
	ending bool // all tables have their rows: it cannot be taken back any more
}

func (c *copying) run(ctx context.Context) error {
	source, ok := c.p.opt.Source.(entrain.Snapshotter)
	if !ok {
		return &entrain.Stop{
			Code: "no_snapshot",
			What: "this kind of source cannot deliver the rows that are there already",
			Next: "set snapshot.mode to never in FILE",
		}
	}
	o := &c.p.opt.Snapshot
	var err error
	c.snap, err = source.Snapshot(ctx, entrain.SnapshotRequest{
		Wants: o.Wants, PartRows: o.PartRows, Standalone: o.Mode == SnapshotOnly, Making: c.making,
	})
	if err != nil {
		return err
	}
	defer closeQuietly(c.p, "snapshot", c.snap)
	c.p.noteUp()
	c.point, c.tables = c.snap.Point(), c.snap.Tables()
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.p.watchCopying(ctx, c.tables, &c.ledger)()
	if err := c.copy(ctx); err != nil {
		return err
	}
	c.ending = true
	return c.complete(ctx)
}

// begin writes down which history is copied from, before the first row.
func (c *copying) begin(ctx context.Context) error {
	l := &c.ledger
	alone := c.p.opt.Snapshot.Mode == SnapshotOnly // no stream has to join what was copied
	if len(l.Tables) > 0 && l.Incarnation != c.point.Stream.Incarnation && !alone {
		return &entrain.Stop{
			Code: "snapshot_interrupted",
			What: fmt.Sprintf("%d tables were copied from another history of the source (%s; now %s)",
				len(l.Tables), l.Incarnation, c.point.Stream.Incarnation),
			Why:  "the slot, or the server, is another one: what changed in those tables since is not known",
			Next: "entrain teardown FILE; empty the tables at the target; entrain run FILE",
		}
	}
	if l.From.IsZero() || l.Incarnation != c.point.Stream.Incarnation {
		l.From = c.point.From
	}
	if l.Incarnation != "" && l.Incarnation != c.point.Stream.Incarnation && !c.made {
		l.Made = "" // somebody has made another one
	}
	l.Incarnation = c.point.Stream.Incarnation
	if err := c.noted(ctx); err != nil {
		return err
	}
	if err := c.known(); err != nil {
		return err
	}
	c.regroup()
	c.p.log.Info("copying existing rows", "tables", len(c.tables), "finished", len(l.Tables), "from", l.From.String())
	return c.store.SaveLedger(ctx, *l, nil)
}

// copy gives every table that lacks them its rows.
func (c *copying) copy(ctx context.Context) error {
	if loader, ok := c.p.opt.Sink.(entrain.Loader); ok {
		return c.load(ctx, loader)
	}
	return c.write(ctx)
}

// finished notes in the ledger that tables have their rows, together with the
// position that made them durable.
func (c *copying) finished(ctx context.Context, tables []int, rows []int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.ledger
	next.Tables, next.Pending = next.Tables[:len(next.Tables):len(next.Tables)], nil
	var shapes []*entrain.Table
	for n, i := range tables {
		t := c.tables[i].Table
		shapes = append(shapes, t)
		next.Tables = append(next.Tables, c.entry(t, rows[n]))
	}
	if err := c.p.copiedShapes(ctx, shapes, c.point); err != nil {
		return err
	}
	with := c.checkpoint(c.ledger.From)
	if err := c.store.SaveLedger(ctx, next, &with); err != nil {
		return err
	}
	c.ledger = next
	for n, t := range shapes {
		c.p.log.Info("table copied", "table", t.String(), "rows", rows[n])
	}
	return nil
}

// entry is what the ledger has of a table that was copied now.
func (c *copying) entry(t *entrain.Table, rows int64) CopiedTable {
	done := CopiedTable{Schema: t.Schema, Name: t.Name, Incarnation: c.point.Stream.Incarnation, Version: c.point.Version, Rows: rows}
	if s := c.find(t.Schema, t.Name); s != nil {
		done.Chosen = c.p.chosen(s.Table, s.Chosen)
	}
	return done
}

// find returns a table of the snapshot, nil if there is none of that name.
func (c *copying) find(schema, name string) *entrain.SnapshotTable {
	for i := range c.tables {
		if s := &c.tables[i]; s.Table.Schema == schema && s.Table.Name == name {
			return s
		}
	}
	return nil
}

// noted adds the tables to the ledger that a sink finished without the ledger
// having got to know of it.
func (c *copying) noted(ctx context.Context) error {
	loader, ok := c.p.opt.Sink.(entrain.Loader)
	if !ok {
		return c.notedInPosition()
	}
	notes, err := loader.Notes(ctx)
	if err != nil {
		return err
	}
	known := Ledger{}
	for _, note := range notes {
		var t CopiedTable
		if err := json.Unmarshal([]byte(note), &t); err != nil {
			return fmt.Errorf("a note of the sink's about a copied table: %w", err)
		}
		known.Tables = append(known.Tables, t)
		if t.Incarnation == c.ledger.Incarnation && c.ledger.find(t.Schema, t.Name) == nil {
			c.ledger.Tables = append(c.ledger.Tables, t)
		}
	}
	for _, t := range c.ledger.Tables {
		if known.find(t.Schema, t.Name) == nil {
			return &entrain.Stop{
				Code: "copy_lost",
				What: fmt.Sprintf("the rows of table %s.%s were copied, but the sink does not know of it", t.Schema, t.Name),
				Why:  "its database was made anew or restored from an older backup, or the sink's URL leads to another one",
				Next: "entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
			}
		}
	}
	return nil
}

// known makes sure that each table of the ledger is one of the snapshot's, and that the
// same of it is to be copied: of another one it could not be told what becomes of its
// changes, and in the sink are rows that a narrower choice has not.
func (c *copying) known() error {
	for _, t := range c.ledger.Tables {
		s := c.find(t.Schema, t.Name)
		if s != nil && (t.Chosen == "" || t.Chosen == c.p.chosen(s.Table, s.Chosen)) {
			continue
		}
		stop := &entrain.Stop{
			Code: "snapshot_tables",
			What: fmt.Sprintf("table %s.%s was copied by an earlier try and is not to be copied now", t.Schema, t.Name),
			Why:  "snapshot.tables, the publication or the table was changed while the copying was not finished",
			Next: "undo that, or: entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
		}
		if s != nil {
			stop.Code = "snapshot_rows"
			stop.What = fmt.Sprintf("table %s.%s was copied by an earlier try, when other rows or columns of it were chosen", t.Schema, t.Name)
			stop.Why = "the publication's row filter or list of columns, or a rule of transform, was changed while the copying was not finished: " +
				"the target has rows that are not to be there, or lacks some"
		}
		return stop
	}
	return nil
}

// regroup takes tables back that a sink with references could not have: those
// tied to a table whose rows are still to come, or came, of another moment.
func (c *copying) regroup() {
	if _, loads := c.p.opt.Sink.(entrain.Loader); !loads {
		return
	}
	lacking := map[int]bool{}
	groups := map[tableName]int{}
	moments := map[int]uint64{}
	for i := range c.tables {
		t := &c.tables[i]
		groups[tableName{t.Table.Schema, t.Table.Name}] = t.Group
		done := c.ledger.find(t.Table.Schema, t.Table.Name)
		if t.Group == 0 {
			continue
		}
		if done == nil || moments[t.Group] != 0 && moments[t.Group] != done.Version {
			lacking[t.Group] = true
			continue
		}
		moments[t.Group] = done.Version
	}
	c.ledger.Tables = slices.DeleteFunc(slices.Clone(c.ledger.Tables), func(t CopiedTable) bool {
		return lacking[groups[tableName{t.Schema, t.Name}]]
	})
}

// complete says that all tables have their rows. The position is the stream's
// first; a sink that keeps it itself gets it before the ledger is closed, so that
// a crash between the two finds an open ledger and nothing left to copy.
func (c *copying) complete(ctx context.Context) error {
	next := c.ledger
	next.Complete = true
	end := c.readEnd(nil, endOrdinal)
	if _, keeps := c.writer.(entrain.Positioner); keeps && next.From.IsZero() {
		if err := c.store.SaveLedger(ctx, next, nil); err != nil { // nothing follows
			return err
		}
		c.forget(ctx)
		return nil
	}
	if err := c.writer.Write(c.work, end); err != nil {
		return err
	}
	with := c.checkpoint(next.From)
	if err := c.store.SaveLedger(ctx, next, &with); err != nil {
		return err
	}
	c.ledger = next
	c.forget(ctx)
	return nil
}

// forget lets a sink that loads forget its notes. What is left of them does no
// harm.
func (c *copying) forget(ctx context.Context) {
	if loader, ok := c.p.opt.Sink.(entrain.Loader); ok {
		if err := loader.Forget(ctx); err != nil {
			c.p.log.Warn("the sink could not forget what it noted of the copy", "error", err)
		}
	}
}

// through is the position behind all rows.
func (c *copying) through() entrain.Position {
	if c.ledger.From.IsZero() { // no stream follows; what is written is to be durable all the same
		return entrain.Position{Incarnation: c.point.Stream.Incarnation, Offset: "snapshot"}
	}
	return c.ledger.From
}

// readEnd is the marker behind the rows of a table, or of all.
func (c *copying) readEnd(t *entrain.Table, ordinal uint64) *entrain.Batch {
	tx := &entrain.Transaction{Stream: c.point.Stream, Version: c.point.Version, CommitTime: c.point.Time}
	return &entrain.Batch{
		Events:  []entrain.Event{{Op: entrain.OpReadEnd, Ordinal: ordinal, Table: t, Tx: tx}},
		Through: c.through(),
	}
}

// endOrdinal is behind the ordinals of all rows. The marker of a table is before
// it by one and the table's number.
const endOrdinal = 1<<64 - 1

// checkpoint is the position with the sink's mark, if it has one.
func (c *copying) checkpoint(at entrain.Position) Checkpoint {
	cp := Checkpoint{Position: at}
	if marker, ok := c.writer.(entrain.Marker); ok {
		cp.Mark = marker.Mark()
	}
	return cp
}
