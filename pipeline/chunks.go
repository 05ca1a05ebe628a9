package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

var (
	// errReopen ends a session that another one, with what has changed at the
	// source since, is to follow.
	errReopen = errors.New("the source's set of tables has changed")
	// errDraining ends the reading: nothing more is taken.
	errDraining = errors.New("draining")
)

// chunkReader reads the chunks that tables want, in a goroutine of its own.
type chunkReader struct {
	s       *session
	t       *tables
	source  entrain.Chunker
	session entrain.ChunkSession // nil: there is none now
	delays  backoff
}

// prepareTables makes the tables that are to be copied ready before the first
// event of a session comes.
func (p *Pipeline) prepareTables(ctx context.Context) error {
	t := p.tables
	if err := t.load(ctx); err != nil {
		return err
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	t.begin()
	if !t.some.Load() {
		return nil
	}
	listed, err := p.listTables(ctx)
	if err != nil {
		return fmt.Errorf("copy tables: %w", err)
	}
	for _, l := range t.reading() {
		if err := t.adopt(ctx, l, listed); err != nil {
			return err
		}
	}
	return nil
}

// listTables asks the source what it captures now.
func (p *Pipeline) listTables(ctx context.Context) ([]entrain.ChunkTable, error) {
	source, ok := p.opt.Source.(entrain.Chunker)
	if !ok {
		return nil, &entrain.Stop{
			Code: "no_chunks",
			What: "this kind of source cannot be read in chunks while it streams",
			Next: "entrain teardown FILE; empty the tables at the target; entrain run FILE",
		}
	}
	cs, err := source.Chunks(ctx)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(p, "chunks", cs)
	listed, err := cs.Tables(ctx)
	if err != nil {
		return nil, err
	}
	p.tables.tie(listed)
	return listed, nil
}

// reading returns the tables whose rows are to be read.
func (t *tables) reading() []*life {
	t.mu.Lock()
	defer t.mu.Unlock()
	var reading []*life
	for _, l := range t.sorted() {
		if l.reads() {
			reading = append(reading, l)
		}
	}
	return reading
}

// adopt begins or resumes the copying of a table as the source has it now. One
// that cannot be read is a failed table.
func (t *tables) adopt(ctx context.Context, l *life, listed []entrain.ChunkTable) error {
	found := findTable(listed, l.Schema, l.Name)
	if found == nil {
		return t.uncaptured(ctx, l)
	}
	if found.Refused != "" {
		return t.fail(ctx, l, errors.New(found.Refused))
	}
	to, err := t.shapeFor(found.Table)
	if err == nil && l.State == TableNew {
		err = t.p.makeTable(ctx, found)
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l.sink, l.unmade = tableName{to.Schema, to.Name}, false
	if err := t.renew(l, found.Table); err != nil {
		return err
	}
	t.signal()
	return nil
}

// uncaptured is the end of copying a table that the source does not capture (any
// more). What the sink has of it stays.
func (t *tables) uncaptured(ctx context.Context, l *life) error {
	name := l.Schema + "." + l.Name
	t.p.log.Warn("a table was to be copied, but the source does not capture it", "table", name, "next", "entrain table add FILE "+name)
	if l.State == TableNew || l.Refresh {
		return t.forget(ctx, tableName{l.Schema, l.Name})
	}
	return t.pauseNew(ctx, tableName{l.Schema, l.Name})
}

// renew makes the copy of a table anew, for the shape that it has now; mu is
// held.
func (t *tables) renew(l *life, shape *entrain.Table) (err error) {
	if l.rows == 0 {
		l.rows = min(firstChunkRows, t.p.chunkRows())
	}
	l.settled = false
	l.copy, err = backfill.New(shape, l.Copy, t.p.chunkRows(), t.p.opt.BufferBytes)
	if err != nil {
		return fmt.Errorf("copy table %s: %w", shape, err)
	}
	return nil
}

// reshaped begins a table that is made anew once more, since its double has the
// shape of before; mu is held.
func (t *tables) reshaped(l *life, shape *entrain.Table) error {
	l.Copy, l.begun = backfill.Progress{}, false
	t.p.log.Info("a table that is being resynced has changed: it is read from its beginning", "table", shape.String())
	return t.renew(l, shape)
}

const defaultChunkRows = 50000

func (p *Pipeline) chunkRows() int {
	if n := p.opt.Snapshot.PartRows; n > 0 {
		return n
	}
	return defaultChunkRows
}

func findTable(listed []entrain.ChunkTable, schema, name string) *entrain.ChunkTable {
	for i := range listed {
		if t := listed[i].Table; t.Schema == schema && t.Name == name {
			return &listed[i]
		}
	}
	return nil
}

// fail notes that a table cannot go on. By default that is the pipeline's end,
// too.
func (t *tables) fail(ctx context.Context, l *life, cause error) error {
	name := l.Schema + "." + l.Name
	if t.p.opt.OnTableError != TableErrorResync {
		return fmt.Errorf("table %s: %w", name, cause)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed(ctx, l, cause)
}

// failed marks a table; mu is held.
func (t *tables) failed(ctx context.Context, l *life, cause error) error {
	name := l.Schema + "." + l.Name
	if err := l.become(TableFailed, time.Now()); err != nil {
		return err
	}
	l.Reason, l.Copy, l.Anew, l.Held = cause.Error(), backfill.Progress{}, false, false
	l.leave()
	t.lives[tableName{l.Schema, l.Name}] = l
	t.p.log.Error("table failed, its changes are left out from now on", "table", name, "error", cause,
		"next", "entrain table resync FILE "+name)
	return t.save(ctx, nil)
}

// survive reports whether the pipeline goes on without the table that an error is
// about, which has failed by it.
func (t *tables) survive(ctx context.Context, cause error) bool {
	var stop *entrain.Stop
	if t.store == nil || !errors.As(cause, &stop) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if stop.Code == codeShadowLost && stop.Table != nil {
		return t.redo(ctx, stop)
	}
	if t.p.opt.OnTableError != TableErrorResync || stop.Table == nil {
		return false
	}
	name := t.sourceOf(stop.Table)
	l := t.lives[name]
	if l == nil {
		l = &life{TableLife: TableLife{Schema: name.schema, Name: name.name, State: TableStreaming}}
	}
	if l.silent() {
		return false // leaving it out did not help
	}
	return t.failed(ctx, l, cause) == nil
}

// codeShadowLost is the stop of a sink that has no double of a table any more: it
// has put it in the table's place just before a crash, or was restored.
const codeShadowLost = "shadow_lost"

// redo begins a resync from its first row; mu is held.
func (t *tables) redo(ctx context.Context, stop *entrain.Stop) bool {
	l := t.lives[t.sourceOf(stop.Table)]
	if l == nil || !l.Anew {
		return false
	}
	l.Copy = backfill.Progress{}
	l.leave()
	t.p.log.Warn("the sink has lost the double of a table: its rows are read again", "table", l.Schema+"."+l.Name)
	if err := t.save(ctx, nil); err != nil {
		t.p.log.Warn("will be written down later", "error", err) // the next failure leads here again
	}
	return true
}

// sourceOf is the source's name of a table of the sink; mu is held.
func (t *tables) sourceOf(table *entrain.Table) tableName {
	if name, ok := t.sources[tableName{table.Schema, table.Name}]; ok {
		return name
	}
	return tableName{table.Schema, table.Name}
}

// readChunks reads chunks until ctx ends, the session has to be opened anew or
// something fails that a retry does not mend.
func (s *session) readChunks(ctx context.Context) error {
	source, ok := s.p.opt.Source.(entrain.Chunker)
	if !ok || s.p.tables.store == nil {
		return nil
	}
	r := &chunkReader{s: s, t: s.p.tables, source: source}
	defer r.close()
	if err := s.p.discover(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	for {
		task, err := r.t.task(ctx)
		if err == nil {
			err = r.do(ctx, task)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *chunkReader) close() {
	if r.session != nil {
		closeQuietly(r.s.p, "chunks", r.session)
		r.session = nil
	}
}

// task is what there is to do: tables whose barrier has to be awaited, or a
// chunk.
type task struct {
	unsettled []*life
	pause     time.Duration // there is something to do only after a while
	life      *life
	copy      *backfill.Copy
	query     entrain.ChunkQuery
}

// task waits for something to do.
func (t *tables) task(ctx context.Context) (task, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var next task
	err := t.await(ctx, func() bool {
		next = t.wanted()
		return t.restart || next.life != nil || next.unsettled != nil || next.pause > 0
	})
	if err == nil && t.restart {
		err = errReopen
	}
	return next, err
}

// wanted returns what there is to do now; mu is held.
func (t *tables) wanted() task {
	var next task
	now := time.Now()
	for _, l := range t.sorted() {
		if l.copy == nil || l.Held || !l.reads() {
			continue
		}
		if !l.settled {
			next.unsettled = append(next.unsettled, l)
			continue
		}
		if t.open || l.Anew && !l.begun || !l.copy.Waits() {
			continue
		}
		if wait := t.patience(l, now); wait > 0 {
			next.pause = max(next.pause, wait)
			continue
		}
		if q, ok := l.copy.Next(); ok {
			q.Rows = min(q.Rows, l.rows)
			if q.Of == nil {
				q.Where = l.Where
			}
			return task{life: l, copy: l.copy, query: q}
		}
	}
	return next
}

// patience is how long a table has to wait whose chunks were discarded: the longer
// the more there were.
func (t *tables) patience(l *life, now time.Time) time.Duration {
	n, why := l.copy.Discarded()
	if n > l.discards {
		wait := discardFirst << min(n, discardDoublings)
		l.again = now.Add(wait)
		t.p.log.Debug("a chunk was of no use, will read it again", "table", l.copy.Table().String(), "reason", string(why), "times", n, "in", wait)
		if n%discardsToSay == 0 {
			t.p.log.Warn("chunks of a table are discarded again and again", "table", l.copy.Table().String(), "reason", string(why), "times", n)
		}
	}
	l.discards = n
	return max(0, l.again.Sub(now))
}

const (
	discardFirst     = 5 * time.Millisecond
	discardDoublings = 9
	discardsToSay    = 10
)

// do does one task. What a retry may mend is tried again after a while.
func (r *chunkReader) do(ctx context.Context, what task) error {
	if what.life == nil && what.unsettled == nil {
		return sleep(ctx, what.pause)
	}
	err := r.open(ctx)
	switch {
	case err != nil:
	case what.life == nil:
		err = r.settle(ctx, what.unsettled)
	default:
		err = r.read(ctx, what)
	}
	if err == nil {
		r.delays.reset()
		return nil
	}
	if what.life != nil {
		r.t.abandon(what)
	}
	r.close()
	switch {
	case what.life != nil && errors.Is(err, entrain.ErrOtherRows):
		return r.t.again(ctx, what, err)
	case entrain.IsRetryable(err) || ctx.Err() != nil:
	case what.life != nil:
		return r.t.refused(ctx, what.life, err)
	default:
		return err
	}
	wait := r.delays.next(err, 0.5)
	r.s.p.log.Warn("a chunk could not be read, will try again", "error", err, "in", wait.Round(time.Millisecond))
	return sleep(ctx, wait)
}

// again begins the copying of a table once more, of which the stream has other rows
// now.
func (t *tables) again(ctx context.Context, what task, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := what.life
	if l.copy != what.copy {
		return nil // it was ordered elsewhere meanwhile
	}
	t.p.log.Warn("a table is copied from its beginning once more", "table", what.query.Table.String(), "reason", cause)
	l.Copy, l.begun = backfill.Progress{}, false
	if err := t.renew(l, l.copy.Table()); err != nil {
		return err
	}
	return t.save(ctx, nil)
}

// refused is the end of a copying that the source refuses: of the table, unless the
// sink has its rows already.
func (t *tables) refused(ctx context.Context, l *life, cause error) error {
	if !l.Refresh {
		return t.fail(ctx, l, cause)
	}
	t.p.log.Error("the rows of a table are not delivered once more", "table", l.Schema+"."+l.Name, "error", cause)
	return t.forget(ctx, tableName{l.Schema, l.Name})
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *chunkReader) open(ctx context.Context) (err error) {
	if r.session == nil {
		r.session, err = r.source.Chunks(ctx)
	}
	return err
}

// settle waits at the barrier for tables whose copies see every event from now on.
func (r *chunkReader) settle(ctx context.Context, unsettled []*life) error {
	if err := r.session.Settle(ctx); err != nil {
		return err
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	for _, l := range unsettled {
		l.settled = l.copy != nil
	}
	r.t.signal()
	return nil
}

func (r *chunkReader) read(ctx context.Context, what task) error {
	chunk, err := r.session.Read(ctx, what.query)
	if err != nil {
		return fmt.Errorf("read a chunk of table %s: %w", what.query.Table, err)
	}
	return r.t.take(ctx, what, chunk)
}

// abandon forgets a chunk that was not read.
func (t *tables) abandon(what task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if what.life.copy == what.copy {
		what.copy.Abandon()
	}
}

// take gives a chunk to its table's copy.
func (t *tables) take(ctx context.Context, what task, chunk *entrain.Chunk) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := what.life
	if l.copy != what.copy || !l.reads() {
		return nil // it was ordered elsewhere meanwhile
	}
	if l.Anew && chunk.Table.Version != what.query.Table.Version {
		if err := t.reshaped(l, chunk.Table); err != nil {
			return err
		}
		return t.save(ctx, nil)
	}
	if l.State == TableNew {
		if err := l.become(TableCopying, time.Now()); err != nil {
			return err
		}
	}
	if err := l.copy.Read(chunk); err != nil {
		return err
	}
	for _, other := range t.lives {
		if other != l && other.copy != nil {
			other.copy.Saw(chunk.View)
		}
	}
	t.signal()
	return nil
}
