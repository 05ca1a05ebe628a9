package window

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// eventBytes is about what an event needs besides its rows.
const eventBytes = 200

// Keep returns a batch that holds little more memory than its events need: b itself,
// or, if most of b is of events that were taken out of it, a copy; b is freed then.
func Keep(b *entrain.Batch) *entrain.Batch {
	needs := 0
	for i := range b.Events {
		e := &b.Events[i]
		needs += eventBytes + len(e.Before) + len(e.After)
		if e.Message != nil {
			needs += len(e.Message.Content)
		}
	}
	if 2*needs > b.Bytes {
		b.Bytes = max(b.Bytes, needs)
		return b
	}
	out := &entrain.Batch{Through: b.Through, Bytes: needs, Events: make([]entrain.Event, len(b.Events))}
	var last, copied *entrain.Transaction
	for i, e := range b.Events {
		if e.Tx != last {
			tx := *e.Tx
			last, copied = e.Tx, &tx
		}
		e.Tx = copied
		e.Before, e.After = slices.Clone(e.Before), slices.Clone(e.After)
		if t := e.Truncate; t != nil {
			own := *t
			own.Tables = slices.Clone(t.Tables)
			e.Truncate = &own
		}
		if m := e.Message; m != nil {
			own := *m
			own.Content = slices.Clone(m.Content)
			e.Message = &own
		}
		out.Events[i] = e
	}
	free(b)
	return out
}
