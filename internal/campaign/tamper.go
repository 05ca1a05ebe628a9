package campaign

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// tamperedSource hands every batch to tamper before the engine sees it. first
// is set for the first events of a session that resumed.
type tamperedSource struct {
	entrain.Source
	tamper tampered
	// early says which batches are acknowledged when they are read.
	early func(b *entrain.Batch) bool
	// byRow resumes behind a row instead of behind a transaction.
	byRow *rowMark
	// reader is the last that was opened.
	reader atomic.Pointer[tamperedReader]
}

// tampered changes the events of a batch.
type tampered func(events []entrain.Event, first *atomic.Bool) []entrain.Event

func always(*entrain.Batch) bool { return true }

// rowMark is behind the last row that the sink took of a transaction that has not ended.
type rowMark struct {
	mu   sync.Mutex
	last rowPlace
}

type rowPlace struct{ version, ordinal uint64 }

// note moves the mark behind what was written.
func (m *rowMark) note(b *entrain.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = rowPlace{}
	if n := len(b.Events); n > 0 && b.Through.IsZero() {
		m.last = rowPlace{b.Events[n-1].Tx.Version, b.Events[n-1].Ordinal + 1}
	}
}

func (m *rowMark) place() rowPlace {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// skip leaves out what is before the place in its transaction.
func (p rowPlace) skip(events []entrain.Event) []entrain.Event {
	return slices.DeleteFunc(events, func(e entrain.Event) bool { return e.Tx.Version == p.version && e.Ordinal < p.ordinal })
}

// Open implements entrain.Source.
func (s *tamperedSource) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	r, err := s.Source.Open(ctx, from)
	if err != nil {
		return nil, err
	}
	tr := &tamperedReader{Reader: r, source: s}
	tr.first.Store(!from.IsZero())
	if s.byRow != nil {
		tr.behind = s.byRow.place()
	}
	s.reader.Store(tr)
	return tr, nil
}

type tamperedReader struct {
	entrain.Reader
	source *tamperedSource
	first  atomic.Bool
	behind rowPlace
}

// Read implements entrain.Reader.
func (r *tamperedReader) Read(ctx context.Context) (*entrain.Batch, error) {
	b, err := r.Reader.Read(ctx)
	if err != nil {
		return nil, err
	}
	if r.source.early != nil && !b.Through.IsZero() && r.source.early(b) {
		if err := r.Ack(ctx, b.Through); err != nil {
			return nil, err
		}
	}
	events := slices.Clone(b.Events)
	switch {
	case r.source.byRow != nil:
		events = r.behind.skip(events)
	case r.source.tamper != nil:
		events = r.source.tamper(events, &r.first)
	default:
		return b, nil
	}
	return &entrain.Batch{Events: events, Through: b.Through, Bytes: b.Bytes, Free: b.Free}, nil
}

// dropOneIn loses every nth event.
func dropOneIn(n int64) func([]entrain.Event, *atomic.Bool) []entrain.Event {
	var seen atomic.Int64
	return func(events []entrain.Event, _ *atomic.Bool) []entrain.Event {
		return slices.DeleteFunc(events, func(entrain.Event) bool { return seen.Add(1)%n == 0 })
	}
}

// dropFirst loses the first event after a reconnect.
func dropFirst(events []entrain.Event, first *atomic.Bool) []entrain.Event {
	if len(events) > 0 && first.Swap(false) {
		return events[1:]
	}
	return events
}

// dropTruncates loses every truncate.
func dropTruncates(events []entrain.Event, _ *atomic.Bool) []entrain.Event {
	return slices.DeleteFunc(events, func(e entrain.Event) bool { return e.Op == entrain.OpTruncate })
}

// swapUpdates swaps two updates of one key.
func swapUpdates(events []entrain.Event, _ *atomic.Bool) []entrain.Event {
	for i := range events {
		for j := i + 1; j < min(len(events), i+40); j++ {
			if sameKeyUpdates(&events[i], &events[j]) {
				events[i].After, events[j].After = events[j].After, events[i].After
				return events
			}
		}
	}
	return events
}

func sameKeyUpdates(a, b *entrain.Event) bool {
	if a.Op != entrain.OpUpdate || b.Op != entrain.OpUpdate || a.Table != b.Table || a.Table.Name != "step" {
		return false
	}
	const id = 1
	n := len(a.Table.Columns)
	x, _ := a.After.Column(id, n)
	y, _ := b.After.Column(id, n)
	return bytes.Equal(x, y)
}

// nullToast takes what the log did not carry for NULL.
func nullToast(events []entrain.Event, _ *atomic.Bool) []entrain.Event {
	for i := range events {
		if e := &events[i]; e.Op == entrain.OpUpdate {
			e.After = withNulls(e.After, len(e.Table.Columns))
		}
	}
	return events
}

func withNulls(row entrain.Row, n int) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, n)
	for i := range n {
		if v, state := row.Column(i, n); state == entrain.Present {
			b.Value(v)
		} else {
			b.Null()
		}
	}
	row, _ = b.End()
	return row
}

// splitKeyChanges makes a delete and an insert of each change of a key.
func splitKeyChanges(events []entrain.Event, _ *atomic.Bool) []entrain.Event {
	var all []entrain.Event
	for _, e := range events {
		if e.Op != entrain.OpUpdate || e.Table.Name != "moved" || e.Before == nil {
			all = append(all, e)
			continue
		}
		gone, come := e, e
		gone.Op, gone.After = entrain.OpDelete, nil
		come.Op, come.Before, come.After = entrain.OpInsert, nil, withText(e.After, len(e.Table.Columns))
		all = append(all, gone, come)
	}
	return all
}

// withText puts an empty text where the log carried nothing: the column must
// not be NULL.
func withText(row entrain.Row, n int) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, n)
	for i := range n {
		v, _ := row.Column(i, n)
		b.Value(v)
	}
	row, _ = b.End()
	return row
}

// tamperedSink writes by the function instead of the writer itself. Its writers
// hide that they keep the position if outside is set.
type tamperedSink struct {
	entrain.Sink
	write   func(ctx context.Context, w entrain.Writer, b *entrain.Batch) error
	outside bool
}

// Open implements entrain.Sink.
func (s *tamperedSink) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := s.Sink.Open(ctx)
	if err != nil {
		return nil, err
	}
	if s.outside {
		if _, err := w.(entrain.Positioner).Position(ctx); err != nil {
			return nil, err
		}
		return plainWriter{w}, nil
	}
	return &tamperedWriter{Writer: w, write: s.write}, nil
}

// plainWriter is a writer without its capabilities.
type plainWriter struct{ entrain.Writer }

type tamperedWriter struct {
	entrain.Writer
	write func(ctx context.Context, w entrain.Writer, b *entrain.Batch) error
}

// Position implements entrain.Positioner.
func (w *tamperedWriter) Position(ctx context.Context) (entrain.Position, error) {
	return w.Writer.(entrain.Positioner).Position(ctx)
}

// Write implements entrain.Writer.
func (w *tamperedWriter) Write(ctx context.Context, b *entrain.Batch) error {
	return w.write(ctx, w.Writer, b)
}

// inHalves commits the first half of a batch before the second.
func inHalves(ctx context.Context, w entrain.Writer, b *entrain.Batch) error {
	half := len(b.Events) / 2
	if half == 0 || b.Through.IsZero() {
		return w.Write(ctx, b)
	}
	if err := w.Write(ctx, &entrain.Batch{Events: b.Events[:half], Through: b.Through}); err != nil {
		return err
	}
	return w.Write(ctx, &entrain.Batch{Events: b.Events[half:], Through: b.Through})
}

// again writes each 5th batch twice.
func again() func(context.Context, entrain.Writer, *entrain.Batch) error {
	var written atomic.Int64
	return func(ctx context.Context, w entrain.Writer, b *entrain.Batch) error {
		err := w.Write(ctx, b)
		if err == nil && !b.Through.IsZero() && written.Add(1)%5 == 0 {
			err = w.Write(ctx, b)
		}
		return err
	}
}

// memory is a store of the position that survives sessions.
type memory struct {
	mu   sync.Mutex
	last pipeline.Checkpoint
}

// Load implements pipeline.Store.
func (m *memory) Load(context.Context) (pipeline.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, nil
}

// Save implements pipeline.Store.
func (m *memory) Save(_ context.Context, c pipeline.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = c
	return nil
}
