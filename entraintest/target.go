package entraintest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// target is a sink under test and what must be in it: the suite's idea of an
// engine that writes to it.
type target struct {
	t      testing.TB
	h      SinkHarness
	sink   entrain.Sink
	stream *entrain.Stream
	w      entrain.Writer

	durable progress // at the last accepted Through
	open    progress // with the open transaction's events
	mark    []byte   // stored with durable
}

// progress is a state of the target between two events.
type progress struct {
	rows    Rows
	double  Rows // of the rows' table
	pos     entrain.Position
	version uint64 // of the last transaction that was started
	ordinal uint64 // of the open transaction's next event; 0 between transactions
}

// newTarget opens a session on a fresh target.
func newTarget(t testing.TB, h SinkHarness) *target {
	t.Helper()
	g := &target{t: t, h: h, sink: h.New(t)}
	g.stream = &entrain.Stream{Source: "source", Incarnation: "suite"}
	g.durable.rows = Rows{}
	g.reopen()
	return g
}

// reopen starts a session as the engine does, at what is durable.
func (g *target) reopen() {
	g.t.Helper()
	ctx, cancel := g.context()
	defer cancel()
	w, err := g.sink.Open(ctx)
	if err != nil {
		g.t.Fatalf("open: %v", err)
	}
	g.t.Cleanup(func() { w.Close() })
	g.w = w
	g.open = g.durable.clone()
	g.resume(ctx)
}

func (g *target) resume(ctx context.Context) {
	g.t.Helper()
	switch g.h.Keeps {
	case KeepsPosition:
		p, ok := g.w.(entrain.Positioner)
		if !ok {
			g.t.Fatalf("the writer %T is no Positioner", g.w)
		}
		pos, err := p.Position(ctx)
		if err != nil {
			g.t.Fatalf("take position over: %v", err)
		}
		if pos != g.durable.pos {
			g.t.Fatalf("the position is %q %q, want %q %q", pos.Incarnation, pos, g.durable.pos.Incarnation, g.durable.pos)
		}
	case KeepsMark:
		m, ok := g.w.(entrain.Marker)
		if !ok {
			g.t.Fatalf("the writer %T is no Marker", g.w)
		}
		if err := m.Restore(ctx, bytes.Clone(g.mark)); err != nil {
			g.t.Fatalf("restore mark %q: %v", g.mark, err)
		}
	}
}

func (g *target) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(g.t.Context(), patience(g.h.Patience))
}

// commit writes each transaction as a batch of its own.
func (g *target) commit(events ...entrain.Event) {
	g.t.Helper()
	g.write(g.batch(true, events))
}

// batch builds a batch of whole transactions or, unless the last one is to be
// ended, of fragments. The first one continues an open transaction. The
// batch shares no memory with the events.
func (g *target) batch(end ended, txs ...[]entrain.Event) *entrain.Batch {
	b := &entrain.Batch{}
	for i, events := range txs {
		tx := g.transaction()
		for _, e := range events {
			e = cloneEvent(e)
			e.Tx = tx
			e.Ordinal = g.open.ordinal
			g.open.ordinal++
			b.Bytes += 128 + len(e.Before) + len(e.After)
			b.Events = append(b.Events, e)
		}
		if end || i < len(txs)-1 {
			g.open.ordinal = 0
		}
	}
	if end {
		g.open.ordinal = 0
		g.open.pos = entrain.Position{
			Incarnation: g.stream.Incarnation, Offset: fmt.Sprintf("%08X", g.open.version),
		}
		b.Through = g.open.pos
	}
	return b
}

// ended says whether a batch ends its last transaction.
type ended bool

// transaction returns the open transaction's details, or those of a new one.
func (g *target) transaction() *entrain.Transaction {
	if g.open.ordinal == 0 {
		g.open.version += 16
	}
	return &entrain.Transaction{Stream: g.stream, ID: 700 + g.open.version/16, Version: g.open.version,
		CommitTime: time.Unix(1_700_000_000+int64(g.open.version), 0).UTC()}
}

// write hands a batch over, which must be accepted, and overwrites its memory
// at once.
func (g *target) write(b *entrain.Batch) {
	g.t.Helper()
	through := b.Through
	g.expect(b)
	if err := g.attempt(b); err != nil {
		g.t.Fatalf("write batch through %s: %v", through, err)
	}
	if through.IsZero() {
		return
	}
	g.durable = g.open.clone()
	if m, ok := g.w.(entrain.Marker); ok && g.h.Keeps == KeepsMark {
		g.mark = bytes.Clone(m.Mark())
	}
}

// expect makes the changes of b in the suite's own rows.
func (g *target) expect(b *entrain.Batch) {
	g.t.Helper()
	for i := range b.Events {
		if err := g.expectOne(&b.Events[i]); err != nil {
			g.t.Fatalf("suite: event %d does not fit: %v", i, err)
		}
	}
}

func (g *target) expectOne(e *entrain.Event) error {
	switch {
	case g.h.NoDoubles || !ofDouble(e):
		return g.open.rows.Apply(e)
	case e.Op == entrain.OpTruncate:
		g.open.double = Rows{}
	case e.Op == entrain.OpReadEnd:
		g.open.rows, g.open.double = g.open.double, nil
	default:
		return g.open.double.Apply(e)
	}
	return nil
}

func (p progress) clone() progress {
	p.rows, p.double = p.rows.Clone(), p.double.Clone()
	return p
}

// attempt writes b and overwrites its memory; it returns Write's error.
func (g *target) attempt(b *entrain.Batch) error {
	g.t.Helper()
	ctx, cancel := g.context()
	defer cancel()
	return g.attemptWith(ctx, b)
}

func (g *target) attemptWith(ctx context.Context, b *entrain.Batch) error {
	g.t.Helper()
	w := g.w
	err := g.within("Write", func() error { return w.Write(ctx, b) })
	for i := range b.Events {
		scribble(&b.Events[i])
	}
	*b = entrain.Batch{}
	return err
}

// close ends the session; what was not durable is gone.
func (g *target) close() {
	g.t.Helper()
	w := g.w
	if err := g.within("Close", func() error { return w.Close() }); err != nil {
		g.t.Fatalf("close: %v", err)
	}
}

// within returns what f returns, in time.
func (g *target) within(what string, f func() error) error {
	g.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * patience(g.h.Patience)):
		g.t.Fatalf("%s does not return", what)
		return nil
	}
}

// check compares what an independent reader sees with what is durable.
func (g *target) check(when string) {
	g.t.Helper()
	if diff := g.h.Rows(g.t).Diff(g.durable.rows); diff != "" {
		g.t.Fatalf("%s the rows are wrong:\n%s", when, diff)
	}
}
