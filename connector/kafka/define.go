package kafka

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// definition is a table that waits for the end of the transaction at hand.
type definition struct {
	table entrain.ChunkTable
	done  chan error // of one
}

// MakeTable implements [entrain.TableMaker]: the definition becomes an event of
// the log, before all that the current writer writes later. It returns when that
// is durable, which in the middle of a large transaction takes until its end.
func (l *Log) MakeTable(ctx context.Context, t entrain.ChunkTable) error {
	l.mu.Lock()
	w := l.writer
	l.mu.Unlock()
	if w == nil {
		return entrain.Retryable(fmt.Errorf("no session writes to the topic %s", l.name))
	}
	if err := w.define(ctx, t); err != nil {
		return fmt.Errorf("write the definition of table %s to the topic %s: %w", t.Table, l.name, err)
	}
	return nil
}

// wrote notes the log's writer; nil for the end of old's session.
func (l *Log) wrote(w, old *writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w != nil || l.writer == old {
		l.writer = w
	}
}

// enter waits until no other goroutine uses the writer.
func (w *writer) enter(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) leave() { <-w.turn }

// define writes the definition at once, or leaves it to the end of the transaction
// that is open.
func (w *writer) define(ctx context.Context, t entrain.ChunkTable) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	switch {
	case w.over != nil || w.ended.Load() || w.own == nil:
		w.leave()
		return entrain.Retryable(errClosed)
	case !w.open:
		err := w.writeDefinition(ctx, t)
		if err != nil {
			w.giveUp()
		}
		w.leave()
		return err
	}
	d := definition{table: t, done: make(chan error, 1)}
	w.waiting = append(w.waiting, d)
	w.leave()
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// defineWaiting writes what waited for the end of a transaction.
func (w *writer) defineWaiting(ctx context.Context) error {
	for len(w.waiting) > 0 {
		d := w.waiting[0]
		w.waiting = w.waiting[1:]
		err := w.writeDefinition(ctx, d.table)
		d.done <- err
		if err != nil {
			return err
		}
	}
	return nil
}

// giveUp ends the session: nobody waits for it any more.
func (w *writer) giveUp() {
	w.over = errClosed
	for _, d := range w.waiting {
		d.done <- entrain.Retryable(errClosed)
	}
	w.waiting = nil
}

// writeDefinition writes one as a transaction of its own, at the version of what
// was written last. The position stays.
func (w *writer) writeDefinition(ctx context.Context, t entrain.ChunkTable) error {
	d := t.Definition
	if d == nil {
		d = &entrain.Definition{}
	}
	of := w.stream
	if of == nil {
		of = &entrain.Stream{Source: w.transactionalID}
	}
	w.defined++
	e := entrain.Event{
		Op: entrain.OpSchema, Table: t.Table, Schema: &entrain.SchemaChange{Make: d},
		Ordinal: entrain.SchemaOrdinal(w.defined, 0), Tx: &entrain.Transaction{Stream: of, Version: w.version},
	}
	err := w.begin(ctx)
	if err == nil {
		err = w.form.event(ctx, &e)
	}
	if err == nil {
		err = bounded(ctx, 2*patience, w.client.Flush)
	}
	if refused := w.refusal(); refused != nil {
		err = refused
	}
	if err == nil {
		w.pool.flushed()
		err = w.commit(ctx)
	}
	if err != nil {
		return w.explain(err)
	}
	return nil
}
