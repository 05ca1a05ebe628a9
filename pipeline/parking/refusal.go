package parking

import (
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// refusal is what the sink said of an event.
type refusal struct {
	event, reason, class string
	times                int
	first                time.Time
}

// tooOften is how often an event may be refused although it was to be taken out.
const tooOften = 3

// Refused reports whether a sink's error is about events.
func Refused(err error) bool {
	_, failed := refusedBy(err)
	return len(failed) > 0
}

// refusedBy returns the stop in an error, nil if there is none, and the events that it
// is about; none if it is about more than events.
func refusedBy(err error) (*entrain.Stop, []entrain.FailedEvent) {
	var stop *entrain.Stop
	if errors.As(err, &stop) && !stop.Data {
		return stop, nil
	}
	var batch *entrain.BatchError
	if !errors.As(err, &batch) {
		return stop, nil
	}
	return stop, batch.Failed
}

// Refuse notes what the sink said of events, and reports whether it was that, so that
// the others may go on.
func (l *Lot) Refuse(err error, now time.Time) bool {
	stop, failed := refusedBy(err)
	for _, f := range failed {
		id := l.unit(f.ID, f.Op)
		r := l.refused[id]
		if r == nil {
			r = &refusal{first: now}
			l.refused[id] = r
		}
		r.event, r.times = f.ID, r.times+1
		r.reason, r.class = fmt.Sprint(f.Err), "refused"
		if stop != nil {
			r.class = stop.Code
		}
		if r.times > l.rules.Attempts+tooOften {
			return false
		}
	}
	return len(failed) > 0
}

// Decided reports whether all events that an error is about, which Refuse was told,
// are taken out when they come next: there is nothing to wait for.
func (l *Lot) Decided(err error) bool {
	_, failed := refusedBy(err)
	for _, f := range failed {
		if r := l.refused[l.unit(f.ID, f.Op)]; r == nil || r.times < l.rules.Attempts {
			return false
		}
	}
	return len(failed) > 0
}
