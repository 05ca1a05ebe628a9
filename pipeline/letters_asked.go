package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// ask is what the writing goroutine is to do between two batches.
type ask struct {
	do   func(ctx context.Context, s *session) error
	done chan error // of one
}

// answer does what was asked, once everything before is durable.
func (s *session) answer(work context.Context, a ask) error {
	if err := s.endGathered(work); err != nil {
		a.done <- err
		return err
	}
	return a.answer(work, s)
}

// answer does what was asked. That the sink refuses it ends the session, but not the
// pipeline.
func (a ask) answer(ctx context.Context, s *session) error {
	err := a.do(ctx, s)
	a.done <- err
	var refused *replayError
	if errors.As(err, &refused) {
		return entrain.Retryable(&replayEnded{"replay: " + err.Error()})
	}
	return nil
}

// replayEnded is why a session ended of which only a replay was refused: nothing of the
// stream. It wraps nothing, since the refusal is not the stream's.
type replayEnded struct{ text string }

func (e *replayEnded) Error() string { return e.text }

// asks is where to listen for more to do: nowhere in the middle of a transaction.
func (s *session) asks() <-chan ask {
	if s.within {
		return nil
	}
	return s.p.letters.asks
}

var errNoLetters = errors.New("dead letters are not kept: set dead_letter in FILE")

// Letters returns the dead letters, in the order of their events; none if the
// pipeline keeps none. It may be called from any goroutine.
func (p *Pipeline) Letters(ctx context.Context) ([]parking.Letter, error) {
	if p.letters.opt == nil {
		return nil, nil
	}
	return p.letters.chosen(ctx, nil)
}

// Replay delivers dead letters once more, in the order of their events, and removes
// them then. ids are those of events, or of transactions (with a / at the end);
// none for all. Letters that come behind others that are not among them are
// refused. It may be called while Run works, from any goroutine, and returns when
// it is done, or ctx ends and the letter at hand is done. What the sink refuses again
// stays, and those behind it; without ids, the letters of other tables go on.
func (p *Pipeline) Replay(ctx context.Context, ids []string) (int, error) {
	if len(ids) == 0 {
		return p.replayAll(ctx)
	}
	return p.onLetters(ctx, func(work context.Context, s *session) (int, error) {
		letters, err := p.letters.toReplay(work, s, ids)
		if err != nil {
			return 0, err
		}
		return p.letters.replay(work, s, replaying{asker: ctx, letters: letters})
	})
}

// Drop removes dead letters for good; see [Pipeline.Replay] for ids.
func (p *Pipeline) Drop(ctx context.Context, ids []string) (int, error) {
	return p.onLetters(ctx, func(ctx context.Context, _ *session) (int, error) {
		letters, err := p.letters.chosen(ctx, ids)
		if err != nil {
			return 0, err
		}
		return len(letters), p.letters.remove(ctx, letters)
	})
}

// doLetters carries out an order about dead letters.
func (p *Pipeline) doLetters(ctx context.Context, o Order) (err error) {
	switch o.Do {
	case OrderReplay:
		_, err = p.Replay(ctx, o.Letters)
	case OrderDrop:
		_, err = p.Drop(ctx, o.Letters)
	default:
		_, err = p.onLetters(ctx, func(ctx context.Context, s *session) (int, error) { return 1, p.letters.replayEdited(ctx, s, o) })
	}
	return err
}

// onLetters has the writing goroutine do something between two transactions.
func (p *Pipeline) onLetters(ctx context.Context, do func(ctx context.Context, s *session) (int, error)) (n int, err error) {
	if p.letters.opt == nil {
		return 0, errNoLetters
	}
	err = p.ask(ctx, func(ctx context.Context, s *session) (failed error) {
		n, failed = do(ctx, s)
		return failed
	})
	return n, err
}

// errGone is said of what was asked of a delivery that ended. Behind a stream another
// one is begun in its place, which knows nothing of it.
var errGone = errors.New("the delivery has ended meanwhile; once it is tried again, type the command again: entrain status FILE")

// ask has the writing goroutine do something between two transactions, and waits for
// it, as long as Run works.
func (p *Pipeline) ask(ctx context.Context, do func(ctx context.Context, s *session) error) error {
	a := ask{do: do, done: make(chan error, 1)}
	select {
	case p.letters.asks <- a:
	case <-p.letters.gone:
		return errGone
	case <-ctx.Done():
		return fmt.Errorf("the pipeline does not deliver at the moment: %w", ctx.Err()) // no session, or a large transaction
	}
	return <-a.done
}

// stored returns all letters. What somebody removed from the store without a word is
// forgotten here, too: nothing is to wait behind it any more.
func (d *desk) stored(ctx context.Context) ([]parking.Letter, error) {
	d.mu.Lock()
	parks := d.parks
	d.mu.Unlock()
	all, err := d.opt.Store.Letters(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded && parks == d.parks && d.lot.Keep(all) { // else some are newer than what was read
		d.alert()
	}
	return all, nil
}

// chosen are the stored letters that ids name, in the order of their events.
func (d *desk) chosen(ctx context.Context, ids []string) ([]parking.Letter, error) {
	all, err := d.stored(ctx)
	if err != nil {
		return nil, err
	}
	parking.Arrange(all)
	if len(ids) == 0 {
		return all, nil
	}
	var some []parking.Letter
	used := map[string]bool{}
	for i := range all {
		id := all[i].Event.ID()
		for _, want := range ids {
			if id == want || strings.HasSuffix(want, "/") && strings.HasPrefix(id, want) {
				used[want] = true
				some = append(some, all[i])
				break
			}
		}
	}
	for _, want := range ids {
		if !used[want] {
			return nil, noLetter(want)
		}
	}
	return some, nil
}

func noLetter(id string) error {
	return mistake("there is no dead letter %s; see: entrain dlq list FILE", id)
}

func (d *desk) remove(ctx context.Context, letters []parking.Letter) error {
	ids := make([]string, len(letters))
	for i := range letters {
		ids[i] = letters[i].Event.ID()
	}
	if err := d.opt.Store.Unpark(ctx, ids); err != nil {
		return fmt.Errorf("remove %d dead letters: %w", len(ids), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lot.Remove(letters)
	d.alert()
	return nil
}

// toReplay are the letters that ids name, if they can be replayed.
func (d *desk) toReplay(ctx context.Context, s *session, ids []string) ([]parking.Letter, error) {
	if s.position().IsZero() {
		return nil, errors.New("nothing was delivered yet")
	}
	letters, err := d.chosen(ctx, ids)
	if err == nil {
		err = d.inOrder(ctx, letters)
	}
	return letters, err
}

// replaying are letters that are delivered once more, until asker ends.
type replaying struct {
	asker   context.Context
	letters []parking.Letter
	refused func(some []parking.Letter) // if set, is told what the sink did not take
}

// removeEvery is how long letters that were replayed stay at most: a removal may cost
// a connection, or reading all letters, and what a crash leaves is delivered again.
const removeEvery = 200 * time.Millisecond

// replay delivers letters, a source transaction at a time, at the position where the
// sink is: the stream does not move. It returns how many it has delivered and removed.
func (d *desk) replay(ctx context.Context, s *session, r replaying) (int, error) {
	removed, done, began := 0, 0, time.Now()
	var failed error
	for done < len(r.letters) && failed == nil {
		n := done + 1
		for n < len(r.letters) && sameTransaction(r.letters[n].Event.Tx, r.letters[done].Event.Tx) {
			n++
		}
		if failed = s.attempt(ctx, &entrain.Batch{Events: d.again(r.letters[done:n]), Through: s.position()}, s.writer.Write); failed != nil {
			if r.refused != nil {
				r.refused(r.letters[done:n])
			}
			failed = &replayError{failed} // the session is over
		} else if done = n; r.asker.Err() != nil {
			failed = r.asker.Err()
		}
		if last := failed != nil || done == len(r.letters); done > removed && (last || time.Since(began) >= removeEvery) {
			if err := d.remove(ctx, r.letters[removed:done]); err != nil {
				return removed, errors.Join(failed, err)
			}
			removed, began = done, time.Now()
		}
	}
	return removed, failed
}

// replayError says that the sink refused what was replayed.
type replayError struct{ error }

func (e *replayError) Unwrap() error { return e.error }

func sameTransaction(a, b *entrain.Transaction) bool {
	return a.Version == b.Version && *a.Stream == *b.Stream
}

// again are the events of letters as they are delivered once more: what was changed
// meanwhile may be there already, which a sink that compares versions sees by itself.
func (d *desk) again(letters []parking.Letter) []entrain.Event {
	keeper, ok := d.p.opt.Sink.(entrain.RowKeeper)
	gated := ok && keeper.Gated()
	events := make([]entrain.Event, len(letters))
	for i := range letters {
		events[i] = letters[i].Event
		events[i].Settling = !gated
		if t := events[i].Table; t != nil && t.Shadow {
			own := *t
			own.Shadow = false
			events[i].Table = &own
		}
	}
	return events
}

// inOrder refuses to deliver letters before others that they come behind.
func (d *desk) inOrder(ctx context.Context, letters []parking.Letter) error {
	all, err := d.stored(ctx)
	if err != nil {
		return err
	}
	among := map[string]bool{}
	for i := range letters {
		among[letters[i].Event.ID()] = true
	}
	parking.Arrange(all)
	left := parking.New(d.opt.Rules)
	for i := range all {
		id := all[i].Event.ID()
		if !among[id] {
			left.Add(all[i : i+1])
		} else if first := left.Before(&all[i].Event); first != "" {
			return mistake("event %s comes behind %s, which is a dead letter, too: name both, or drop that one", id, first)
		}
	}
	return nil
}
