package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// A double that nobody fills any more, of a table whose copying was cancelled or has
// failed, is removed from the sink. What the queue still has for it comes first: so a
// flight without rows is sent behind that, and when it has landed the doubles go that
// no table needs. What is missed so, by a crash say, the next session removes when it
// begins.

// drop asks for that where a table has left its double; mu is held.
func (t *tables) drop() {
	for _, l := range t.lives {
		if l.doubled && !l.Anew {
			l.doubled, t.drops = false, true
		}
	}
}

// dropsNow reports whether the flight may start; mu is held.
func (t *tables) dropsNow() bool { return t.drops && len(t.lives) > 0 && !t.open && !t.at.IsZero() }

// needed are the tables with doubles that are being filled, by their names for the
// sink.
func (t *tables) needed() []entrain.TableName {
	t.mu.Lock()
	defer t.mu.Unlock()
	var needed []entrain.TableName
	for _, l := range t.sorted() {
		if l.Anew {
			needed = append(needed, entrain.TableName{Schema: l.sink.schema, Name: l.sink.name})
		}
	}
	return needed
}

// meet notes which kind of sink the session has.
func (t *tables) meet(w entrain.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, keeps := w.(entrain.DoubleDropper)
	t.relays = !keeps
}

// dropDoubles has the sink remove the doubles that no table needs. Those that stay do
// no harm.
func (p *Pipeline) dropDoubles(ctx context.Context, w entrain.Writer) {
	dropper, ok := w.(entrain.DoubleDropper)
	if !ok || p.tables.store == nil {
		return
	}
	if err := dropper.DropDoubles(ctx, p.tables.needed()); err != nil {
		p.log.Warn("what is left of cancelled resyncs could not be removed from the sink, the next session tries again", "error", err)
	}
}

// divided refuses orders that end with a double where none can take a table's
// place: a paused table is resumed by one.
func (t *tables) divided(ctx context.Context, do Verb) error {
	sink, ok := t.p.opt.Sink.(entrain.Divided)
	if !ok || do != OrderResync && do != OrderPause && do != OrderResume {
		return nil
	}
	return sink.Divided(ctx)
}
