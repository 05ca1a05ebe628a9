package simulation

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
)

// kind is what a sink remembers of how far it came.
type kind uint8

const (
	kindPosition kind = iota // the position, in the transaction of the data
	kindMark                 // it can go back to where it was: a file
	kindNothing              // what comes again is there twice
	kindKeys                 // the same, with deduplication by keys
	kindRecall               // the same, and it can be read back
)

var kindNames = [...]string{"position", "mark", "nothing", "keys", "recall"}

// target is what one sink holds durably, with what is remembered beside it, and judges
// all that it is given. It is the scheduler's.
type target struct {
	w    *world
	name string
	kind kind

	// next is the number of different events that are there: all of the history before
	// it. Events that come again are below it.
	next  int
	fence int              // the session that may write
	at    entrain.Position // of a sink that keeps it
	known int              // events through that position
	ids   []int            // everything that is there, in order, of a sink that can be read back or cut off
	last  int              // the last event of the session at work, -1 before the first

	saved int // events through the position that a crash leaves: at the sink, or in the store
	store store
	kept  map[int]bool // events whose keys are set
	firm  firm         // of a sink with a planted bug: what a crash leaves
	place map[entrain.Position]int

	office *office // of a sink that refuses some events; nil: it takes all
}

// firm is what a crash leaves of a sink that reports too much as durable.
type firm struct {
	next, known, ids int
	at               entrain.Position
}

// sync makes durable what is there; a sink with a planted bug does so now and then.
func (t *target) sync() {
	if t.w.cfg.Plant != PlantAckBeforeDurable || t.w.rng.IntN(3) == 0 {
		t.firm = firm{next: t.next, known: t.known, ids: len(t.ids), at: t.at}
	}
}

// crash is the end of the process, and for what has a planted bug that of the sink and
// the store, too.
func (t *target) crash() {
	if t.w.cfg.Plant == PlantAckBeforeDurable {
		t.next, t.known, t.at, t.ids = t.firm.next, t.firm.known, t.firm.at, t.ids[:min(t.firm.ids, len(t.ids))]
	}
	if t.store.later {
		t.store.at, t.store.later = t.store.before, false
	}
}

// eventsAt returns how many events are before a position of this sink's source.
func (t *target) eventsAt(p entrain.Position) (int, bool) {
	if p.IsZero() {
		return 0, true
	}
	if t.w.sequence == nil {
		n, err := t.w.history.transactions(p)
		if err != nil {
			return 0, false
		}
		return t.w.history.before[n], true
	}
	n, known := t.place[p]
	return n, known
}

// put adds events behind what is there, in order, and judges them.
func (t *target) put(events []int) {
	for _, i := range events {
		switch {
		case i > t.next && !t.allParked(t.next, i):
			t.w.violate("P1", "sink %s gets event %d, and lacks some from %d on", t.name, i, t.next)
		case t.kind == kindPosition || t.kind == kindMark:
			if i < t.next {
				t.w.violate("P2", "sink %s gets event %d again, after %d", t.name, i, t.next-1)
			}
		default:
			t.judgeAgain(i)
		}
		t.judgeParked(i)
		t.last, t.next = i, max(t.next, i+1)
		if t.kind != kindPosition {
			t.ids = append(t.ids, i)
		}
	}
	if t.kind != kindPosition {
		t.sync()
	}
}

// judgeAgain looks at an event of a sink that may get some again: only when a session
// begins, only what is behind the saved position, and in order.
func (t *target) judgeAgain(i int) {
	again := i < t.next
	switch {
	case again && t.last < 0 && i < t.saved:
		t.w.violate("P2", "sink %s gets event %d again, which is before the saved position (%d events)", t.name, i, t.saved)
	case again && t.kind == kindRecall:
		t.w.violate("P2", "sink %s gets event %d again, which it can tell that it has", t.name, i)
	case again && t.kept[i]:
		t.w.violate("P2", "sink %s gets event %d again, whose key is set", t.name, i)
	case t.last >= 0 && i <= t.last:
		t.w.violate("P3", "sink %s gets event %d behind %d in one session", t.name, i, t.last)
	case t.last >= 0 && i > t.last+1 && (t.kind == kindNothing || again):
		t.skipped(t.last+1, i)
	}
}

// skipped judges that events did not come between two of a session, though all are
// there: with keys those are left out that have one.
func (t *target) skipped(from, to int) {
	for i := from; i < to; i++ {
		if !t.kept[i] {
			t.w.violate("P3", "sink %s gets event %d again without %d, in one session", t.name, to, i)
			return
		}
	}
}

// commit makes events and a position durable in one step.
func (t *target) commit(events []int, through entrain.Position) {
	t.put(events)
	t.moved(through)
}

func (t *target) moved(through entrain.Position) {
	n, known := t.eventsAt(through)
	if n > t.next && t.allParked(t.next, n) {
		t.next = n
	}
	switch {
	case !known || n > t.next:
		t.w.violate("P1", "sink %s has %d events and the position behind %d", t.name, t.next, n)
	case n < t.next:
		t.w.violate("P2", "sink %s has %d events and the position behind %d", t.name, t.next, n)
	case !t.w.history.whole(t.next):
		t.w.violate("P4", "sink %s shows a part of a transaction: %d events", t.name, t.next)
	}
	t.at, t.known, t.saved = through, n, n
	t.sync()
}

// sinkEnd is a sink as one process sees it.
type sinkEnd struct {
	p *process
	t *target
}

// Open implements [entrain.Sink].
func (s *sinkEnd) Open(ctx context.Context) (entrain.Writer, error) {
	wr := &writer{sinkEnd: s}
	err := s.p.do(ctx, &operation{key: s.t.name + " open", act: func() error {
		if s.t.kind != kindPosition {
			s.t.last = -1
		}
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("open simulated sink: %w", err)
	}
	switch s.t.kind {
	case kindPosition:
		if s.t.office != nil && s.t.office.sifts {
			return &siftWriter{&positionWriter{writer: wr}}, nil
		}
		return &positionWriter{writer: wr}, nil
	case kindMark:
		return &markWriter{wr}, nil
	case kindRecall:
		return &recallWriter{wr}, nil
	}
	return wr, nil
}

// writer is a session with a sink.
type writer struct {
	*sinkEnd
	fence int   // of a sink that keeps the position
	open  []int // accepted, not durable, of such a sink
	mark  int   // events that were there when a write ended last that made all durable
	over  error
}

// indices finds a batch's events in the history.
func (wr *writer) indices(b *entrain.Batch) ([]int, error) {
	found := make([]int, len(b.Events))
	for i := range b.Events {
		var err error
		if found[i], err = wr.p.w.history.index(&b.Events[i]); err != nil {
			wr.p.w.violate("P1", "sink %s: %v", wr.t.name, err)
			return nil, err
		}
	}
	if n := len(found); n > 0 && b.Through.IsZero() && b.Events[0].Tx.Version != b.Events[n-1].Tx.Version {
		wr.p.w.violate("P4", "sink %s gets a part of a transaction together with another one", wr.t.name)
	}
	return found, nil
}

// Write implements [entrain.Writer]: of a sink that keeps nothing, all is durable at
// once, and what is torn is there in part.
func (wr *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if wr.over != nil {
		return wr.over
	}
	events, err := wr.indices(b)
	if err == nil {
		err = wr.p.do(ctx, &operation{
			key: wr.t.name + " write", size: len(events),
			act: func() error { wr.t.put(events); return nil },
			part: func() {
				if len(events) > 0 {
					wr.t.put(events[:wr.p.w.rng.IntN(len(events))])
				}
			},
		})
	}
	if err != nil {
		wr.over = fmt.Errorf("the session is over: %w", err)
		return fmt.Errorf("write to simulated sink: %w", err)
	}
	if b.Through.IsZero() {
		return nil
	}
	wr.mark = len(wr.t.ids)
	if wr.p.feedback != nil {
		wr.p.feedback(ctx, b.Through)
	}
	return nil
}

// Close implements [entrain.Writer].
func (wr *writer) Close() error {
	if wr.over == nil {
		wr.over = errors.New("the session was closed")
	}
	return nil
}

// positionWriter is a session with a sink that keeps the position.
type positionWriter struct {
	*writer
	refused bool // it is over because of an event, and all before the batch is durable
}

// Position implements [entrain.Positioner].
func (wr *positionWriter) Position(ctx context.Context) (at entrain.Position, err error) {
	t := wr.t
	// Behind a stream a delivery that was fenced waits for the end of the process.
	o := &operation{key: t.name + " position", late: !t.w.shape.stream}
	o.act = func() error {
		t.fence++
		wr.fence, at = t.fence, t.at
		if o.gone && t.w.proc != nil {
			t.w.proc.robbed = true
		}
		return nil
	}
	err = wr.p.do(ctx, o)
	return at, err
}

// Write implements [entrain.Writer].
func (wr *positionWriter) Write(ctx context.Context, b *entrain.Batch) error {
	if wr.over != nil {
		return wr.over
	}
	events, err := wr.indices(b)
	if err == nil {
		err = wr.send(ctx, append(wr.open[:len(wr.open):len(wr.open)], events...), b.Through)
	}
	var bad *entrain.BatchError
	if errors.As(err, &bad) {
		wr.refused = len(wr.open) == 0
	}
	if err != nil {
		wr.over = fmt.Errorf("the session is over: %w", err)
		return fmt.Errorf("write to simulated sink: %w", err)
	}
	return nil
}

// send has the open transaction be these events, and with a position be committed.
func (wr *positionWriter) send(ctx context.Context, events []int, through entrain.Position) error {
	t, plant := wr.t, wr.p.w.cfg.Plant
	twice := false
	o := &operation{key: t.name + " write", late: true, size: len(events), act: func() error {
		switch {
		case wr.fence != t.fence && plant != PlantNoFence:
			return &entrain.Stop{Code: "fenced", What: "another session has taken the position over"}
		case t.refused(events) != nil:
			return t.refused(events)
		case through.IsZero() && plant == PlantPartsVisible:
			t.put(events)
			events = nil
			if !t.w.history.whole(t.next) {
				t.w.violate("P4", "sink %s shows a part of a transaction: %d events", t.name, t.next)
			}
		case through.IsZero():
		case plant == PlantPositionApart:
			t.put(events)
		default:
			t.commit(events, through)
			twice = true
		}
		return nil
	}}
	err := wr.p.do(ctx, o)
	if err != nil && twice && plant == PlantWriteTwice {
		err = wr.p.do(ctx, &operation{key: t.name + " write again", act: o.act})
	}
	if err == nil && !through.IsZero() && plant == PlantPositionApart {
		err = wr.p.do(ctx, &operation{key: t.name + " write position", act: func() error { t.moved(through); return nil }})
	}
	switch {
	case err != nil: // what was accepted before is rolled back, or the batch alone
	case through.IsZero():
		wr.open = events
	default:
		wr.open = nil
	}
	return err
}

// markWriter is a session with a sink that can go back.
type markWriter struct{ *writer }

// Mark implements [entrain.Marker].
func (wr *markWriter) Mark() []byte { return strconv.AppendInt(nil, int64(wr.mark), 10) }

// Restore implements [entrain.Marker].
func (wr *markWriter) Restore(ctx context.Context, mark []byte) error {
	n := 0
	if mark != nil {
		var err error
		if n, err = strconv.Atoi(string(mark)); err != nil {
			return err
		}
	}
	t := wr.t
	return wr.p.do(ctx, &operation{key: t.name + " restore", act: func() error {
		if n > len(t.ids) {
			t.w.violate("P7", "sink %s is to go back to %d events and has %d", t.name, n, len(t.ids))
			return errors.New("the mark is none of the file's")
		}
		if t.w.cfg.Plant == PlantMarkForgotten {
			return nil
		}
		t.ids, t.next, wr.mark = t.ids[:n], n, n
		return nil
	}})
}

// recallWriter is a session with a sink that can be read back.
type recallWriter struct{ *writer }

// Mark implements [entrain.Recaller].
func (wr *recallWriter) Mark() []byte { return strconv.AppendInt(nil, int64(wr.mark), 10) }

// Recall implements [entrain.Recaller].
func (wr *recallWriter) Recall(ctx context.Context, mark []byte, found func(id []byte)) error {
	n, err := strconv.Atoi(string(mark))
	if err != nil {
		return err
	}
	var ids []int
	wr.mark = n
	h := wr.p.w.history
	err = wr.p.do(ctx, &operation{key: wr.t.name + " recall", act: func() error {
		if n > len(wr.t.ids) {
			wr.t.w.violate("P7", "sink %s is to tell what is behind %d events and has %d", wr.t.name, n, len(wr.t.ids))
			return errors.New("the mark is none of the sink's")
		}
		ids = wr.t.ids[n:]
		return nil
	}})
	if err != nil {
		return err
	}
	for _, n := range ids {
		i := h.shown[n]
		e := h.events[i]
		e.Tx = &h.txs[h.of[i]]
		found(e.AppendID(nil))
	}
	return nil
}
