package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// wary is what a session knows of refusals from one batch to the next.
type wary struct {
	on   bool // the batch before had some: the next is sifted at once
	step int  // how many events are tried together
}

// leastStep is how many events are tried together at least while nothing is refused.
const leastStep = 16

// notedError ended a session, and is noted as a refusal already.
type notedError struct{ error }

func (e *notedError) Unwrap() error { return e.error }

// sinkFailed is what ends the session when the sink did not take something.
func (s *session) sinkFailed(work context.Context, err error) error {
	return fromSink(fmt.Errorf("write to sink after %s: %w", s.position(), errors.Join(err, causeOf(work))))
}

// hand gives a batch to the sink without what is not to be delivered. Of a sink that can
// sift, what it refuses is taken out here and now; every other refusal ends the session,
// as any error does.
func (s *session) hand(work context.Context, b *entrain.Batch) (outs, error) {
	sifter := s.sifter(b)
	if sifter != nil && s.wary.on {
		return s.sift(work, &sifting{s: s, sifter: sifter, batch: b})
	}
	pass, stored, err := s.p.letters.sort(work, b, s.delays)
	if err != nil {
		return outs{}, err
	}
	out := outs{parked: len(b.Events) - len(pass.Events)}
	if pass, out.doubled, err = s.p.seen.pass(work, pass); err != nil {
		return outs{}, err
	}
	s.p.writing(time.Now())
	defer s.p.writing(time.Time{})
	err = s.attempt(work, pass, s.writer.Write)
	switch {
	case err == nil:
		return out, nil
	case sifter == nil || !parking.Refused(err) || sifter.Rollback(work) != nil:
		return outs{}, s.sinkFailed(work, err)
	}
	s.wary.step = max(leastStep, named(err, b.Events))
	return s.sift(work, &sifting{s: s, sifter: sifter, batch: b, stored: stored})
}

// sifter returns the sink's writer if what it refuses of a batch can be taken out in
// this session: everything before is durable, and the batch is of whole transactions
// that only change rows.
func (s *session) sifter(b *entrain.Batch) entrain.Sifter {
	sifter, ok := s.writer.(entrain.Sifter)
	if !ok || s.p.letters.opt == nil || s.within || !s.gathered.through.IsZero() || b.Through.IsZero() || len(b.Events) == 0 {
		return nil
	}
	if slices.ContainsFunc(b.Events, func(e entrain.Event) bool {
		return e.Op < entrain.OpInsert || e.Op > entrain.OpMessage || e.Settling || e.Table != nil && e.Table.Shadow
	}) {
		return nil
	}
	return sifter
}

// sift delivers a batch step by step, in one transaction of the sink, without the events
// that it refuses and those that come behind them, which are stored before that is
// durable (P1). Each event is tried where exactly those before it were accepted that are
// delivered.
func (s *session) sift(work context.Context, f *sifting) (outs, error) {
	s.p.writing(time.Now())
	defer s.p.writing(time.Time{})
	if err := f.run(work); err != nil {
		return outs{}, err
	}
	s.wary.on = len(f.letters) > 0
	if err := s.p.point(PointParked); err != nil {
		return outs{}, err
	}
	if err := s.attempt(work, &entrain.Batch{Through: f.batch.Through}, s.writer.Write); err != nil {
		return outs{}, s.sinkFailed(work, err)
	}
	return outs{parked: len(f.batch.Events) - f.accepted}, nil
}

// sifting is the delivery of one batch of which the sink refuses events. Tried are the
// first of rest, whole transactions: one, if they begin with one that is suspected.
type sifting struct {
	s      *session
	sifter entrain.Sifter
	batch  *entrain.Batch
	stored []parking.Letter // of the batch, before; they are taken out once more

	rest     []entrain.Event  // not accepted and not taken out
	letters  []parking.Letter // taken out, not stored
	accepted int              // events
	calm     int              // events since the last that was refused
	next     int              // how many to try next; 0 for as many as usual
	suspect  bool             // what follows those is likely to be refused
}

// run has the sink accept what it does, and stores the letters.
func (f *sifting) run(work context.Context) error {
	d := f.s.p.letters
	f.rest = f.batch.Events
	f.forget(f.stored)
	err := f.all(work)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		err = d.store(work, f.letters, f.s.delays)
	} else {
		d.lot.Remove(f.letters)
	}
	if err != nil {
		d.lot.Add(f.stored)
	}
	return err
}

// forget has the lot forget letters that are taken out anew: what comes before them
// must not seem to come behind them.
func (f *sifting) forget(letters []parking.Letter) {
	d := f.s.p.letters
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lot.Remove(letters)
}

// all tries all events.
func (f *sifting) all(work context.Context) error {
	for len(f.rest) > 0 {
		n := f.reach()
		pass, letters, err := f.sort(n)
		if err != nil {
			return err
		}
		if len(pass.Events) > 0 {
			err = f.s.attempt(work, pass, f.sifter.Try)
		}
		if err == nil {
			f.letters = append(f.letters, letters...)
			f.accept(n, len(pass.Events))
			continue
		}
		f.forget(letters)
		if f.divide(err, n, pass.Events) {
			continue
		}
		if err := f.refuse(work, err); err != nil {
			return err
		}
		f.next = n
	}
	return nil
}

// reach returns how many events are to be tried together.
func (f *sifting) reach() int {
	n := f.next
	if n == 0 {
		n = max(1, f.s.wary.step)
	}
	for n < len(f.rest) && sameTransaction(f.rest[n-1].Tx, f.rest[n].Tx) {
		n++
	}
	return min(n, len(f.rest))
}

// sort takes out of the first n events what is not to be delivered.
func (f *sifting) sort(n int) (*entrain.Batch, []parking.Letter, error) {
	d := f.s.p.letters
	d.mu.Lock()
	defer d.mu.Unlock()
	pass, letters, err := d.lot.Sort(&entrain.Batch{Events: f.rest[:n], Through: f.batch.Through}, time.Now())
	if err != nil {
		err = entrain.Retryable(err)
	}
	return pass, letters, err
}

// accept goes on behind n events, of which the sink took so many.
func (f *sifting) accept(n, taken int) {
	f.rest = f.rest[n:]
	f.accepted += taken
	f.calm += taken
	if f.next == 0 {
		f.s.wary.step *= 2
	}
	f.next = 0
	if f.suspect {
		f.next, f.suspect = 1, false
	}
}

// divide has fewer of the first n events tried next, and reports false if those that
// the sink was given are one transaction, or the error is not about events.
func (f *sifting) divide(err error, n int, given []entrain.Event) bool {
	var batch *entrain.BatchError
	if !errors.As(err, &batch) || sameTransaction(given[0].Tx, given[len(given)-1].Tx) {
		return false
	}
	at := named(err, f.rest[:n])
	f.suspect = at > 0
	if at < 0 {
		at = n / 2
		f.s.wary.step = at
	}
	for at > 0 && sameTransaction(f.rest[at-1].Tx, f.rest[at].Tx) {
		at--
	}
	f.next = max(1, at) // 1 is the first transaction
	return true
}

// refuse notes that an event is to be taken out, if it has been refused often enough;
// else the session ends, and a new one tries again later.
func (f *sifting) refuse(work context.Context, err error) error {
	d := f.s.p.letters
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.lot.Refuse(err, time.Now()) {
		return f.s.sinkFailed(work, err)
	}
	if !d.lot.Decided(err) {
		return f.s.sinkFailed(work, &notedError{err})
	}
	// About as many as have come since the last one: half of the tries succeed.
	f.s.wary.step, f.calm = max(leastStep, f.calm), 0
	return nil
}

// named returns which of the events an error is about first; -1 for none.
func named(err error, events []entrain.Event) int {
	var batch *entrain.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) == 0 {
		return -1
	}
	return slices.IndexFunc(events, func(e entrain.Event) bool { return e.ID() == batch.Failed[0].ID })
}
