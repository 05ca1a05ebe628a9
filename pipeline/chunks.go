package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	if err := p.discover(ctx); err != nil {
		return err
	}
	t.adding.Lock()
	defer t.adding.Unlock()
	t.begin()
	if !t.some.Load() {
		return nil
	}
	reading := t.reading()
	listed, err := p.listTables(ctx)
	if err != nil && len(reading) == 0 {
		// Nothing is to be read: the tables that others are tied to are all that is
		// not known, and a source that cannot be read beside its stream has none.
		p.log.Info("which tables are tied together is not known", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy tables: %w", err)
	}
	for _, l := range reading {
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

// adopt begins or resumes the copying of a table as the source has it now, unless it was
// ordered elsewhere meanwhile. One that cannot be read is a failed table.
func (t *tables) adopt(ctx context.Context, l *life, listed []entrain.ChunkTable) error {
	name := tableName{l.Schema, l.Name}
	found := findTable(listed, l.Schema, l.Name)
	t.mu.Lock()
	what, state, reads := task{life: l, copy: l.copy}, l.State, t.lives[name] == l && l.reads()
	t.mu.Unlock()
	switch {
	case !reads:
		return nil
	case found == nil:
		return t.uncaptured(ctx, l)
	case found.Refused != "":
		return t.refused(ctx, what, stopCopy(found.Table, errors.New(found.Refused)))
	}
	to, err := t.shapeFor(found.Table)
	if err == nil && state == TableNew {
		err = t.p.makeTable(ctx, found)
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lives[name] != l || !l.reads() {
		return nil
	}
	l.sink, l.unmade = tableName{to.Schema, to.Name}, false
	t.choose(l, found)
	if err := t.renew(l, found.Table); err != nil {
		return err
	}
	t.signal()
	return nil
}

// renew makes the copy of a table anew, for the shape that it has now; mu is
// held.
func (t *tables) renew(l *life, shape *entrain.Table) (err error) {
	if l.rows == 0 {
		l.rows = min(firstChunkRows, t.p.chunkRows())
	}
	if l.Anew && l.begun && l.Shape != 0 && l.Shape != shape.Version {
		l.Copy, l.begun = backfill.Progress{}, false // the double is one of another shape
		t.owed = true
	}
	l.settled = false
	l.copy, err = backfill.New(shape, l.Copy, t.p.chunkRows(), t.p.opt.BufferBytes)
	if err != nil {
		return stopCopy(shape, err)
	}
	return nil
}

// reshaped begins a table that is made anew once more, since its double has the
// shape of before; mu is held.
func (t *tables) reshaped(l *life, shape *entrain.Table) error {
	l.Copy, l.begun = backfill.Progress{}, false
	t.owed = true // before the sink has an empty double
	t.p.log.Info("a table that is being copied has changed: it is read from its beginning", "table", shape.String())
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

// readChunks reads the chunks that tables want, and waits beside that at the barriers
// that they need first, until ctx ends, the session has to be opened anew or something
// fails that a retry does not mend.
func (s *session) readChunks(ctx context.Context) error {
	source, ok := s.p.opt.Source.(entrain.Chunker)
	if !ok || s.p.tables.store == nil {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	barriers := &settler{s: s, t: s.p.tables, source: source}
	var settleErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		settleErr = barriers.run(ctx)
	})
	err := (&chunkReader{s: s, t: s.p.tables, source: source}).run(ctx)
	stop()
	wg.Wait()
	if err == nil {
		err = settleErr
	}
	return err
}

// run reads chunks until ctx ends.
func (r *chunkReader) run(ctx context.Context) error {
	defer r.close()
	for {
		task, err := r.t.task(ctx)
		if err == nil {
			err = r.do(ctx, task)
		}
		if ctx.Err() != nil || errors.Is(err, errDraining) {
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

// task is what there is to do: a chunk.
type task struct {
	drops bool          // the stream may stand still, and doubles are to be removed
	pause time.Duration // there is something to do only after a while
	life  *life
	copy  *backfill.Copy
	query entrain.ChunkQuery
}

// task waits for something to do.
func (t *tables) task(ctx context.Context) (task, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var next task
	err := t.await(ctx, func() bool {
		next = t.wanted()
		return t.restart || next.drops || next.life != nil || next.pause > 0
	})
	if err == nil && t.restart {
		err = errReopen
	}
	return next, err
}

// rest waits, unless something changes before.
func (t *tables) rest(ctx context.Context, wait time.Duration) error {
	t.mu.Lock()
	t.waiting++
	changed := t.changed
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting--
	}()
	select {
	case <-changed:
		return nil
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wanted returns what there is to do now; mu is held.
func (t *tables) wanted() task {
	next := task{drops: t.dropsNow()}
	if next.drops {
		return next
	}
	now := time.Now()
	for _, l := range t.sorted() {
		if !l.wantsRows() || !l.settled {
			continue
		}
		if t.open || l.Anew && !l.begun || !l.copy.Waits() {
			continue
		}
		if wait := t.patience(l, now); wait > 0 {
			if next.pause == 0 || wait < next.pause {
				next.pause = wait
			}
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
	if what.drops {
		return r.s.catchUp(ctx)
	}
	if what.life == nil {
		return r.t.rest(ctx, what.pause)
	}
	err := r.open(ctx)
	if err == nil {
		err = r.read(ctx, what)
	}
	if err == nil {
		r.recover(what)
		return nil
	}
	if errors.Is(err, errDraining) || isHanding(err) {
		return err
	}
	r.t.abandon(what)
	r.close()
	switch {
	case errors.Is(err, entrain.ErrOtherRows):
		return r.t.again(ctx, what, err)
	case !entrain.IsRetryable(err) && ctx.Err() == nil:
		return r.t.refused(ctx, what, err)
	}
	return r.later(ctx, what, err)
}

// recover notes that a task was done.
func (r *chunkReader) recover(what task) {
	r.delays.reset()
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	what.life.delays.reset()
}

// later has a task that failed done after a while. One that is about a table alone
// does not hold up the others: the table may be gone, or locked for hours.
func (r *chunkReader) later(ctx context.Context, what task, err error) error {
	alone := !errors.Is(err, entrain.ErrDisconnected)
	delays := &r.delays
	if alone {
		delays = &what.life.delays
	}
	wait := delays.next(err, 0.5)
	r.s.p.log.Warn("a chunk could not be read, will try again", "error", err, "in", wait.Round(time.Millisecond))
	if !alone {
		return sleep(ctx, wait)
	}
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	what.life.again = time.Now().Add(wait)
	return nil
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

// open opens a session if there is none.
func (r *chunkReader) open(ctx context.Context) error {
	if r.session != nil {
		return nil
	}
	session, err := r.source.Chunks(ctx)
	if err != nil {
		return err
	}
	r.session = session
	listed, err := session.Tables(ctx)
	if err != nil {
		return err
	}
	return r.t.rechosen(listed)
}

func (r *chunkReader) read(ctx context.Context, what task) error {
	chunk, err := r.session.Read(ctx, what.query)
	if err != nil {
		return fmt.Errorf("read a chunk of table %s: %w", what.query.Table, err)
	}
	if err := r.t.take(ctx, what, chunk); err != nil {
		return err
	}
	return r.s.catchUp(ctx)
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
