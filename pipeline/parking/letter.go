package parking

import (
	"cmp"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
)

// Letter is one event that was taken out: a dead letter.
type Letter struct {
	// Event is a copy that belongs to the letter.
	Event entrain.Event
	// Reason is what the sink said of the event; empty if it said nothing of it.
	Reason string
	// Class is the name of the stop, or the kind of error, that Reason is of.
	Class string
	// Behind is the id of an event that was taken out before, because of which
	// this one was: one of its transaction, or of one of its rows. Empty for one
	// that was refused itself.
	Behind string
	// Attempts is how often the sink refused the event.
	Attempts int
	// First and At are when it did so first, and when the event was taken out.
	First, At time.Time
}

// Arrange sorts letters as their events came: what is refused first is not always what
// came first. Versions compare within one history of a source only; of two histories the
// one counts as older of which something was taken out first, since nothing comes of a
// history when the next one has begun.
func Arrange(letters []Letter) {
	type history struct{ source, incarnation string }
	of := func(l *Letter) history { return history{l.Event.Tx.Stream.Source, l.Event.Tx.Stream.Incarnation} }
	began := map[history]time.Time{}
	for i := range letters {
		l := &letters[i]
		if at, known := began[of(l)]; !known || l.At.Before(at) {
			began[of(l)] = l.At
		}
	}
	slices.SortFunc(letters, func(a, b Letter) int {
		if x, y := of(&a), of(&b); x != y {
			return cmp.Or(began[x].Compare(began[y]), cmp.Compare(x.source, y.source), cmp.Compare(x.incarnation, y.incarnation))
		}
		return cmp.Or(cmp.Compare(a.Event.Tx.Version, b.Event.Tx.Version), cmp.Compare(a.Event.Ordinal, b.Event.Ordinal))
	})
}
