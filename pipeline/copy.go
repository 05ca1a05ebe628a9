package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
)

// loading is a table on its way into a sink that loads, guarded by mu as far as
// it changes.
type loading struct {
	table   *entrain.SnapshotTable
	index   int
	rows    atomic.Int64
	pending atomic.Int64 // parts that are not stored
	failed  atomic.Bool  // it needs another snapshot

	mu   sync.Mutex
	load entrain.TableLoad // nil until its first part
}

// load copies by the sink's own sessions, several parts of several tables at a
// time. The first error ends all, unless it is about one table that another
// snapshot can read: that one is set aside.
func (c *copying) load(ctx context.Context, sink entrain.Loader) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	loads, jobs := c.loadings()
	defer func() {
		for _, l := range loads {
			if l.load != nil {
				closeQuietly(c.p, "load", l.load)
			}
		}
	}()
	var again lastError
	saved := c.keepLedger(ctx, stop)
	var wg sync.WaitGroup
	for range c.parallel() {
		wg.Go(func() {
			for job := range jobs {
				l := loads[job.Table]
				err := c.loadPart(ctx, sink, l, job)
				switch {
				case err == nil || l.failed.Load() && ctx.Err() == nil: // of a load that was given up meanwhile
				case needsAnother(err) && ctx.Err() == nil:
					again.set(err)
					c.giveUp(l)
				default:
					stop(err)
					return
				}
			}
		})
	}
	wg.Wait()
	saved()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := again.get(); err != nil {
		return err
	}
	shaped := make([]entrain.SnapshotTable, len(c.tables))
	for i := range c.tables {
		var err error
		if shaped[i], err = c.shape(&c.tables[i]); err != nil {
			return err
		}
	}
	return sink.Complete(ctx, shaped)
}

// sequenceMargin is how much further than the source's the sink's sequences are
// set: what sessions at the source have put by.
const sequenceMargin = 1000

// advance brings the sink's sequences as far as the source's, which are in no
// row. Nothing depends on it before writers move to the sink, so what fails is
// said and passed over. It is done beside the stream's beginning.
func (p *Pipeline) advance(ctx context.Context) {
	source, gives := p.opt.Source.(entrain.Sequencer)
	sink, takes := p.opt.Sink.(entrain.Advancer)
	if !gives || !takes {
		return
	}
	const next = "entrain sequences sync FILE"
	if p.opt.Transform != nil {
		p.log.Info("sequences are not copied where rules change tables", "next", next)
		return
	}
	sequences, err := source.Sequences(ctx)
	var done []entrain.Advance
	if err == nil {
		done, err = sink.Advance(ctx, sequences, sequenceMargin)
	}
	refused := 0
	for i := range done {
		if done[i].Refused != "" || sequences[i].Refused != "" {
			refused++
		}
	}
	if err != nil || refused > 0 {
		p.log.Warn("sequences could not be copied", "refused", refused, "error", err, "next", next)
		return
	}
	p.log.Info("sequences copied", "sequences", len(done), "margin", sequenceMargin)
}

// giveUp ends the load of a table that has to be redone.
func (c *copying) giveUp(l *loading) {
	l.failed.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.load != nil {
		closeQuietly(c.p, "load", l.load)
	}
}

// needsAnother reports whether err is about one table, which another snapshot
// may be able to read: the others go on.
func needsAnother(err error) bool {
	return entrain.IsRetryable(err) && !errors.Is(err, entrain.ErrDisconnected)
}

// lastError is the last of the errors of several goroutines.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (c *copying) parallel() int {
	if n := c.p.opt.Snapshot.Parallel; n > 0 {
		return n
	}
	return defaultParallel
}

// loadings lists the tables that lack their rows and, in a channel, their parts.
func (c *copying) loadings() (map[int]*loading, <-chan entrain.SnapshotPart) {
	loads := map[int]*loading{}
	var parts []entrain.SnapshotPart
	for i := range c.tables {
		t := &c.tables[i]
		if c.ledger.has(t.Table) {
			continue
		}
		loads[i] = &loading{table: t, index: i}
		loads[i].pending.Store(int64(t.Parts))
		for n := range t.Parts {
			parts = append(parts, entrain.SnapshotPart{Table: i, Number: n})
		}
	}
	jobs := make(chan entrain.SnapshotPart, len(parts))
	for _, part := range parts {
		jobs <- part
	}
	close(jobs)
	return loads, jobs
}

// loadPart stores one part; the last one of a table finishes it.
func (c *copying) loadPart(ctx context.Context, sink entrain.Loader, l *loading, part entrain.SnapshotPart) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case l.failed.Load():
		return nil
	}
	if err := c.p.initial.wait(ctx); err != nil {
		return err
	}
	load, err := c.opened(ctx, sink, l)
	if err == nil {
		err = c.storePart(ctx, load, l, part)
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", l.table.Table, err)
	}
	if l.pending.Add(-1) > 0 {
		return nil
	}
	note, err := json.Marshal(c.entry(l.table.Table, l.rows.Load()))
	if err == nil {
		err = load.Finish(ctx, string(note))
	}
	if err != nil {
		return fmt.Errorf("table %s: %w", l.table.Table, err)
	}
	c.grow(l.table.Table, l.rows.Load()) // the load is closed with the others: what it has serves the next
	return nil
}

// ledgerPace is the least time between two saves of the ledger beside the copying.
const ledgerPace = 250 * time.Millisecond

// keepLedger saves the ledger beside the copying when it has grown, with pauses: a
// save takes as long as a small table, is as large as the ledger, and one is enough
// for all that were finished meanwhile. What a crash takes from the ledger is in
// the sink's notes. The function that it returns waits for the last save; an error
// goes to fail.
func (c *copying) keepLedger(ctx context.Context, fail context.CancelCauseFunc) (end func()) {
	ctx = context.WithoutCancel(ctx) // finished tables stand, also at the end
	c.grown = make(chan struct{}, 1)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range c.grown {
			c.mu.Lock()
			l, fresh := c.ledger, c.fresh
			c.fresh = nil
			c.mu.Unlock()
			err := c.p.copiedShapes(ctx, fresh, c.point)
			if err == nil {
				err = c.store.SaveLedger(ctx, l, nil)
			}
			if err != nil {
				fail(err)
			}
			select {
			case <-time.After(ledgerPace):
			case <-over:
			}
		}
	})
	return func() {
		close(c.grown)
		close(over)
		wg.Wait()
	}
}

// grow notes in the ledger that a table has its rows.
func (c *copying) grow(t *entrain.Table, rows int64) {
	c.mu.Lock()
	c.ledger.Tables = append(c.ledger.Tables, c.entry(t, rows))
	c.fresh = append(c.fresh, t)
	c.mu.Unlock()
	select {
	case c.grown <- struct{}{}:
	default: // it will be saved with what is to be saved already
	}
	c.p.log.Info("table copied", "table", t.String(), "rows", rows)
}

// opened returns the table's load, which its first part opens.
func (c *copying) opened(ctx context.Context, sink entrain.Loader, l *loading) (entrain.TableLoad, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.load != nil {
		return l.load, nil
	}
	shaped, err := c.shape(l.table)
	if err == nil {
		l.load, err = sink.Load(ctx, shaped)
	}
	return l.load, err
}

// shape returns the table as the sink is to have it.
func (c *copying) shape(t *entrain.SnapshotTable) (entrain.SnapshotTable, error) {
	shaped := *t
	if c.p.opt.Transform == nil {
		return shaped, nil
	}
	c.p.transforming.Lock()
	defer c.p.transforming.Unlock()
	to, err := c.p.opt.Snapshot.TransformTable(t.Table)
	if to != t.Table {
		shaped.Table, shaped.Definition = to, nil // it makes another table
	}
	return shaped, err
}

func (c *copying) storePart(ctx context.Context, load entrain.TableLoad, l *loading, part entrain.SnapshotPart) error {
	rows, err := c.snap.Read(ctx, part)
	if err != nil {
		return err
	}
	defer closeQuietly(c.p, "part", rows)
	counted := &countedRows{RowReader: rows, p: c.p, table: l.index}
	n, err := load.Part(ctx, c.transformed(counted))
	if err != nil {
		return err
	}
	l.rows.Add(n)
	c.p.copyingStored(l.index, counted.rows, n)
	return nil
}

// transformed applies the pipeline's rules and contracts to the rows, if there are any.
func (c *copying) transformed(rows *countedRows) entrain.RowReader {
	if c.p.opt.Transform != nil || c.p.contracts.covers(c.tables[rows.table].Table) {
		return &transformedRows{RowReader: rows, p: c.p}
	}
	return rows.unread()
}

// transformedRows are rows behind the pipeline's rules.
type transformedRows struct {
	entrain.RowReader
	p *Pipeline
}

func (r *transformedRows) Read(ctx context.Context) (*entrain.Batch, error) {
	b, err := r.RowReader.Read(ctx)
	if err != nil {
		return nil, err
	}
	r.p.transforming.Lock()
	defer r.p.transforming.Unlock()
	return r.p.held(b, nil)
}

// countedRows shows its rows in the progress while a part is on its way.
type countedRows struct {
	entrain.RowReader
	p     *Pipeline
	table int
	rows  int64
}

func (r *countedRows) Read(ctx context.Context) (*entrain.Batch, error) {
	b, err := r.RowReader.Read(ctx)
	if err == nil {
		n := int64(len(b.Events) + b.Filtered)
		r.rows += n
		r.p.copyingRead(r.table, n)
	}
	return b, err
}
