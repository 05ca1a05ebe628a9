package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

// settler waits at the barriers that tables need before their first chunk, in a
// goroutine and at a session of the source of its own: a transaction that stays open
// there for hours holds up the tables that wait for its end, and no other. One barrier
// is awaited at a time, since a later one waits for the same transactions.
type settler struct {
	s      *session
	t      *tables
	source entrain.Chunker
	delays backoff
}

// unsettled is a table whose copy waits for the barrier.
type unsettled struct {
	life *life
	copy *backfill.Copy
}

// run waits at barriers until ctx ends or something fails that a retry does not mend.
func (b *settler) run(ctx context.Context) error {
	for {
		waiting, err := b.t.unsettled(ctx)
		if err == nil {
			err = b.settle(ctx, waiting)
		}
		switch {
		case ctx.Err() != nil || errors.Is(err, errDraining):
			return nil
		case err == nil:
			b.delays.reset()
			continue
		case isHanding(err) || !entrain.IsRetryable(err):
			return err
		}
		wait := b.delays.next(err, 0.5)
		b.s.p.log.Warn("open transactions could not be waited for, will try again", "error", err, "in", wait.Round(time.Millisecond))
		if sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// settle waits at the barrier for tables whose copies see every event from now on. A
// copy that was made meanwhile, or has forgotten what it saw, needs another one.
func (b *settler) settle(ctx context.Context, waiting []unsettled) error {
	session, err := b.source.Chunks(ctx)
	if err != nil {
		return err
	}
	defer closeQuietly(b.s.p, "barrier", session)
	b.t.settling(waiting)
	if err := session.Settle(ctx); err != nil {
		return err
	}
	b.t.haveSettled(waiting)
	return b.s.catchUp(ctx)
}

// unsettled waits for tables that need a barrier.
func (t *tables) unsettled(ctx context.Context) ([]unsettled, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var waiting []unsettled
	err := t.watch(ctx, func() bool {
		for _, l := range t.sorted() {
			if l.wantsRows() && !l.settled {
				waiting = append(waiting, unsettled{l, l.copy})
			}
		}
		return waiting != nil
	})
	return waiting, err
}

// settling notes that a barrier for the tables begins now.
func (t *tables) settling(waiting []unsettled) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range waiting {
		w.life.crowded = false
	}
}

func (t *tables) haveSettled(waiting []unsettled) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range waiting {
		if w.life.copy == w.copy && !w.life.crowded {
			w.life.settled = true
		}
	}
	t.signal()
}

// wantsRows reports whether rows of the table are to be read now.
func (l *life) wantsRows() bool { return l.copy != nil && !l.Held && l.reads() }
