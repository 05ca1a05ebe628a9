package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

// Dedup says how changes are recognised that a sink has already which keeps no
// position: a crash between what is durable there and the position's being saved
// brings them again. A sink that keeps the position, or goes back to it, needs none.
type Dedup struct {
	// Store remembers the keys. If it is an [io.Closer], it is closed when Run ends.
	Store entrain.KeyStore
	// Pattern makes them.
	Pattern dedup.Pattern
	// Delivery tells this pipeline from others that use the store.
	Delivery string
	// Unused, if set, is called instead of a warning where the sink needs none of it.
	Unused func()
}

// mostMarks bounds what is remembered of one transaction until it is durable (P6):
// about 100 bytes each.
const mostMarks = 1 << 19

// marks are keys and their values.
type marks struct{ keys, values []string }

func (m *marks) add(some marks) {
	m.keys, m.values = append(m.keys, some.keys...), append(m.values, some.values...)
}

// sieve takes the changes out that a sink has already. But for the counts it is
// for the goroutine that writes.
type sieve struct {
	opt *Dedup // nil: nothing is taken out
	p   *Pipeline

	used bool  // by the session at work
	said bool  // that it is not
	part marks // of the batch at hand
	open marks // accepted, not durable
	owed marks // durable at the sink, not in the store yet
	lost int   // of the open transaction, that are too many to be remembered
	back recall

	checked, found atomic.Int64

	mu     sync.Mutex
	recent recent
}

// begin is called when a session begins. What the last one could not store any more
// is stored first.
func (v *sieve) begin(ctx context.Context, w entrain.Writer) error {
	if v.opt == nil {
		return nil
	}
	v.part, v.open, v.lost, v.back = marks{}, marks{}, 0, recall{}
	_, keeps := w.(entrain.Positioner)
	_, returns := w.(entrain.Marker)
	if v.used = !keeps && !returns; !v.used {
		v.unused()
		return nil
	}
	if err := v.readBack(ctx, w); err != nil {
		return err
	}
	return v.remember(ctx)
}

// unused says once that the sink doubles nothing.
func (v *sieve) unused() {
	switch {
	case v.opt.Unused != nil:
		v.opt.Unused()
	case !v.said:
		v.p.log.Warn(NotDeduplicated)
	}
	v.said = true
}

// NotDeduplicated is what is said of a sink that needs no [Dedup].
const NotDeduplicated = "deduplication is not used: this sink keeps the position itself, or goes back to it after a crash, and doubles nothing"

// pass takes out of a batch what the sink has, and returns how many that are. The
// batch itself is returned if that is nothing.
func (v *sieve) pass(ctx context.Context, b *entrain.Batch) (*entrain.Batch, int, error) {
	v.part = marks{}
	if v.opt == nil || !v.used || len(b.Events) == 0 {
		return b, 0, nil
	}
	var buf []byte
	part := marks{make([]string, 0, len(b.Events)), make([]string, 0, len(b.Events))}
	for i := range b.Events {
		if e := &b.Events[i]; dedup.Remembered(e) {
			buf = v.opt.Pattern.AppendKey(buf[:0], e, v.opt.Delivery)
			part.keys, part.values = append(part.keys, string(buf)), append(part.values, dedup.Mark(e, v.opt.Delivery))
		}
	}
	v.part = part
	if len(v.part.keys) == 0 {
		return b, 0, nil
	}
	there, err := v.opt.Store.Values(ctx, v.part.keys)
	if err == nil && len(there) != len(v.part.keys) {
		err = fmt.Errorf("%d answers to %d keys", len(there), len(v.part.keys))
	}
	if err != nil {
		return nil, 0, entrain.Retryable(fmt.Errorf("ask which changes the sink has already: %w", err))
	}
	v.back.note(b, there, v.part.values)
	pass, doubled := v.left(b, there)
	return pass, doubled, nil
}

// left is the batch without the events that the store knows.
func (v *sieve) left(b *entrain.Batch, there []string) (*entrain.Batch, int) {
	asked := v.part
	if !slices.ContainsFunc(there, func(mark string) bool { return mark != "" }) {
		return b, 0 // nearly always
	}
	v.part = marks{}
	kept := make([]entrain.Event, 0, len(b.Events))
	at := 0
	for i := range b.Events {
		if dedup.Remembered(&b.Events[i]) {
			at++
			if there[at-1] == asked.values[at-1] {
				continue
			}
			v.part.add(marks{asked.keys[at-1 : at], asked.values[at-1 : at]})
		}
		kept = append(kept, b.Events[i])
	}
	doubled := len(b.Events) - len(kept)
	if doubled == 0 {
		return b, 0
	}
	return &entrain.Batch{Events: kept, Through: b.Through, Filtered: b.Filtered, Bytes: b.Bytes}, doubled
}

// accepted notes that the sink has taken the batch, of which so many events were
// taken out before.
func (v *sieve) accepted(doubled int) {
	if v.opt == nil || !v.used {
		return
	}
	n := len(v.part.keys)
	v.checked.Add(int64(n + doubled))
	v.found.Add(int64(doubled))
	v.mu.Lock()
	v.recent.add(time.Now(), n+doubled, doubled)
	v.mu.Unlock()
	if len(v.open.keys)+n > mostMarks {
		v.lost += n
	} else {
		v.open.add(v.part)
	}
	v.part = marks{}
}

// durable remembers what was accepted: it is durable at the sink now, and not before.
func (v *sieve) durable(ctx context.Context) error {
	if v.opt == nil || !v.used {
		return nil
	}
	if v.lost > 0 {
		v.p.log.Warn("a transaction is too large to be remembered whole: a crash before its position is saved doubles the rest",
			"remembered", len(v.open.keys), "not", v.lost)
	}
	v.owed.add(v.open)
	v.open, v.lost = marks{}, 0
	v.back.durable()
	return v.remember(ctx)
}

// remember stores what is owed.
func (v *sieve) remember(ctx context.Context) error {
	if len(v.owed.keys) == 0 {
		return nil
	}
	if err := v.opt.Store.Keep(ctx, v.owed.keys, v.owed.values); err != nil {
		return entrain.Retryable(fmt.Errorf("remember which changes the sink has: %w", err))
	}
	v.owed = marks{}
	return nil
}

// close ends the store's connections.
func (v *sieve) close() {
	if v.opt == nil {
		return
	}
	if closer, ok := v.opt.Store.(io.Closer); ok {
		closeQuietly(v.p, "keys", closer)
	}
}

// rate is the part of the changes of the last minute that the sink had already.
func (v *sieve) rate(now time.Time) float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.recent.rate(now)
}

// recent counts over the last minute, by seconds.
type recent struct {
	seconds [60]struct {
		at             int64 // since 1970
		checked, found int
	}
}

func (r *recent) add(now time.Time, checked, found int) {
	s := &r.seconds[now.Unix()%int64(len(r.seconds))]
	if s.at != now.Unix() {
		s.at, s.checked, s.found = now.Unix(), 0, 0
	}
	s.checked += checked
	s.found += found
}

// rate is between 0 and 1; 0 if there was nothing.
func (r *recent) rate(now time.Time) float64 {
	checked, found := 0, 0
	for _, s := range r.seconds {
		if now.Unix()-s.at < int64(len(r.seconds)) {
			checked, found = checked+s.checked, found+s.found
		}
	}
	if checked == 0 {
		return 0
	}
	return float64(found) / float64(checked)
}
