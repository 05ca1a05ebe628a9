package apply

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
	"github.com/entrainsync/entrain/encoding"
)

// gate is the version gate of a writer's session; docs/gate.md, ADR 0013. What it
// knows is what the open transaction has written, or the last one: a transaction that
// fails ends the session, and the gate with it. It is for the goroutine of the writer.
type gate struct {
	w      *writer
	family string // the pipeline, without the partition: a row is in one of these

	applied uint64 // the greatest version that the sink had applied when the session began
	begun   bool   // there is a start
	eras    map[string]int32
	stream  *entrain.Stream // of era
	era     int32
	mark    versiongate.Version
	saved   versiongate.Version // the mark in the table

	met      map[*targetTable]bool
	last     *targetTable // that was met
	versions []versiongate.Version
	rows     map[uint32]*rowVersions
	waiting  int64 // versions in the journal, as far as the session knows
	bound    int64 // of waiting; journalBound
	calls    lateCalls
	body     *encoding.Native
	sweeper  sweeper
}

// errRowsLack says that changes in order hit rows that are not there: one by one, they
// are stored or noted.
var errRowsLack = errors.New("rows are missing at the target")

func newGate(w *writer) *gate {
	return &gate{w: w, family: family(w.cfg.Pipeline), met: map[*targetTable]bool{}, rows: map[uint32]*rowVersions{},
		bound: journalBound, body: encoding.NewNative(), sweeper: sweeper{keep: keepTombstones, now: time.Now}}
}

// applyGated makes the batch's changes in the open transaction, through the gate if
// there is one.
func (w *writer) applyGated(ctx context.Context, b *entrain.Batch) error {
	if w.gate == nil {
		return w.apply(ctx, b)
	}
	return w.gate.apply(ctx, b)
}

func (g *gate) apply(ctx context.Context, b *entrain.Batch) error {
	if err := g.number(ctx, b); err != nil {
		return err
	}
	if err := g.meet(ctx, b.Events); err != nil {
		return err
	}
	runs, mark := versiongate.Runs(g.mark, b.Events, g.versions)
	if len(runs) == 0 {
		return g.w.apply(ctx, b)
	}
	for i, run := range runs {
		part := part{way: run.Way, events: b.Events[run.From:run.To], versions: g.versions[run.From:run.To]}
		if i == len(runs)-1 {
			part.through = b.Through
		}
		if err := g.pass(ctx, part); err != nil {
			return err
		}
	}
	g.mark = mark
	if err := g.settle(ctx, b.Events); err != nil {
		return err
	}
	if err := g.mergeSome(ctx, len(b.Events)); err != nil {
		return err
	}
	return g.close(ctx)
}

// part is some of a batch's events, and their versions.
type part struct {
	way      versiongate.Way
	events   []entrain.Event
	versions []versiongate.Version
	through  entrain.Position // zero unless the part ends the batch
}

func (p *part) batch() *entrain.Batch { return &entrain.Batch{Events: p.events, Through: p.through} }

func (g *gate) pass(ctx context.Context, p part) error {
	if p.way == versiongate.Late {
		return g.late(ctx, p)
	}
	w := g.w
	err := w.attempt(ctx, func() error {
		err := w.apply(ctx, p.batch())
		if err == nil && w.pending.missing > 0 {
			err = errRowsLack
		}
		return err
	})
	if errors.Is(err, errRowsLack) {
		return g.late(ctx, p)
	}
	if err != nil {
		return err
	}
	return g.record(ctx, p)
}

// late applies changes one by one, and once more if what the session knows of the
// tables turns out to be out of date.
func (g *gate) late(ctx context.Context, p part) error {
	w := g.w
	if err := g.merge(ctx, math.MaxInt64); err != nil {
		return err
	}
	before := w.pending
	one := func() error { return w.attempt(ctx, func() error { return g.oneByOne(ctx, p) }) }
	err := one()
	if !w.outdated(err) || w.final(err) {
		return err
	}
	w.pending.ops, w.pending.late, w.pending.queued = before.ops, before.late, before.queued
	w.forgetTables()
	if err := w.learn(ctx, p.events); err != nil {
		return err
	}
	w.relearnt = true
	defer func() { w.relearnt = false }()
	return one()
}

// number finds the versions of the batch's events.
func (g *gate) number(ctx context.Context, b *entrain.Batch) error {
	g.versions = g.versions[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if !versiongate.Gated(e) {
			g.versions = append(g.versions, versiongate.Version{})
			continue
		}
		if err := g.eraOf(ctx, e.Tx.Stream, b.Through); err != nil {
			return err
		}
		v, err := versiongate.Of(g.era, e)
		if err != nil {
			return err
		}
		if !g.begun {
			if err := g.begin(ctx, v, b.Through); err != nil {
				return err
			}
		}
		g.versions = append(g.versions, v)
	}
	return nil
}

// settle makes the tables whose rows are being copied as new as the mark: what they
// have, or get by rows that are still to be read, is that.
func (g *gate) settle(ctx context.Context, events []entrain.Event) error {
	var names []string
	var last *entrain.Table
	for i := range events {
		e := &events[i]
		copied := e.Settling || e.Op == entrain.OpRead || e.Op == entrain.OpReadEnd
		if e.Table == nil || !copied || e.Table == last {
			continue
		}
		last = e.Table
		names = append(names, e.Table.String())
	}
	if len(names) == 0 {
		return nil
	}
	return g.raise(ctx, names, g.mark)
}

// close saves the mark, and removes what nobody needs any more.
func (g *gate) close(ctx context.Context) error {
	if g.mark == g.saved {
		return nil
	}
	if err := g.run(ctx, versiongate.MarkSQL, append([]string{g.family, g.w.cfg.Pipeline}, texts(g.mark)...)...); err != nil {
		return err
	}
	g.saved = g.mark
	return g.sweep(ctx)
}

// refused turns what the server says of one change into a stop, as without a gate.
func (g *gate) refused(events []entrain.Event, item applyplan.Item, err error) error {
	w := g.w
	if w.final(err) || w.outdated(err) {
		return err
	}
	return w.stopRefused(&events[item.Event], item, err)
}

func (g *gate) run(ctx context.Context, sql string, args ...string) error {
	_, err := dial.QueryRows(ctx, g.w.conn, sql, args...)
	return err
}
