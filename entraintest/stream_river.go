package entraintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// river is a log under test, its writer, and what must come out of it.
type river struct {
	*target
	h   StreamHarness
	c   StreamConfig
	log stream.Log

	events []string // what is durable, as described
	ends   []int    // how many events there were at the end of each transaction
	torn   []string // of the open transaction
}

// newRiver opens a writer on a fresh store.
func newRiver(t testing.TB, h StreamHarness, c StreamConfig) *river {
	t.Helper()
	h.New(t)
	return joinRiver(t, h, c)
}

// joinRiver opens a writer on the store that there is.
func joinRiver(t testing.TB, h StreamHarness, c StreamConfig) *river {
	t.Helper()
	if c.Producer == "" {
		c.Producer = "shop"
	}
	v := &river{h: h, c: c, log: h.Log(t, c)}
	v.target = &target{t: t, h: SinkHarness{Keeps: KeepsPosition, Patience: h.Patience}, sink: v.log}
	v.target.stream = &entrain.Stream{Source: c.Producer, Incarnation: "suite", Database: "db"}
	v.reopen()
	return v
}

// restart is another process that takes over.
func (v *river) restart() {
	v.t.Helper()
	v.log = v.h.Log(v.t, v.c)
	v.sink = v.log
	v.torn = nil
	v.reopen()
}

// write has a batch accepted.
func (v *river) write(b *entrain.Batch) {
	v.t.Helper()
	v.expectIt(b)
	through := b.Through
	if err := v.attempt(b); err != nil {
		v.t.Fatalf("write batch through %s: %v", through, err)
	}
	v.accepted(through)
}

func (v *river) expectIt(b *entrain.Batch) {
	for i := range b.Events {
		if i > 0 && b.Events[i].Tx.Version != b.Events[i-1].Tx.Version {
			v.ends = append(v.ends, len(v.events)+len(v.torn))
		}
		v.torn = append(v.torn, v.describe(&b.Events[i]))
	}
}

func (v *river) accepted(through entrain.Position) {
	if through.IsZero() {
		return
	}
	v.events, v.torn = append(v.events, v.torn...), nil
	v.ends = append(v.ends, len(v.events))
	v.durable = v.open.clone()
}

// commit writes each call's events as one transaction in one batch.
func (v *river) commit(events ...entrain.Event) {
	v.t.Helper()
	v.write(v.batch(true, events))
}

// part writes events of a transaction that goes on.
func (v *river) part(events ...entrain.Event) {
	v.t.Helper()
	v.write(v.batch(false, events))
}

func (v *river) describe(e *entrain.Event) string {
	if v.h.Describe != nil {
		return v.h.Describe(e)
	}
	return describeEvent(e)
}

// describeEvent says all that there is to an event.
func describeEvent(e *entrain.Event) string {
	c := *e
	c.Tx, c.Before, c.After = nil, nil, nil
	var cells [][]Cell
	if e.Table != nil {
		cells = [][]Cell{Cells(e.Table, e.Before), Cells(e.Table, e.After)}
	}
	text, err := json.Marshal(c)
	if err != nil {
		text = []byte(err.Error())
	}
	return fmt.Sprintf("%s in %+v %d.%d at %d of %q: %s %v", e.Op, *e.Tx.Stream, e.Tx.Version, e.Tx.ID, e.Tx.CommitTime.UnixMicro(),
		e.Tx.Origin, text, cells)
}

// at is a position that was seen, and how many events it is behind.
type at struct {
	entrain.Position
	events int
}

// tap is one session of a reader.
type tap struct {
	v      *river
	r      entrain.Reader
	next   int // the next event is the river's one of this number
	parts  int // batches that were parts of a transaction
	latest at  // the last position; where the session began
	seen   []at
}

// tap opens a reader on the river's partition.
func (v *river) tap(cursor string, from at) *tap {
	v.t.Helper()
	p, err := v.tryTap(cursor, from)
	if err != nil {
		v.t.Fatalf("open cursor %s at %s: %v", cursor, from, err)
	}
	return p
}

func (v *river) tryTap(cursor string, from at) (*tap, error) {
	ctx, cancel := v.context()
	defer cancel()
	r, err := v.h.Log(v.t, v.c).Read(cursor, v.h.partition(v.c.Producer)).Open(ctx, from.Position)
	if err != nil {
		return nil, err
	}
	v.t.Cleanup(func() { r.Close() })
	return &tap{v: v, r: r, next: from.events, latest: from}, nil
}

// read takes one batch and compares it with what was written.
func (p *tap) read(ctx context.Context) error {
	p.v.t.Helper()
	var b *entrain.Batch
	err := p.v.within("Read", func() (err error) {
		b, err = p.r.Read(ctx)
		return err
	})
	if err != nil {
		return err
	}
	p.take(b)
	free(b)
	return nil
}

func (p *tap) take(b *entrain.Batch) {
	t := p.v.t
	t.Helper()
	all := slices.Concat(p.v.events, p.v.torn)
	for i := range b.Events {
		if p.next >= len(all) {
			t.Fatalf("event %d is one too many: %.200s", p.next, p.v.describe(&b.Events[i]))
		}
		if got := p.v.describe(&b.Events[i]); got != all[p.next] {
			t.Fatalf("event %d is\n%.500s\nwant\n%.500s", p.next, got, all[p.next])
		}
		if b.Through.IsZero() && b.Events[i].Tx.Version != b.Events[0].Tx.Version {
			t.Fatalf("a batch without a position has events of two transactions")
		}
		p.next++
	}
	switch {
	case b.Through.IsZero() && len(b.Events) == 0:
		t.Fatalf("a batch has neither events nor a position")
	case b.Through.IsZero():
		p.parts++
	case len(b.Events) > 0 && !slices.Contains(p.v.ends, p.next):
		t.Fatalf("position %s is after event %d, where no transaction ends", b.Through, p.next)
	default:
		p.latest = at{b.Through, p.next}
		p.seen = append(p.seen, p.latest)
	}
}

// drain reads all that is durable.
func (p *tap) drain() {
	p.v.t.Helper()
	ctx, cancel := p.v.context()
	defer cancel()
	for p.latest.events < len(p.v.events) {
		if err := p.read(ctx); err != nil {
			p.v.t.Fatalf("read after event %d of %d: %v", p.next, len(p.v.events), err)
		}
	}
}

// dry checks that nothing more comes.
func (p *tap) dry() {
	p.v.t.Helper()
	ctx, cancel := context.WithTimeout(p.v.t.Context(), p.v.h.quiet())
	defer cancel()
	if err := p.read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		p.v.t.Fatalf("at the end, Read returns %v", err)
	}
}

// ack acknowledges all that was read.
func (p *tap) ack() {
	p.v.t.Helper()
	ctx, cancel := p.v.context()
	defer cancel()
	for _, s := range p.seen {
		if err := p.r.Ack(ctx, s.Position); err != nil {
			p.v.t.Fatalf("acknowledge %s: %v", s, err)
		}
	}
	p.seen = nil
}

func (p *tap) close() {
	p.v.t.Helper()
	if err := p.v.within("Close", p.r.Close); err != nil {
		p.v.t.Fatalf("close: %v", err)
	}
}

// refused is the error of a session at a position that cannot go on.
func (v *river) refused(cursor string, from at) error {
	v.t.Helper()
	p, err := v.tryTap(cursor, from)
	if err != nil {
		return err
	}
	ctx, cancel := v.context()
	defer cancel()
	err = p.read(ctx)
	p.close()
	return err
}

func isStop(err error, code string) bool {
	var s *entrain.Stop
	return errors.As(err, &s) && s.Code == code && s.Next != ""
}

// until asks until a condition holds.
func until(t testing.TB, d time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience(d))
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not happen", what)
		}
	}
}

// sink is the writing end for [TestSink].
func (h StreamHarness) sink() SinkHarness {
	c := StreamConfig{Producer: "shop"}
	return SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			h.New(t)
			return h.Log(t, c)
		},
		Rows: func(t testing.TB) Rows {
			return h.replay(t, h.Log(t, c).Read("rows", h.partition(c.Producer)))
		},
		Keeps: KeepsPosition, NoDoubles: true, KeepsChanges: true, Patience: h.Patience,
	}
}

// replay applies all whole transactions from the beginning to where the log ends.
func (h StreamHarness) replay(t testing.TB, src entrain.Source) Rows {
	t.Helper()
	rows, open := Rows{}, Rows{}
	bounded, err := src.(entrain.Bounder).Until("now")
	if err != nil {
		t.Fatalf("bound a reader: %v", err)
	}
	r, err := bounded.Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatalf("open a reader: %v", err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience(h.Patience))
	defer cancel()
	for {
		b, err := r.Read(ctx)
		if errors.Is(err, io.EOF) {
			return rows
		}
		if entrain.IsRetryable(err) { // a torn transaction: as a sink would, go on from the last position
			return h.replay(t, src)
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		for i := range b.Events {
			if err := open.Apply(&b.Events[i]); err != nil {
				t.Fatalf("event %s in the stream: %v", b.Events[i].ID(), err)
			}
		}
		if !b.Through.IsZero() {
			rows = open.Clone()
		}
		free(b)
	}
}

// source is the reading end for [TestSource].
func (h StreamHarness) source() SourceHarness {
	var v *river
	return SourceHarness{
		New: func(t testing.TB) entrain.Source {
			v = newRiver(t, h, StreamConfig{})
			return v.log.Read("suite", h.partition(v.c.Producer))
		},
		Commit: func(t testing.TB, events ...entrain.Event) {
			const few = 100
			v.t, v.target.t = t, t
			for len(events) > few {
				v.part(events[:few]...)
				events = events[few:]
			}
			v.commit(events...)
		},
		FragmentRows: map[bool]int{true: h.rows(), false: 0}[h.Parts],
		Patience:     h.Patience,
		elsewhere:    true,
	}
}
