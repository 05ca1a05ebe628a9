package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/entrainsync/entrain"
)

// Redelivery is a stretch of what was delivered that is delivered once more.
type Redelivery struct {
	// Source ends by itself, where the pipeline was or before.
	Source entrain.Source
	// From is where the stretch begins.
	From entrain.Position
	// Wants chooses among the events; nil takes all. It is called for each in order.
	Wants func(*entrain.Event) bool
}

// Delivered returns how far the sink is: the zero position if nothing was delivered
// in this session yet. It may be called while Run works, from any goroutine, and
// waits for a session.
func (p *Pipeline) Delivered(ctx context.Context) (at entrain.Position, err error) {
	err = p.ask(ctx, func(_ context.Context, s *session) error {
		at = s.position()
		return nil
	})
	return at, err
}

// Redeliver delivers a stretch once more, between the transactions of the stream,
// whose position does not move by it. It returns how many events the sink has
// taken, also with an error: what a session that broke has taken stays, and comes
// again if the stretch is delivered anew. Changes of definitions are not repeated.
// It may be called while Run works, from any goroutine.
func (p *Pipeline) Redeliver(ctx context.Context, r Redelivery) (taken int64, err error) {
	reader, err := r.Source.Open(ctx, r.From)
	if err != nil {
		return 0, fmt.Errorf("open the stretch: %w", err)
	}
	defer closeQuietly(p, "stretch", reader)
	for {
		n, err := p.redeliverOne(ctx, reader, r.Wants)
		taken += n
		if errors.Is(err, io.EOF) {
			return taken, nil
		}
		if err != nil {
			return taken, err
		}
	}
}

// redeliverOne delivers what is between two positions of the stretch: whole
// transactions, or one that is too large for a batch.
func (p *Pipeline) redeliverOne(ctx context.Context, reader entrain.Reader, wants func(*entrain.Event) bool) (taken int64, err error) {
	first, err := reader.Read(ctx)
	if err != nil {
		return 0, err
	}
	n := choose(first, wants)
	if n == 0 && !first.Through.IsZero() {
		release(first)
		return 0, nil
	}
	err = p.ask(ctx, func(work context.Context, s *session) error {
		taken, err = s.redeliver(work, reader, stretch{first, wants})
		return err
	})
	return taken, err
}

// stretch is a batch that is at hand, and what is wanted of those behind it.
type stretch struct {
	first *entrain.Batch
	wants func(*entrain.Event) bool
}

// redeliver writes batches up to one with a position.
func (s *session) redeliver(ctx context.Context, reader entrain.Reader, of stretch) (taken int64, err error) {
	at := s.position()
	if at.IsZero() {
		release(of.first)
		return 0, errors.New("nothing was delivered yet")
	}
	for b := of.first; ; {
		last := !b.Through.IsZero()
		if last {
			b.Through = at
		}
		taken += int64(len(b.Events))
		if len(b.Events) > 0 || last {
			err = s.attempt(ctx, b)
		}
		release(b)
		if err != nil {
			return 0, &replayError{err} // the session is over, and the transaction with it
		}
		if last {
			return taken, nil
		}
		if b, err = reader.Read(ctx); err != nil {
			return 0, &replayError{fmt.Errorf("read the stretch in the middle of a transaction: %w", err)}
		}
		choose(b, of.wants)
	}
}

// choose leaves in a batch what is wanted, and no changes of definitions, and returns
// how many events that are.
func choose(b *entrain.Batch, wants func(*entrain.Event) bool) int {
	kept := b.Events[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if e.Op != entrain.OpSchema && e.Op != entrain.OpReadEnd && (wants == nil || wants(e)) {
			kept = append(kept, *e)
		}
	}
	b.Events = kept
	return len(kept)
}

func release(b *entrain.Batch) {
	if b.Free != nil {
		b.Free()
	}
}
