package entraintest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// Keeps says what a sink's writer remembers of how far it came.
type Keeps uint8

const (
	// KeepsNothing: redelivery after a crash doubles effects (a webhook).
	KeepsNothing Keeps = iota
	// KeepsMark: the writer is an [entrain.Marker] (a file).
	KeepsMark
	// KeepsPosition: the writer is an [entrain.Positioner] (a database).
	KeepsPosition
)

// MemorySinkConfig says how a [MemorySink] behaves. The hooks may be nil; they
// are called without locks and may block until ctx ends.
type MemorySinkConfig struct {
	// Keeps decides which optional interface the writers have.
	Keeps Keeps
	// Gathers, if not 0, makes an [entrain.Gatherer] of the writers of a sink that
	// keeps the position.
	Gathers time.Duration
	// BeforeOpen is called first in Open; its error is returned.
	BeforeOpen func(ctx context.Context) error
	// BeforeWrite is called before a batch is applied. Its error is returned
	// by Write, and the batch has no effect.
	BeforeWrite func(ctx context.Context, b *entrain.Batch) error
	// AfterCommit is called when a batch is durable. Its error is returned by
	// Write although the batch has its effect: the outcome is unknown.
	AfterCommit func(ctx context.Context, b *entrain.Batch) error
}

// MemorySink is a transactional sink whose tables are in memory and appear
// when first used. One session may write at a time: with [KeepsPosition] the
// one that called Position last, else the one that was opened last; the
// others are refused. A change that does not fit the rows, such as an insert
// of a key that exists, is refused with a [entrain.BatchError], except with
// KeepsNothing, where repetitions are normal, and for events that settle. Doubles
// of tables ([entrain.Table.Shadow]) are in transactions, too. All methods are
// safe for concurrent use.
type MemorySink struct {
	cfg MemorySinkConfig

	mu      sync.Mutex
	tables  map[string]Rows // as the open transaction sees them
	pending MemoryCommit    // the open transaction
	commits []MemoryCommit
	owner   *memoryWriter // whose transaction is open; nil before the first
}

// MemoryCommit is one transaction of a [MemorySink].
type MemoryCommit struct {
	// Position that it made durable.
	Position entrain.Position
	// IDs of the events that took effect with it, in the order of the writes.
	IDs []string

	undo []tableEdit
}

type tableEdit struct {
	table string
	edit
}

// NewMemorySink returns an empty sink.
func NewMemorySink(cfg MemorySinkConfig) *MemorySink {
	return &MemorySink{cfg: cfg, tables: map[string]Rows{}}
}

// Rows returns a copy of the rows of the table (named schema.table) that are
// visible now.
func (s *MemorySink) Rows(table string) Rows {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(table, len(s.commits))
}

// RowsAfter returns what was visible in the table after the first n commits,
// 0 ≤ n ≤ the number of commits.
func (s *MemorySink) RowsAfter(table string, n int) Rows {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(table, n)
}

// Commits returns the transactions that are in effect, in order.
func (s *MemorySink) Commits() []MemoryCommit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commits)
}

// IDs returns the ids of all events that are in effect, in order: a
// difference to what was committed at the source is a loss, a repetition or a
// wrong order.
func (s *MemorySink) IDs() []string {
	var ids []string
	for _, c := range s.Commits() {
		ids = append(ids, c.IDs...)
	}
	return ids
}

// Open starts a session. See [entrain.Sink].
func (s *MemorySink) Open(ctx context.Context) (entrain.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open memory sink: %w", err)
	}
	if s.cfg.BeforeOpen != nil {
		if err := s.cfg.BeforeOpen(ctx); err != nil {
			return nil, fmt.Errorf("open memory sink: %w", err)
		}
	}
	w := &memoryWriter{sink: s}
	switch s.cfg.Keeps {
	case KeepsPosition:
		p := &positionWriter{w}
		if s.cfg.Gathers != 0 {
			return &gatherWriter{p}, nil
		}
		return p, nil
	case KeepsMark:
		s.takeOver(w)
		return &markWriter{w}, nil
	}
	s.takeOver(w)
	return w, nil
}

// takeOver makes w the only writer and rolls back what another one left open.
func (s *MemorySink) takeOver(w *memoryWriter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rollback()
	s.owner = w
}

// at undoes, in a copy, everything after the first n commits.
func (s *MemorySink) at(table string, n int) Rows {
	rows := s.tables[table].Clone()
	if rows == nil {
		rows = Rows{}
	}
	undo := func(edits []tableEdit) {
		for _, d := range slices.Backward(edits) {
			if d.table == table {
				rows.set(d.key, d.old)
			}
		}
	}
	undo(s.pending.undo)
	for _, c := range slices.Backward(s.commits[n:]) {
		undo(c.undo)
	}
	return rows
}

func (s *MemorySink) rollback() {
	s.revert(s.pending)
	s.pending = MemoryCommit{}
}

func (s *MemorySink) revert(c MemoryCommit) {
	for _, d := range slices.Backward(c.undo) {
		s.tables[d.table].set(d.key, d.old)
	}
}

// apply makes one event's change in the open transaction.
func (s *MemorySink) apply(e *entrain.Event) error {
	tables := []*entrain.Table{e.Table}
	switch {
	case ofDouble(e):
		if err := s.applyDouble(e); err != nil {
			return err
		}
		tables = nil
	case e.Op == entrain.OpTruncate:
		tables = e.Truncate.Tables
	case e.Op == entrain.OpMessage, e.Op == entrain.OpReadEnd, e.Op == entrain.OpSchema:
		tables = nil
	case e.Table == nil:
		return fmt.Errorf("unknown operation %s", e.Op)
	}
	for _, t := range tables {
		if err := s.applyTo(t.String(), e); err != nil {
			return err
		}
	}
	s.pending.IDs = append(s.pending.IDs, e.ID())
	return nil
}

func (s *MemorySink) applyTo(table string, e *entrain.Event) error {
	rows := s.tables[table]
	if rows == nil {
		rows = Rows{}
		s.tables[table] = rows
	}
	edits, err := rows.edits(e)
	if s.cfg.Keeps == KeepsNothing {
		edits, err = tolerate(rows, e, edits, err)
	}
	s.edit(table, edits)
	return err
}

// edit changes the rows of a table, so that it can be undone.
func (s *MemorySink) edit(table string, edits []edit) {
	if s.tables[table] == nil {
		s.tables[table] = Rows{}
	}
	for _, d := range edits {
		s.pending.undo = append(s.pending.undo, tableEdit{table: table, edit: d})
		s.tables[table].set(d.key, d.new)
	}
}

// tolerate is what a sink without a memory must do with repeated changes: an
// insert replaces, a change of an absent row does nothing.
func tolerate(rows Rows, e *entrain.Event, edits []edit, err error) ([]edit, error) {
	switch {
	case errors.Is(err, errAbsent):
		return nil, nil
	case errors.Is(err, errPresent) && e.Op == entrain.OpInsert:
		after := Cells(e.Table, e.After)
		key, _ := keyOf(e.Table, after)
		return []edit{{key: key, old: rows[key], new: after}}, nil
	}
	return edits, err
}

// memoryWriter is a session; the optional interfaces are added around it.
type memoryWriter struct {
	sink *MemorySink
	over error // why the session can write no more; guarded by the sink's lock
	// refused: it is over because of events, and all before their batch was durable.
	refused bool
}

func (w *memoryWriter) Write(ctx context.Context, b *entrain.Batch) error {
	err := ctx.Err()
	if hook := w.sink.cfg.BeforeWrite; err == nil && hook != nil {
		err = hook(ctx, b)
	}
	if err := w.apply(b, err); err != nil {
		return fmt.Errorf("write batch through %s to memory sink: %w", b.Through, err)
	}
	hook := w.sink.cfg.AfterCommit
	if hook == nil || b.Through.IsZero() {
		return nil
	}
	if err := hook(ctx, b); err != nil {
		return w.end(fmt.Errorf("commit batch through %s in memory sink: %w", b.Through, err))
	}
	return nil
}

// apply makes the changes of b unless err says that it must not, and commits
// if b ends a transaction. Any error ends the session.
func (w *memoryWriter) apply(b *entrain.Batch, err error) error {
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.over != nil {
		return w.over
	}
	begins := len(s.pending.IDs) == 0
	if err == nil {
		err = w.change(b)
	}
	if err != nil {
		w.endLocked(err)
		var batch *entrain.BatchError
		w.refused = begins && errors.As(err, &batch)
		return err
	}
	if !b.Through.IsZero() {
		s.pending.Position = b.Through
		s.commits = append(s.commits, s.pending)
		s.pending = MemoryCommit{}
	}
	return nil
}

func (w *memoryWriter) change(b *entrain.Batch) error {
	if w.sink.owner != w {
		return &entrain.Stop{Code: "fenced", What: "the session does not own the sink",
			Why: "another one took the position over, or this one never did"}
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := w.sink.apply(e); err != nil {
			return &entrain.BatchError{Failed: []entrain.FailedEvent{refused(e, err)}}
		}
	}
	return nil
}

func refused(e *entrain.Event, err error) entrain.FailedEvent {
	f := entrain.FailedEvent{ID: e.ID(), Op: e.Op, Err: err}
	if e.Table != nil {
		f.Table = e.Table.String()
	}
	return f
}

func (w *memoryWriter) end(err error) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.endLocked(err)
	return err
}

// endLocked ends the session; what it left open has no effect.
func (w *memoryWriter) endLocked(err error) {
	w.over = fmt.Errorf("session is over: %w", err)
	if w.sink.owner == w {
		w.sink.rollback()
	}
}

func (w *memoryWriter) Close() error {
	w.end(errors.New("closed"))
	return nil
}

type positionWriter struct{ *memoryWriter }

type gatherWriter struct{ *positionWriter }

// Gather implements [entrain.Gatherer].
func (w *gatherWriter) Gather() time.Duration { return w.sink.cfg.Gathers }

// Position takes the sink over for this session. See [entrain.Positioner].
func (w *positionWriter) Position(ctx context.Context) (entrain.Position, error) {
	if err := ctx.Err(); err != nil {
		return entrain.Position{}, fmt.Errorf("take position of memory sink over: %w", err)
	}
	w.sink.takeOver(w.memoryWriter)
	commits := w.sink.Commits()
	if len(commits) == 0 {
		return entrain.Position{}, nil
	}
	return commits[len(commits)-1].Position, nil
}

// Rollback lets the session go on. See [entrain.Sifter].
func (w *positionWriter) Rollback(ctx context.Context) error {
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.refused || s.owner != w.memoryWriter {
		return w.over
	}
	w.over, w.refused = nil, false
	return ctx.Err()
}

// Try makes changes that the next commit makes durable. See [entrain.Sifter].
func (w *positionWriter) Try(ctx context.Context, b *entrain.Batch) error {
	err := ctx.Err()
	if hook := w.sink.cfg.BeforeWrite; err == nil && hook != nil {
		err = hook(ctx, b)
	}
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.over != nil {
		return w.over
	}
	edits, ids := len(s.pending.undo), len(s.pending.IDs)
	if err == nil {
		err = w.change(b)
	}
	var batch *entrain.BatchError
	switch {
	case err == nil:
	case errors.As(err, &batch):
		s.revert(MemoryCommit{undo: s.pending.undo[edits:]})
		s.pending.undo, s.pending.IDs = s.pending.undo[:edits], s.pending.IDs[:ids]
	default:
		w.endLocked(err)
	}
	return err
}

type markWriter struct{ *memoryWriter }

// Mark is the number of commits. See [entrain.Marker].
func (w *markWriter) Mark() []byte {
	return strconv.AppendInt(nil, int64(len(w.sink.Commits())), 10)
}

// Restore undoes the commits after mark. See [entrain.Marker].
func (w *markWriter) Restore(_ context.Context, mark []byte) error {
	n := 0
	if mark != nil {
		var err error
		if n, err = strconv.Atoi(string(mark)); err != nil {
			return fmt.Errorf("restore memory sink: %w", err)
		}
	}
	s := w.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 || n > len(s.commits) {
		return &entrain.Stop{Code: "sink_truncated", What: fmt.Sprintf("mark %d of %d commits", n, len(s.commits))}
	}
	s.rollback()
	for _, c := range slices.Backward(s.commits[n:]) {
		s.revert(c)
	}
	s.commits = s.commits[:n:n]
	return nil
}
