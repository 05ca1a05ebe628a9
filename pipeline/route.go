package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// route prepares a batch of the stream for the states of its tables, before the
// rules of the pipeline see it: what is left out goes, and what meets rows that
// are being copied is marked and remembered.
func (t *tables) route(ctx context.Context, b *entrain.Batch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open = b.Through.IsZero(); !t.open {
		t.at = b.Through
	}
	if n := len(b.Events); n > 0 {
		t.version, t.stream = b.Events[n-1].Tx.Version, b.Events[n-1].Tx.Stream
	}
	if !t.open && t.waiting > 0 {
		t.signal()
	}
	t.leads = t.toDoubles()
	if err := t.name(b.Events); err != nil {
		return err
	}
	if len(t.lives) == 0 && !mends(b.Events) {
		return nil
	}
	kept := b.Events[:0]
	for i := range b.Events {
		e := b.Events[i]
		lets, err := t.lets(&e)
		if err != nil {
			return err
		}
		if lets {
			kept = append(kept, e)
		}
	}
	b.Filtered += len(b.Events) - len(kept)
	b.Events = kept
	if !t.note() {
		return nil
	}
	return t.save(ctx, nil)
}

// mends reports whether a change of shape asks for rows.
func mends(events []entrain.Event) bool {
	for i := range events {
		if events[i].Schema != nil && events[i].Schema.Resync != "" {
			return true
		}
	}
	return false
}

// name notes what the rules call the tables of the events, for errors of the sink
// that are about one; mu is held.
func (t *tables) name(events []entrain.Event) error {
	if t.p.opt.Transform == nil || t.p.opt.OnTableError != TableErrorResync {
		return nil
	}
	for i := range events {
		table := events[i].Table
		if table == nil || table == t.seen {
			continue
		}
		to, err := t.shapeFor(table)
		if err != nil {
			return err
		}
		t.seen = table
		t.sources[tableName{to.Schema, to.Name}] = tableName{table.Schema, table.Name}
	}
	return nil
}

// note takes over what the copies have learnt from the events, and reports
// whether it has to be saved before the events are handed on.
func (t *tables) note() bool {
	dirty := t.owed
	for _, l := range t.lives {
		if l.copy != nil && l.copy.Dirty() {
			l.Copy, dirty = l.copy.Progress(), true
		}
	}
	return dirty
}

// lets reports whether an event is to be delivered.
func (t *tables) lets(e *entrain.Event) (bool, error) {
	if e.Truncate != nil {
		return t.letsTruncate(e)
	}
	if e.Table == nil {
		return true, nil
	}
	return t.meets(e, e.Table)
}

// meets reports whether an event of the table is to be delivered, and lets the
// table's copy see it.
func (t *tables) meets(e *entrain.Event, table *entrain.Table) (bool, error) {
	if e.Op == entrain.OpSchema {
		return t.meetsShape(e)
	}
	name := tableName{table.Schema, table.Name}
	e.Settling = e.Settling || t.tied[t.groups[name]]
	l := t.lives[name]
	if l == nil || l.over {
		return true, nil
	}
	if l.silent() {
		return false, nil
	}
	e.Settling = true
	delivers := !l.Anew || l.begun // what is left out has to be in the chunks
	if l.copy == nil {
		// Of a table that the sink may not have yet, what is left out has ended when
		// the source's session settles.
		return delivers && !l.unmade, nil
	}
	if l.Anew && table.Version != l.copy.Table().Version {
		return false, t.reshaped(l, table)
	}
	if err := l.copy.Deliver(e); err != nil {
		return true, t.unfit(l, stopCopy(table, fmt.Errorf("event %s: %w", e.ID(), err)))
	}
	if l.copy.Crowded() {
		l.copy.Forget()
		l.settled, l.crowded = false, true
		t.signal()
	}
	return delivers, nil
}

// letsTruncate leaves out the tables of a truncate that are not to have it.
func (t *tables) letsTruncate(e *entrain.Event) (bool, error) {
	rest := *e.Truncate
	rest.Tables = nil
	for _, table := range e.Truncate.Tables {
		lets, err := t.meets(e, table)
		if err != nil {
			return false, err
		}
		if lets {
			rest.Tables = append(rest.Tables, table)
		}
	}
	if len(rest.Tables) < len(e.Truncate.Tables) {
		e.Truncate = &rest
	}
	return len(rest.Tables) > 0, nil
}

// toDoubles are the tables whose events go to doubles now, by their names for the
// sink; mu is held.
func (t *tables) toDoubles() map[tableName]*life {
	var anew map[tableName]*life
	for _, l := range t.lives {
		if !l.Anew || !l.begun || l.over {
			continue
		}
		if anew == nil {
			anew = map[tableName]*life{}
		}
		anew[l.sink] = l
	}
	return anew
}

// redirect leads the events of tables that are made anew to their doubles, behind
// the rules of the pipeline; those of a flight if its table was one when it was
// made up. What is ordered meanwhile changes nothing of that: the beginning of a
// double would empty the table itself. It returns how many events more there are.
func (t *tables) redirect(b *entrain.Batch, f *flight) (more int) {
	anew := t.leads
	if f != nil {
		anew = f.leads
	}
	if len(anew) == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(b.Events)
	events := b.Events[:0:0] // a copy: one can become two
	for i := range b.Events {
		e := b.Events[i]
		if e.Truncate != nil {
			events = appendSplit(events, &e, anew)
			continue
		}
		if e.Table != nil && e.Op != entrain.OpSchema {
			if l := anew[tableName{e.Table.Schema, e.Table.Name}]; l != nil {
				e.Table = l.double(e.Table)
			}
		}
		events = append(events, e)
	}
	b.Events = events
	return len(events) - before
}

// appendSplit appends a truncate as one of the tables and one of each double.
func appendSplit(dst []entrain.Event, e *entrain.Event, anew map[tableName]*life) []entrain.Event {
	rest := *e.Truncate
	rest.Tables = nil
	for _, table := range e.Truncate.Tables {
		l := anew[tableName{table.Schema, table.Name}]
		if l == nil {
			rest.Tables = append(rest.Tables, table)
			continue
		}
		one := *e
		one.Truncate = &entrain.Truncate{Tables: []*entrain.Table{l.double(table)}, RestartIdentity: rest.RestartIdentity}
		dst = append(dst, one)
	}
	if len(rest.Tables) > 0 {
		one := *e
		one.Truncate = &rest
		dst = append(dst, one)
	}
	return dst
}

// double returns the table as its double.
func (l *life) double(t *entrain.Table) *entrain.Table {
	if t.Shadow {
		return t
	}
	if d := l.doubles[t]; d != nil {
		return d
	}
	d := *t
	d.Shadow = true
	if l.doubles == nil {
		l.doubles = map[*entrain.Table]*entrain.Table{}
	}
	l.doubles[t] = &d
	return &d
}

// due returns the batches that have to follow the position at which the stream
// stands now, in order: beginnings of doubles and the rows of chunks.
func (t *tables) due(ctx context.Context, at entrain.Position) ([]flight, error) {
	if !t.some.Load() || at.IsZero() {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var due []flight
	ends := false
	if t.drops {
		t.drops = false
		due = append(due, flight{batch: &entrain.Batch{Through: at}, drops: true})
	}
	for _, l := range t.sorted() {
		if l.copy == nil || l.over {
			continue
		}
		if l.Anew && !l.begun {
			if err := l.beginDouble(time.Now()); err != nil {
				return nil, err
			}
			due = append(due, t.emptied(l, at))
			t.signal()
		}
		rows, apply := l.copy.End(at)
		if apply || l.Copy.Finished {
			f, err := t.batchOf(l, rows, at)
			if err != nil {
				return nil, err
			}
			due = append(due, f)
			ends = ends || l.Ending
		} else if l.copy.Waits() {
			t.signal() // the transaction has ended, or a chunk was discarded
		}
	}
	if ends {
		return due, t.save(ctx, nil) // before the sink has the end
	}
	return due, nil
}

// beginDouble notes that the double is begun, as the first of it or anew.
func (l *life) beginDouble(now time.Time) error {
	l.begun, l.doubled, l.Shape, l.Ending = true, true, l.copy.Table().Version, false
	if l.State == TableCatchingUp {
		return l.become(TableResyncing, now)
	}
	return nil
}

// emptied is the batch that begins a double.
func (t *tables) emptied(l *life, at entrain.Position) flight {
	tx := t.moment(0)
	t.rows++
	e := entrain.Event{Op: entrain.OpTruncate, Ordinal: entrain.CopyOrdinals + t.rows, Tx: &tx, Settling: true,
		Truncate: &entrain.Truncate{Tables: []*entrain.Table{l.copy.Table()}}}
	return flight{batch: &entrain.Batch{Events: []entrain.Event{e}, Through: at}, leads: l.lead()}
}

// lead is where the events of a flight go: to the double, if there is one.
func (l *life) lead() map[tableName]*life {
	if !l.Anew {
		return nil
	}
	return map[tableName]*life{l.sink: l}
}

// batchOf puts the rows of a chunk into a batch.
func (t *tables) batchOf(l *life, rows []entrain.Row, at entrain.Position) (flight, error) {
	tx := t.moment(l.copy.Version())
	f := flight{life: l, copy: l.copy, tx: tx, last: l.copy.Last() || l.Copy.Finished, leads: l.lead()}
	b := &entrain.Batch{Through: at, Events: make([]entrain.Event, len(rows), len(rows)+1)}
	table := l.copy.Table()
	event := func(op entrain.Op) entrain.Event {
		t.rows++
		return entrain.Event{Op: op, Ordinal: entrain.CopyOrdinals + t.rows, Table: table, Tx: &tx, Settling: true}
	}
	for i, row := range rows {
		b.Events[i] = event(entrain.OpRead)
		b.Events[i].After = row
		b.Bytes += len(row) + eventBytes
	}
	l.grow(len(rows), b.Bytes)
	l.over = f.last // what comes behind these rows is the table's own again
	if f.last {
		l.Ending = l.Anew && t.relays
		b.Events = append(b.Events, event(entrain.OpReadEnd))
		if l.State != TableCatchingUp {
			if err := l.become(TableCatchingUp, time.Now()); err != nil {
				return f, err
			}
		}
	}
	f.batch = b
	return f, nil
}

// moment is the transaction of rows that show the state at the position where the
// stream stands: not below any transaction before it, and below any behind it.
func (t *tables) moment(version uint64) entrain.Transaction {
	return entrain.Transaction{Stream: t.stream, Version: max(t.version, version), CommitTime: time.Now()}
}

const (
	eventBytes      = 96      // about what an event takes beside its rows
	firstChunkRows  = 1000    // until it is known how wide the rows are
	chunkBytesAbout = 8 << 20 // how much a chunk should hold
)

// grow adapts how many rows the next chunk has to how wide they are.
func (l *life) grow(rows, bytes int) {
	if rows > 0 {
		l.rows = max(1, min(8*l.rows, chunkBytesAbout/(1+bytes/rows)))
	}
}

// handOn passes a batch from the stream to the queue, and behind it what is due
// at the position then.
func (s *session) handOn(ctx context.Context, b *entrain.Batch) error {
	s.handing.Lock()
	defer s.handing.Unlock()
	t := s.p.tables
	if err := t.route(ctx, b); err != nil {
		free(b)
		return err
	}
	at := b.Through
	if err := s.put(ctx, b, nil); err != nil {
		return err
	}
	return s.handDue(ctx, at)
}

// catchUp does the same where the stream stands, for what has become due since it
// came there.
func (s *session) catchUp(ctx context.Context) error {
	s.handing.Lock()
	defer s.handing.Unlock()
	if err := s.handDue(ctx, s.p.tables.stands()); err != nil {
		return &handingError{err}
	}
	return nil
}

// handingError is a failure on the way to the queue. What a copy has handed out by then
// is under way no more, so that only another session can go on.
type handingError struct{ error }

func (e *handingError) Unwrap() error { return e.error }

// isHanding reports whether an error ends the session, instead of being tried again in it.
func isHanding(err error) bool {
	var handing *handingError
	return errors.As(err, &handing)
}

// handDue queues what is due at a position; handing is held.
func (s *session) handDue(ctx context.Context, at entrain.Position) error {
	due, err := s.p.tables.due(ctx, at)
	if err != nil {
		return err
	}
	for i := range due {
		if err := s.shapes.pass(ctx, due[i].batch); err != nil {
			return err
		}
		s.noteRead(due[i].batch)
		if err := s.put(ctx, due[i].batch, &due[i]); err != nil {
			return s.p.tables.unhanded(ctx, &due[i], err)
		}
	}
	return nil
}

// put passes a batch through the rules into the queue.
func (s *session) put(ctx context.Context, b *entrain.Batch, f *flight) error {
	s.p.transforming.Lock()
	b, err := s.p.transform(b)
	s.p.transforming.Unlock()
	if err != nil {
		return s.located(err)
	}
	if more := s.p.tables.redirect(b, f); more > 0 {
		s.p.mu.Lock()
		s.fed.events.read += int64(more)
		s.p.mu.Unlock()
	}
	if f != nil && (f.life != nil || f.drops) {
		f.batch = b
		s.p.tables.launch(*f)
	}
	if s.queue.put(ctx, b) != nil {
		return errDraining
	}
	return nil
}

// located adds to a stop of a contract where the sink is.
func (s *session) located(err error) error {
	var stop *entrain.Stop
	if errors.As(err, &stop) && stop.Code == codeContract {
		stop.What += fmt.Sprintf("; the sink stands before it, at position %s or later", s.position())
	}
	return err
}

// launch notes a flight that is about to be queued.
func (t *tables) launch(f flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flying = append(t.flying, f)
}

// shapeFor is the table as the rules of the pipeline make it.
func (t *tables) shapeFor(table *entrain.Table) (*entrain.Table, error) {
	if t.p.opt.Transform == nil {
		return table, nil
	}
	if t.p.opt.Snapshot.TransformTable == nil {
		return nil, errors.New("the lives of tables with a transform need Snapshot.TransformTable")
	}
	t.p.transforming.Lock()
	defer t.p.transforming.Unlock()
	to, err := t.p.opt.Snapshot.TransformTable(table)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table, err)
	}
	return to, nil
}
