package backfill

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/entrainsync/entrain"
)

// The model of an engine with its sink: what is durable is target, targetAt and
// saved; the rest is lost in a crash.

type engine struct {
	src       *source
	rng       *rand.Rand
	bug       *bug
	lag       int // 0 to 2: how slow stream and sink are
	rows      int
	maxBytes  int
	delivered int // transactions of the log
	offset    int // events of the next one
	queue     []item
	copies    []*tableCopy
	targetAt  int
	err       error
	seen      *sightings
	scratch   []byte
}

type tableCopy struct {
	c       *Copy // nil: not copied yet, or finished
	settle  uint64
	chunk   *entrain.Chunk // read, not handed over
	query   *entrain.ChunkQuery
	reading bool // chunk's transaction is not over
	durable bool // the rows under way
	saved   Progress
	target  cells
}

// item is what the sink gets: an event, the end of a transaction, a chunk's rows.
type item struct {
	event    *modelEvent
	settling [3]bool
	end      bool
	at       int
	copy     *tableCopy
	table    int
	shape    *entrain.Table
	rows     []entrain.Row
}

// sightings counts what the histories had, so that none is missing unnoticed.
type sightings struct {
	discarded                                         map[Reason]int
	recorded, merged, singles, crashes, empty, crowds int
}

func newEngine(src *source, seen *sightings) *engine {
	e := &engine{src: src, rng: src.rng, rows: 1 + src.rng.IntN(4), maxBytes: 1 << 20, seen: seen, bug: &bug{}}
	e.lag = src.rng.IntN(3)
	if src.rng.IntN(6) == 0 {
		e.maxBytes = 200 + src.rng.IntN(300)
	}
	for range src.tables {
		e.copies = append(e.copies, &tableCopy{})
	}
	e.open()
	return e
}

// open begins a session.
func (e *engine) open() {
	e.delivered, e.offset, e.queue = e.targetAt, 0, nil
	for i := range e.copies {
		e.start(i)
	}
}

// start makes the copying of a table that the stream has, from what was saved.
func (e *engine) start(i int) {
	tc, t := e.copies[i], e.src.tables[i]
	e.release(i)
	tc.c, tc.query, tc.chunk, tc.durable = nil, nil, nil, false
	if !t.added || tc.saved.Finished {
		return
	}
	text, _ := json.Marshal(tc.saved)
	tc.saved = Progress{}
	if err := json.Unmarshal(text, &tc.saved); err != nil {
		e.fail("%v", err)
	}
	c, err := New(t.shape, tc.saved, e.rows, e.maxBytes)
	if err != nil {
		e.fail("%v", err)
	}
	tc.c, tc.settle = c, e.src.newXID()
}

func (e *engine) fail(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(format, args...)
	}
}

func (e *engine) crash() {
	e.seen.crashes++
	e.open()
}

// mayCrash crashes now and then in the middle of something.
func (e *engine) mayCrash() bool {
	if e.rng.IntN(150) > 0 {
		return false
	}
	e.crash()
	return true
}

// deliver takes one event or the end of a transaction from the stream.
func (e *engine) deliver() {
	if e.delivered >= e.src.flushed {
		return
	}
	tx := e.src.log[e.delivered]
	if e.offset == len(tx.events) {
		e.delivered, e.offset = e.delivered+1, 0
		e.queue = append(e.queue, item{end: true, at: e.delivered})
		e.end()
		return
	}
	ev := &tx.events[e.offset]
	it := item{event: ev}
	for i, tc := range e.copies {
		if tc.c == nil {
			continue
		}
		e.pass(tc.c, ev)
		e.check(tc.c)
		it.settling[i] = true
		if tc.c.Dirty() && e.mayCrash() {
			return
		}
		if tc.c.Dirty() {
			was := len(tc.saved.Singles)
			tc.saved = tc.c.Progress()
			if was > 0 && len(tc.saved.Singles) == 0 && ev.table == i && sameKey(ev.Table, tc.c.Table()) {
				e.seen.crowds++
			}
			e.seen.singles += len(tc.saved.Singles)
			if e.mayCrash() {
				return
			}
		}
	}
	e.offset++
	e.queue = append(e.queue, it)
}

// pass hands a copy an event whose memory is spoilt afterwards.
func (e *engine) pass(c *Copy, ev *modelEvent) {
	lent := ev.Event
	e.scratch = append(append(e.scratch[:0], ev.Before...), ev.After...)
	n := len(ev.Before)
	if ev.Before != nil {
		lent.Before = e.scratch[:n]
	}
	if ev.After != nil {
		lent.After = e.scratch[n:]
	}
	skip := e.bug.deliver != nil && e.bug.deliver(c, &lent)
	if c.state == waiting && !c.window.chunk.View.Contains(ev.Tx.ID) {
		e.seen.merged++
	}
	if !skip {
		if err := c.Deliver(&lent); err != nil {
			e.fail("deliver: %v", err)
		}
	}
	if e.bug.delivered != nil {
		e.bug.delivered(c)
	}
	for i := range e.scratch {
		e.scratch[i] = 0xee
	}
}

// check holds the state against its invariants.
func (e *engine) check(c *Copy) {
	if e.bug.name == "" {
		if err := c.valid(); err != nil {
			e.fail("invalid: %v", err)
		}
	}
}

// end tells the copies that everything before delivered has come.
func (e *engine) end() {
	at := entrain.Position{Offset: strconv.Itoa(e.delivered)}
	for i, tc := range e.copies {
		if tc.c == nil {
			continue
		}
		rows, ok := tc.c.End(at)
		e.check(tc.c)
		if !ok {
			continue
		}
		if len(rows) == 0 {
			e.seen.empty++
		}
		e.queue = append(e.queue, item{copy: tc, table: i, shape: tc.c.Table(), rows: rows})
		if e.bug.early {
			e.save(tc, tc.c.Applied())
		}
	}
}

// step lets the copying of a table go on.
func (e *engine) step(i int) {
	tc, t := e.copies[i], e.src.tables[i]
	switch {
	case tc.c == nil:
	case tc.durable:
		e.applied(tc)
	case tc.query == nil:
		if e.bug.unsettled || e.src.view().Min > tc.settle {
			e.next(tc)
		}
	case e.rng.IntN(30) == 0:
		e.release(i)
		tc.c.Abandon()
		tc.query, tc.chunk = nil, nil
	case tc.chunk == nil:
		if t.emptied == nil {
			tc.chunk = e.read(t, tc.query)
			tc.reading = true
			t.readers++
		}
	case tc.reading:
		e.finishRead(i)
	default:
		e.hand(i)
	}
}

func (e *engine) next(tc *tableCopy) {
	q, ok := tc.c.Next()
	e.check(tc.c)
	if !ok {
		return
	}
	tc.query = &q
	if e.bug.asked != nil {
		e.bug.asked(tc.c)
	}
}

// view is what a chunk is read in.
func (e *engine) view() entrain.View {
	if e.bug.logged {
		return e.src.logged()
	}
	return e.src.view()
}

// read takes the view and the rows; the position that the stream has to reach is
// taken later.
func (e *engine) read(t *sourceTable, q *entrain.ChunkQuery) *entrain.Chunk {
	ch := &entrain.Chunk{Table: t.shape, View: e.view()}
	if t.shape.Version != q.Table.Version {
		return ch
	}
	first, last := 0, modelKeys
	switch {
	case q.Of != nil:
		first = t.ordered(t.keyFrom(q.Of))
		last = first + 1
	case q.After != nil:
		first = t.ordered(t.keyFrom(q.After)) + 1
	}
	for i := first; i < last; i++ {
		k := t.ordered(i)
		if !t.passes(t.visible[k]) {
			continue
		}
		if len(ch.Rows) == q.Rows {
			ch.More = true
			break
		}
		ch.Rows = append(ch.Rows, e.src.rowOf(t, k, *t.visible[k]))
		ch.Last = t.keyTexts(k)
	}
	return ch
}

// release ends the transaction that reads a chunk, if there is one.
func (e *engine) release(i int) {
	if e.copies[i].reading {
		e.copies[i].reading = false
		e.src.tables[i].readers--
	}
}

// finishRead takes the position that the stream has to reach for a chunk, and
// lets go of the table.
func (e *engine) finishRead(i int) {
	e.release(i)
	reach := len(e.src.log)
	if e.bug.written {
		reach = e.src.flushed
	}
	e.copies[i].chunk.Reached = func(at entrain.Position) bool {
		n, err := strconv.Atoi(at.Offset)
		return err == nil && n >= reach
	}
}

// hand gives a copy the chunk that was read.
func (e *engine) hand(i int) {
	tc := e.copies[i]
	view := tc.chunk.View
	tc.c.window.record.each(func(ch change) {
		if !view.Contains(ch.tx) {
			e.seen.recorded++
		}
	})
	if e.bug.read != nil {
		e.bug.read(tc.c, tc.chunk)
	}
	if err := tc.c.Read(tc.chunk); err != nil {
		e.fail("read: %v", err)
	}
	if e.bug.taken != nil {
		e.bug.taken(tc.c)
	}
	e.check(tc.c)
	if tc.c.state == idle {
		_, why := tc.c.Discarded()
		e.seen.discarded[why]++
	}
	tc.query, tc.chunk = nil, nil
	for _, other := range e.copies {
		if other != tc && other.c != nil {
			e.bug.saw(other.c, view)
		}
	}
	if e.offset == 0 && e.rng.IntN(2) == 0 {
		e.end()
	}
}

// applied takes note that the sink has a copy's rows.
func (e *engine) applied(tc *tableCopy) {
	if e.mayCrash() {
		return
	}
	tc.durable = false
	p := tc.c.Applied()
	e.check(tc.c)
	if e.mayCrash() {
		return
	}
	e.save(tc, p)
}

func (e *engine) save(tc *tableCopy, p Progress) {
	tc.saved = p
	if p.Finished {
		tc.c = nil
	}
}
