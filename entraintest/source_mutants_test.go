package entraintest

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/entrainsync/entrain"
)

type sourceMutant struct {
	name    string
	bounded bool
	fails   string // cases that have to fail, separated by spaces
	wrap    func(*MemorySource) entrain.Source
}

// openFunc is a source made of a function.
type openFunc func(ctx context.Context, from entrain.Position) (entrain.Reader, error)

func (f openFunc) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	return f(ctx, from)
}

// mutantReader is a reader of which some methods are replaced.
type mutantReader struct {
	entrain.Reader
	read  func(ctx context.Context) (*entrain.Batch, error)
	ack   func(ctx context.Context, p entrain.Position) error
	close func() error
}

func (r *mutantReader) Read(ctx context.Context) (*entrain.Batch, error) {
	if r.read != nil {
		return r.read(ctx)
	}
	return r.Reader.Read(ctx)
}

func (r *mutantReader) Ack(ctx context.Context, p entrain.Position) error {
	if r.ack != nil {
		return r.ack(ctx, p)
	}
	return r.Reader.Ack(ctx, p)
}

func (r *mutantReader) Close() error {
	if r.close != nil {
		return r.close()
	}
	return r.Reader.Close()
}

// readers makes a mutant of which every session is changed.
func readers(change func(src *MemorySource, r *mutantReader)) func(*MemorySource) entrain.Source {
	return func(src *MemorySource) entrain.Source {
		return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
			r, err := src.Open(ctx, from)
			if err != nil {
				return nil, err
			}
			m := &mutantReader{Reader: r}
			change(src, m)
			return m, nil
		})
	}
}

// batches makes a mutant that changes every batch.
func batches(change func(b *entrain.Batch)) func(*MemorySource) entrain.Source {
	return readers(func(_ *MemorySource, m *mutantReader) {
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			b, err := m.Reader.Read(ctx)
			if err == nil {
				change(b)
			}
			return b, err
		}
	})
}

// events makes a mutant that changes every event.
func events(change func(e *entrain.Event)) func(*MemorySource) entrain.Source {
	return batches(func(b *entrain.Batch) {
		for i := range b.Events {
			change(&b.Events[i])
		}
	})
}

// shifted makes a mutant that opens delta transactions away from where it
// should.
func shifted(delta int) func(*MemorySource) entrain.Source {
	return func(src *MemorySource) entrain.Source {
		return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
			n, err := strconv.Atoi(from.Offset)
			if err == nil {
				from.Offset = strconv.Itoa(n + delta)
			}
			return src.Open(ctx, from)
		})
	}
}

// detached ignores the contexts that it is given.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

var sourceMutants = []sourceMutant{
	{name: "resumes-early", fails: "resume-at-every-position acknowledged-in-part", wrap: shifted(-1)},
	{name: "resumes-late", fails: "resume-at-every-position ack-in-order", wrap: shifted(+1)},
	{name: "acks-what-was-read", fails: "unacknowledged-comes-again resume-at-every-position",
		wrap: readers(func(_ *MemorySource, m *mutantReader) {
			m.read = func(ctx context.Context) (*entrain.Batch, error) {
				b, err := m.Reader.Read(ctx)
				if err == nil && !b.Through.IsZero() {
					err = m.Reader.Ack(ctx, b.Through)
				}
				return b, err
			}
		})},
	{name: "acks-too-far", fails: "acknowledged-in-part", wrap: readers(func(src *MemorySource, m *mutantReader) {
		m.ack = func(ctx context.Context, _ entrain.Position) error {
			return m.Reader.Ack(ctx, src.position(m.Reader.(*memoryReader).tx))
		}
	})},
	{name: "ack-waits-for-read", fails: "ack-beside-blocked-read", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		var mu sync.Mutex
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			mu.Lock()
			defer mu.Unlock()
			return m.Reader.Read(ctx)
		}
		m.ack = func(ctx context.Context, p entrain.Position) error {
			mu.Lock()
			defer mu.Unlock()
			return m.Reader.Ack(ctx, p)
		}
	})},
	{name: "ack-fails", fails: "ack-in-order", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		m.ack = func(context.Context, entrain.Position) error { return errors.New("not now") }
	})},
	{name: "position-in-fragments", fails: "operations large-transaction", wrap: batches(func(b *entrain.Batch) {
		if b.Through.IsZero() {
			b.Through = entrain.Position{Incarnation: "memory", Offset: "1"}
		}
	})},
	{name: "whole-transactions-only", fails: "large-transaction interrupted-transaction", wrap: func(src *MemorySource) entrain.Source {
		src.cfg.BatchEvents = 0
		return src
	}},
	{name: "mixed-fragments", fails: "operations", wrap: batches(func(b *entrain.Batch) { b.Through = entrain.Position{} })},
	{name: "ordinals-per-batch", fails: "operations large-transaction", wrap: batches(func(b *entrain.Batch) {
		for i := range b.Events {
			b.Events[i].Ordinal = uint64(i)
		}
	})},
	{name: "one-version", fails: "operations", wrap: events(func(e *entrain.Event) { e.Tx.Version = 7 })},
	{name: "ids-per-session", fails: "unacknowledged-comes-again", wrap: freshIncarnations},
	{name: "unchanged-as-null", fails: "null-and-unchanged operations key-change", wrap: events(func(e *entrain.Event) {
		e.After = replaceCells(e, Unchanged, Null)
	})},
	{name: "null-as-unchanged", fails: "null-and-unchanged", wrap: events(func(e *entrain.Event) {
		e.After = replaceCells(e, Null, Unchanged)
	})},
	{name: "numbers-rounded", fails: "operations", wrap: events(func(e *entrain.Event) {
		e.After = replaceCells(e, Text("1.00"), Text("1"))
	})},
	{name: "key-change-without-old-key", fails: "key-change", wrap: events(func(e *entrain.Event) {
		if e.Op == entrain.OpUpdate {
			e.Before = nil
		}
	})},
	{name: "truncate-of-nothing", fails: "truncate", wrap: events(func(e *entrain.Event) {
		if e.Op == entrain.OpTruncate {
			e.Truncate.Tables = nil
		}
	})},
	{name: "reuses-memory", fails: "memory-until-free", wrap: reuseMemory()},
	{name: "no-bytes", fails: "operations", wrap: batches(func(b *entrain.Batch) { b.Bytes = 0 })},
	{name: "loses-when-cancelled", fails: "read-with-ended-context", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			if ctx.Err() != nil {
				m.Reader.(*memoryReader).next()
			}
			return m.Reader.Read(ctx)
		}
	})},
	{name: "over-when-cancelled", fails: "read-with-ended-context cancel-blocked-read deadline-of-blocked-read",
		wrap: readers(func(_ *MemorySource, m *mutantReader) {
			m.read = func(ctx context.Context) (*entrain.Batch, error) {
				b, err := m.Reader.Read(ctx)
				if err != nil {
					m.Reader.Close()
				}
				return b, err
			}
		})},
	{name: "read-ignores-context", fails: "cancel-blocked-read deadline-of-blocked-read", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		m.read = func(ctx context.Context) (*entrain.Batch, error) { return m.Reader.Read(detached(ctx)) }
	})},
	{name: "second-close-fails", fails: "close-twice", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		closed := false
		m.close = func() error {
			if closed {
				return errors.New("closed already")
			}
			closed = true
			return m.Reader.Close()
		}
	})},
	{name: "reads-on-after-close", fails: "close-twice close-while-reading", wrap: readers(func(_ *MemorySource, m *mutantReader) {
		m.close = func() error { return nil }
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			b, err := m.Reader.Read(ctx)
			if err != nil {
				return &entrain.Batch{Through: entrain.Position{Incarnation: "memory", Offset: "idle"}}, nil
			}
			return b, nil
		}
	})},
	{name: "open-ignores-context", fails: "open-with-ended-context", wrap: func(src *MemorySource) entrain.Source {
		return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
			return src.Open(detached(ctx), from)
		})
	}},
	{name: "session-ends-with-open", fails: "open-context-bounds-opening-only", wrap: sessionOfOpen},
	{name: "any-history", fails: "unknown-history", wrap: func(src *MemorySource) entrain.Source {
		return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
			if !from.IsZero() {
				from.Incarnation = "memory"
			}
			return src.Open(ctx, from)
		})
	}},
	{name: "never-ends", bounded: true, fails: "end-of-bounded-history", wrap: func(src *MemorySource) entrain.Source {
		src.cfg.Bounded = false
		return src
	}},
	{name: "ends-early", bounded: true, fails: "operations", wrap: func(src *MemorySource) entrain.Source {
		return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
			src.mu.Lock()
			src.txs = src.txs[:max(0, len(src.txs)-1)]
			src.mu.Unlock()
			return src.Open(ctx, from)
		})
	}},
}

// freshIncarnations gives every session an incarnation of its own.
func freshIncarnations(src *MemorySource) entrain.Source {
	sessions := 0
	return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
		sessions++
		stream := &entrain.Stream{Source: "source", Incarnation: strconv.Itoa(sessions)}
		wrapped := batches(func(b *entrain.Batch) {
			for i := range b.Events {
				b.Events[i].Tx.Stream = stream
			}
			if !b.Through.IsZero() {
				b.Through.Incarnation = stream.Incarnation
			}
		})(src)
		return wrapped.Open(ctx, from)
	})
}

// sessionOfOpen ends a session with the context that opened it.
func sessionOfOpen(src *MemorySource) entrain.Source {
	return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
		r, err := src.Open(ctx, from)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { r.Close() })
		return r, nil
	})
}

// reuseMemory overwrites each batch when the next one is read.
func reuseMemory() func(*MemorySource) entrain.Source {
	return readers(func(_ *MemorySource, m *mutantReader) {
		var last *entrain.Batch
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			b, err := m.Reader.Read(ctx)
			if last != nil && len(last.Events) > 0 && err == nil {
				row := last.Events[0].After
				clear(row[len(row)/2:])
			}
			last = b
			return b, err
		}
	})
}

// replaceCells returns e's after image with other cells.
func replaceCells(e *entrain.Event, from, to Cell) entrain.Row {
	cells := Cells(e.Table, e.After)
	if cells == nil {
		return nil
	}
	for i, c := range cells {
		if c == from {
			cells[i] = to
		}
	}
	return Row(e.Table, cells...)
}
