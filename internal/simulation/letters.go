package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// office is where the dead letters of a sink are kept that refuses some events for good.
type office struct {
	rules   parking.Rules
	sifts   bool // the sink's sessions go on behind a refusal
	letters map[int]parking.Letter
	first   map[string]int // the first letter of each key, by the event's number
	txs     map[int]bool   // transactions of which there is a letter
}

// refuses reports whether the sink does not take an event.
func (t *target) refuses(i int) bool {
	return t.office != nil && i%31 == 11
}

// allParked reports whether all events from one to before another are dead letters.
func (t *target) allParked(from, to int) bool {
	if t.office == nil {
		return from == to
	}
	for i := from; i < to; i++ {
		if _, parked := t.office.letters[i]; !parked {
			return false
		}
	}
	return true
}

// judgeParked looks whether an event may be applied beside the letters that there are:
// it is none itself, none of its key is older (P3), and none is of its transaction if
// those are kept whole (P4).
func (t *target) judgeParked(i int) {
	o, h := t.office, t.w.history
	if o == nil {
		return
	}
	place := h.shown[i]
	first, behind := o.first[keyOf(&h.events[place])]
	_, parked := o.letters[i]
	switch {
	case parked:
		t.w.violate("P1", "sink %s gets event %d, which is a dead letter", t.name, i)
	case behind && first < i:
		t.w.violate("P3", "sink %s gets event %d, and %d of the same key is a dead letter", t.name, i, first)
	case o.rules.Unit == parking.Transactions && o.txs[h.of[place]]:
		t.w.violate("P4", "sink %s gets event %d, and another one of its transaction is a dead letter", t.name, i)
	}
}

// officeEnd is a [pipeline.LetterStore] as one process sees it.
type officeEnd struct {
	p *process
	t *target
}

// Letters implements [pipeline.LetterStore].
func (s *officeEnd) Letters(ctx context.Context) (all []parking.Letter, err error) {
	err = s.p.do(ctx, &operation{key: s.t.name + " letters", act: func() error {
		for _, i := range slices.Sorted(maps.Keys(s.t.office.letters)) {
			all = append(all, s.t.office.letters[i])
		}
		return nil
	}})
	return all, err
}

// Park implements [pipeline.LetterStore].
func (s *officeEnd) Park(ctx context.Context, letters []parking.Letter) error {
	numbers := make([]int, len(letters))
	for k := range letters {
		var err error
		if numbers[k], err = s.p.w.history.index(&letters[k].Event); err != nil {
			s.p.w.violate("P1", "a dead letter of %s: %v", s.t.name, err)
			return err
		}
	}
	park := func(n int) {
		if s.p.w.cfg.Plant == PlantLetterLost && s.p.w.rng.IntN(10) == 0 {
			n--
		}
		for k := range n {
			s.t.park(numbers[k], letters[k])
		}
	}
	return s.p.do(ctx, &operation{
		key: s.t.name + " park", size: len(letters),
		act:  func() error { park(len(letters)); return nil },
		part: func() { park(s.p.w.rng.IntN(len(letters))) },
	})
}

func (t *target) park(i int, letter parking.Letter) {
	o, h := t.office, t.w.history
	if _, there := o.letters[i]; there {
		return
	}
	if i < t.next {
		t.w.violate("P2", "event %d becomes a dead letter, and sink %s has it", i, t.name)
	}
	o.letters[i] = letter
	key := keyOf(&h.events[h.shown[i]])
	if first, there := o.first[key]; !there || i < first {
		o.first[key] = i
	}
	o.txs[h.of[h.shown[i]]] = true
}

// Unpark implements [pipeline.LetterStore]: nobody orders anything here, so that only
// letters may go that were stored in vain.
func (s *officeEnd) Unpark(ctx context.Context, ids []string) error {
	return s.p.do(ctx, &operation{key: s.t.name + " unpark", size: len(ids), act: func() error {
		for _, id := range ids {
			i, err := s.t.w.history.named(id)
			if err != nil {
				return err
			}
			s.t.unpark(i)
		}
		return nil
	}})
}

func (t *target) unpark(i int) {
	o, h := t.office, t.w.history
	if i < t.next {
		t.w.violate("P1", "the dead letter of event %d goes, and sink %s is behind it", i, t.name)
	}
	delete(o.letters, i)
	o.first, o.txs = map[string]int{}, map[int]bool{}
	for _, k := range slices.Backward(slices.Sorted(maps.Keys(o.letters))) {
		o.first[keyOf(&h.events[h.shown[k]])] = k
		o.txs[h.of[h.shown[k]]] = true
	}
}

// refused is what a sink says of events of which it does not take one; nil if it takes
// all.
func (t *target) refused(events []int) error {
	h := t.w.history
	for _, i := range events {
		if t.refuses(i) {
			e := h.events[h.shown[i]]
			e.Tx = &h.txs[h.of[h.shown[i]]]
			return &entrain.BatchError{Failed: []entrain.FailedEvent{
				{ID: e.ID(), Table: e.Table.String(), Op: e.Op, Err: errors.New("the sink does not take it")},
			}}
		}
	}
	return nil
}

// siftWriter is a session that goes on behind a refusal.
type siftWriter struct{ *positionWriter }

// Rollback implements [entrain.Sifter].
func (wr *siftWriter) Rollback(ctx context.Context) error {
	if !wr.refused {
		return wr.over
	}
	err := wr.p.do(ctx, &operation{key: wr.t.name + " roll back", act: func() error { return nil }})
	if err == nil {
		wr.over, wr.refused, wr.open = nil, false, nil
	}
	return err
}

// Try implements [entrain.Sifter].
func (wr *siftWriter) Try(ctx context.Context, b *entrain.Batch) error {
	if wr.over != nil {
		return wr.over
	}
	events, err := wr.indices(b)
	if err == nil {
		err = wr.p.do(ctx, &operation{key: wr.t.name + " try", size: len(events), act: func() error { return wr.t.refused(events) }})
	}
	var bad *entrain.BatchError
	switch {
	case err == nil:
		wr.open = append(wr.open[:len(wr.open):len(wr.open)], events...)
		return nil
	case !errors.As(err, &bad):
		wr.over = fmt.Errorf("the session is over: %w", err)
	}
	return fmt.Errorf("try events at simulated sink: %w", err)
}

var _ entrain.Sifter = (*siftWriter)(nil)
