package backfill

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/entrainsync/entrain"
)

// sink makes a part of the queue durable, with the position behind it.
func (e *engine) sink() {
	var cuts []int
	for i, it := range e.queue {
		if it.event == nil {
			cuts = append(cuts, i+1)
		}
	}
	if len(cuts) == 0 {
		return
	}
	n := cuts[e.rng.IntN(len(cuts))]
	for _, it := range e.queue[:n] {
		switch {
		case it.event != nil:
			e.apply(it.event, it.settling)
		case it.end:
			e.targetAt = it.at
		default:
			e.upsert(it)
		}
	}
	e.queue = append(e.queue[:0], e.queue[n:]...)
}

// upsert stores a chunk's rows.
func (e *engine) upsert(it item) {
	t, n := e.src.tables[it.table], len(it.shape.Columns)
	for _, row := range it.rows {
		text := func(i int) string {
			v, state := row.Column(i, n)
			if state == entrain.Unchanged {
				e.fail("a chunk's row of t%d lacks column %d", it.table, i)
			}
			return string(v)
		}
		key := []string{text(1)}
		if t.pair {
			key = append(key, text(2))
		}
		k := t.keyFrom(key)
		if k < 0 || k >= modelKeys {
			e.fail("a chunk's row of t%d has the key %q", it.table, key)
			return
		}
		it.copy.target[k] = &cell{a: text(0), b: text(n - 1)}
	}
	it.copy.durable = !e.bug.early
}

// apply does what a sink does with an event, see [entrain.Event].
func (e *engine) apply(ev *modelEvent, settling [3]bool) {
	if ev.table < 0 {
		for _, i := range ev.emptied {
			e.copies[i].target = cells{}
		}
		return
	}
	rows := &e.copies[ev.table].target
	if !settling[ev.table] {
		e.applyStrictly(ev, rows)
		return
	}
	is := ev.row
	switch ev.Op {
	case entrain.OpInsert:
		if was := rows[ev.key]; ev.partial {
			if was == nil {
				return
			}
			is.b = was.b
		}
		rows[ev.key] = &is
	case entrain.OpDelete:
		rows[ev.was] = nil
	case entrain.OpUpdate:
		was := rows[ev.was]
		if was == nil && (ev.partial || ev.key == ev.was) {
			return
		}
		if ev.partial {
			is.b = was.b
		}
		rows[ev.was] = nil
		rows[ev.key] = &is
	}
}

// applyStrictly applies an event to a table that is as the stream has it.
func (e *engine) applyStrictly(ev *modelEvent, rows *cells) {
	is := ev.row
	if (ev.Op == entrain.OpInsert) == (rows[ev.was] != nil) {
		e.fail("t%d is finished: %s of key %d meets %v", ev.table, ev.Op, ev.was, rows[ev.was])
		return
	}
	if was := rows[ev.was]; ev.partial && was != nil && was.b != is.b {
		e.fail("t%d is finished: key %d has b=%s, not %s", ev.table, ev.was, was.b, is.b)
	}
	rows[ev.was] = nil
	if ev.key >= 0 {
		rows[ev.key] = &is
	}
}

// run plays one history: at its end the target has what the source has.
func (e *engine) run() error {
	for range 40 + e.rng.IntN(160) {
		e.move()
		if e.err != nil {
			return e.err
		}
	}
	s := e.src
	for len(s.running) > 0 {
		s.work()
	}
	s.flushed = len(s.log)
	for range 1000 {
		if e.drain() {
			return e.compare()
		}
		if e.err != nil {
			return e.err
		}
	}
	return fmt.Errorf("copying does not come to an end")
}

func (e *engine) move() {
	s, i := e.src, e.rng.IntN(len(e.copies))
	switch n := e.rng.IntN(100); {
	case n == 48 && !s.alters, n >= 90 && n < 97 && n%3 < e.lag, n < 68 && n >= 49 && n%3 < e.lag:
	case n < 8:
		s.begin()
	case n < 45:
		s.work()
	case n < 48:
		s.flushed += e.rng.IntN(len(s.log) - s.flushed + 1)
	case n < 49:
		s.alter()
	case n < 68:
		e.deliver()
	case n < 71:
		if e.offset == 0 {
			e.end()
		}
	case n < 90:
		e.step(i)
	case n < 97:
		e.sink()
	case n < 99:
		e.add(i)
	default:
		if e.rng.IntN(3) == 0 {
			e.crash()
		}
	}
}

// add makes the stream have a table's changes from now on.
func (e *engine) add(i int) {
	if t := e.src.tables[i]; !t.added {
		t.added = true
		e.start(i)
	}
}

// drain goes on without new changes, and says whether there is nothing to do.
func (e *engine) drain() bool {
	for e.delivered < e.src.flushed {
		e.deliver()
	}
	e.end()
	for len(e.queue) > 0 {
		e.sink()
	}
	done := e.targetAt == len(e.src.log)
	for i, tc := range e.copies {
		e.add(i)
		e.step(i)
		done = done && tc.c == nil
	}
	return done && e.delivered == e.targetAt
}

func (e *engine) compare() error {
	for i, tc := range e.copies {
		t := e.src.tables[i]
		for k := range modelKeys {
			want, got := t.visible[k], tc.target[k]
			if !t.passes(want) {
				want = nil
			}
			if (want == nil) != (got == nil) || want != nil && *want != *got {
				return fmt.Errorf("t%d: key %d is %v at the source, %v at the target", i, k, want, got)
			}
		}
	}
	return e.err
}

// play plays the history of a seed.
func play(seed uint64, b *bug, seen *sightings) error {
	src := newSource(rand.New(rand.NewPCG(seed, 0)))
	e := newEngine(src, seen)
	e.bug = b
	return e.run()
}

// TestHistories plays ENTRAIN_BACKFILL_HISTORIES random histories, or the one of
// ENTRAIN_BACKFILL_SEED.
func TestHistories(t *testing.T) {
	seen := &sightings{discarded: map[Reason]int{}}
	if text := os.Getenv("ENTRAIN_BACKFILL_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err == nil {
			err = play(seed, &bug{}, seen)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	histories, first := 100_000, uint64(1)
	if testing.Short() {
		histories = 5_000
	}
	if text := os.Getenv("ENTRAIN_BACKFILL_HISTORIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		histories, first = n, rand.Uint64()>>1
	}
	for seed := first; seed < first+uint64(histories); seed++ {
		if err := play(seed, &bug{}, seen); err != nil {
			t.Fatalf("ENTRAIN_BACKFILL_SEED=%d: %v", seed, err)
		}
	}
	t.Logf("%d histories from seed %d: %+v", histories, first, *seen)
	for _, why := range []Reason{ReasonUnseen, ReasonShape, ReasonOverflow} {
		if seen.discarded[why] == 0 {
			t.Errorf("no chunk was discarded as %s", why)
		}
	}
	if seen.singles == 0 || seen.crashes == 0 || seen.empty == 0 || seen.recorded == 0 || seen.merged == 0 || seen.crowds == 0 {
		t.Errorf("the histories are too tame: %+v", *seen)
	}
}
