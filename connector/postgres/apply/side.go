package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dependency"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

const (
	// mostParallel bounds the sessions of one sink.
	mostParallel = 64
	// groupsPerSession is how many groups each session gets of a batch: more
	// are more commits, fewer leave sessions idle at the batch's end.
	groupsPerSession = 2
	// touchLimit bounds what is remembered of a batch.
	touchLimit = 1 << 20
	// mostPause is how many batches are applied one after the other at most
	// once sessions have met at the target.
	mostPause = 64
)

// cut says which batches are divided, and how.
type cut struct {
	batch int // events that a batch has at least
	group int // events that a group has at least, if there are as many
	chain int // percent of the whole that the longest way may cost; above 100 it may cost anything
}

// worthwhile groups are worth their round trips.
var worthwhile = cut{batch: 256, group: 64, chain: 75}

// side are the sessions that apply groups of a writer's batches side by side.
// A nil side applies nothing. It is for the goroutine of the writer.
type side struct {
	sink  *Sink
	cut   cut
	lanes []*lane
	every time.Duration // how often it is looked who is in the way
	// pause is how many batches are still applied one after the other; penalty
	// is how many will be after the next failure.
	pause, penalty int
}

// lane is a session beside the writer's.
type lane struct {
	*writer
	pid string // at the server
}

// fits reports whether the batch may be divided: it consists of whole
// transactions that only change rows.
func (s *side) fits(w *writer, b *entrain.Batch) bool {
	if s == nil || w.inTx || w.turn || w.stmts.again || w.unchecked || b.Through.IsZero() || len(b.Events) < s.cut.batch {
		return false
	}
	if s.pause > 0 {
		s.pause--
		return false
	}
	return !slices.ContainsFunc(b.Events, func(e entrain.Event) bool {
		return e.Op < entrain.OpInsert || e.Op > entrain.OpMessage || e.Settling || ofDouble(&e)
	})
}

// met makes the next batches be applied one after the other: dividing them costs
// more than it saves where transactions meet in ways that cannot be foreseen.
func (s *side) met() {
	s.penalty = min(2*s.penalty+1, mostPause)
	s.pause = s.penalty
}

func (s *side) forgetTables() {
	if s == nil {
		return
	}
	for _, l := range s.lanes {
		l.forgetTables()
	}
}

func (s *side) close() {
	if s == nil {
		return
	}
	for _, l := range s.lanes {
		l.disconnect()
	}
	s.lanes = nil
}

// open makes sure that there are n sessions, which write by w's right.
func (s *side) open(ctx context.Context, w *writer, n int) error {
	s.lanes = slices.DeleteFunc(s.lanes, func(l *lane) bool { return l.conn.IsClosed() || l.broken != nil })
	for len(s.lanes) < n {
		own, err := s.sink.openWriter(ctx)
		if err != nil {
			return err
		}
		l := &lane{writer: own}
		row, err := dial.QueryRow(ctx, own.conn, "SELECT pg_backend_pid()::text")
		if err != nil {
			own.disconnect()
			return err
		}
		l.pid = row[0]
		l.catalog.role = w.catalog.role
		s.lanes = append(s.lanes, l)
	}
	for _, l := range s.lanes {
		l.owner, l.fence, l.pos = w.owner, w.fence, w.pos
	}
	return nil
}

// writeAside applies the batch by several sessions as far as they get, and
// returns what is left of it: nil for nothing, the batch itself if there is
// nothing to gain. What is left is for the writer alone, which names what is
// wrong with it.
func (w *writer) writeAside(ctx context.Context, b *entrain.Batch) (*entrain.Batch, error) {
	s := w.side
	if err := w.learn(ctx, b.Events); err != nil {
		return nil, w.explain(ctx, err, b.Events)
	}
	d := w.divide(b.Events)
	if !d.gains {
		return b, nil
	}
	if err := s.open(ctx, w, min(s.sink.cfg.Parallel, len(d.groups))); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		s.met()
		w.log.Warn("sessions to apply transactions side by side cannot be had; they are applied one after the other for a while", "error", err)
		return b, nil
	}
	a := &aside{w: w, batch: b, groups: d.groups, ends: d.ends}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	return a.rest(), nil
}

// divided is a batch's transactions, and how they go into groups.
type divided struct {
	groups []dependency.Group
	ends   []int // by transaction, where it ends among the events
	gains  bool  // it is worth while
}

// groupCost is what a group costs beside its events, in events: round trips, a
// commit, and the position.
const groupCost = 64

// divide plans groups of the batch's transactions. Large groups cost less and
// are more likely to depend on each other, so several sizes are tried.
func (w *writer) divide(events []entrain.Event) divided {
	var t transactions
	t.gather(w.catalog, events)
	lanes := w.side.sink.cfg.Parallel
	best, least := divided{}, w.side.cut.chain*(len(events)+groupCost)/100
	for _, weight := range []int{len(events) / (groupsPerSession * lanes), 512, w.side.cut.group} {
		if best.groups != nil && weight >= best.groups[0].Weight {
			continue
		}
		plan := t.plan(max(weight, w.side.cut.group))
		groups := plan.Groups()
		cost := max(plan.Depth(groupCost), (len(events)+groupCost*len(groups))/lanes)
		if best.groups == nil || cost < least {
			best = divided{groups: groups, ends: t.ends}
			best.gains, least = len(groups) > 1 && cost <= least, min(cost, least)
		}
	}
	best.gains = best.gains || len(best.groups) > 1 && w.side.cut.chain > 100
	return best
}

// transactions are those of a batch, with what they touch.
type transactions struct {
	ends    []int // of each, among the events
	touches []dependency.Touch
	upto    []int  // of each, among the touches
	known   []bool // of each: touches are everything
}

func (t *transactions) gather(c *catalog, events []entrain.Event) {
	x := touched{keys: map[uint64]uint64{}}
	for first := 0; first < len(events); {
		end, known := first, true
		for ; end < len(events) && sameTransaction(events[first].Tx, events[end].Tx); end++ {
			e := &events[end]
			if e.Op == entrain.OpMessage {
				continue
			}
			known = known && e.Op != entrain.OpTruncate && x.event(c.table(e.Table), e)
		}
		t.ends, t.upto, t.known = append(t.ends, end), append(t.upto, len(x.list)), append(t.known, known)
		first = end
	}
	t.touches = x.list
}

func (t *transactions) plan(weight int) *dependency.Plan {
	plan := dependency.NewPlan(weight, touchLimit)
	first, from := 0, 0
	for i, end := range t.ends {
		if t.known[i] {
			plan.Add(end-first, t.touches[from:t.upto[i]])
		} else {
			plan.AddBarrier(end - first)
		}
		first, from = end, t.upto[i]
	}
	return plan
}

// execute applies events in a transaction that it leaves open. The position is
// moved at its end, when it is the group's turn: its row is held for a moment
// only.
func (l *lane) execute(ctx context.Context, events []entrain.Event) error {
	if err := l.learn(ctx, events); err != nil {
		return err
	}
	f := takeOff(ctx, l.conn, l.stmts, l.exec.sent)
	f.add(call{sql: "BEGIN"})
	if len(l.catalog.late) > 0 {
		f.add(call{sql: "SET CONSTRAINTS ALL DEFERRED"})
	}
	_, err := f.land(ignoreRows)
	l.exec.sent = f.sent
	if err != nil {
		return fmt.Errorf("begin a transaction at the target: %w", err)
	}
	units := l.planner.Plan(planWork(l.writer, events))
	for i := range units {
		if err := l.runSteps(ctx, events, units[i].Steps); err != nil {
			return err
		}
	}
	if err := l.checkLate(ctx); err != nil {
		return err
	}
	l.tallyEvents(events)
	return nil
}
