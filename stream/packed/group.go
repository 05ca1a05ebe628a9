package packed

import (
	"context"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/frame"
)

// ending says how a run of events ends.
type ending uint8

const (
	endPart  ending = iota // within a transaction
	endWhole               // with a transaction
)

// endOf is how a batch ends.
func endOf(b *entrain.Batch) ending {
	if b.Through.IsZero() {
		return endPart
	}
	return endWhole
}

// The size of what is appended at once.
const (
	groupBytes    = 4 << 20
	groupMessages = 64
	// keepBytes is the largest memory of a group that is kept for the next one.
	keepBytes = 4 * groupBytes
)

// group is a run of messages that are appended at once. Their envelopes are
// written when it is known what they follow.
type group struct {
	buf   []byte
	ends  []int // of each message in buf
	flags []byte
}

func (g *group) reset() {
	if cap(g.buf) > keepBytes {
		g.buf = nil
	}
	g.buf, g.ends, g.flags = g.buf[:0], g.ends[:0], g.flags[:0]
}

func (g *group) full(limit int) bool { return len(g.buf) >= limit || len(g.ends) >= groupMessages }

// add ends a message that was built in buf.
func (g *group) add(flags byte) {
	g.ends, g.flags = append(g.ends, len(g.buf)), append(g.flags, flags)
}

// messages are the group's from the given one on, as parts of buf.
func (g *group) messages(from int) [][]byte {
	list := make([][]byte, 0, len(g.ends)-from)
	start := 0
	for i, end := range g.ends {
		if i >= from {
			list = append(list, g.buf[start:end:end])
		}
		start = end
	}
	return list
}

// messageBytes is how large a message shall be, and a group.
func (w *writer) limits() (message, all int) {
	message, all = min(w.log.cfg.MessageBytes, w.seq.MessageBytes), groupBytes
	if m := w.log.cfg.MaxBytes; m > 0 {
		message = min(message, max(int(m/64), 4<<10))
		all = min(all, max(int(m/8), message))
	}
	return message, all
}

// put encodes events into messages and has them appended, though not all of them
// are there when it returns. Groups that are full are appended meanwhile.
func (w *writer) put(ctx context.Context, events []entrain.Event, through entrain.Position, end ending) error {
	size, all := w.limits()
	between := byte(flagMore)
	if sameTransaction(events) {
		between = flagPart
	}
	for {
		start := len(w.group.buf)
		buf, n, err := w.enc.AppendSome(append(w.group.buf, empty[:]...), frame.Header{Through: through, Begin: w.base},
			events, size-envelopeBytes)
		if err != nil {
			return fmt.Errorf("encode events for the stream: %w", err)
		}
		w.group.buf = buf
		flags := between
		if n == len(events) {
			flags = 0
			if end == endPart {
				flags = flagPart
			}
		}
		if w.split(start, flags, between) {
			// The position has to be found without the rest of the frame.
			n, events = 0, nil
			continue
		}
		if events = events[n:]; len(events) == 0 {
			return w.launch(ctx)
		}
		if w.group.full(all) {
			if err := w.launch(ctx); err != nil {
				return err
			}
		}
	}
}

var empty [envelopeBytes]byte

// split makes messages of what was encoded from start on: one, unless that is more
// than the back end takes. It reports whether an end is missing yet: one that was
// divided gets the flags between.
func (w *writer) split(start int, flags, between byte) (endless bool) {
	g, limit := &w.group, w.seq.MessageBytes
	if len(g.buf)-start <= limit {
		g.add(flags)
		return false
	}
	if endless = flags == 0; endless {
		flags = between
	}
	rest := append([]byte(nil), g.buf[start+limit:]...)
	g.buf = g.buf[:start+limit]
	for len(rest) > 0 {
		g.add(flags | flagFragment)
		n := min(len(rest), limit-envelopeBytes)
		g.buf = append(append(g.buf, empty[:]...), rest[:n]...)
		rest = rest[n:]
	}
	g.add(flags)
	return endless
}

// sameTransaction reports whether all events, which are in commit order, are of
// one transaction.
func sameTransaction(events []entrain.Event) bool {
	if len(events) == 0 {
		return true
	}
	a, b := events[0].Tx, events[len(events)-1].Tx
	return a == b || a != nil && b != nil && a.Version == b.Version && (a.Stream == b.Stream || *a.Stream == *b.Stream)
}

// launch begins to append the group that was filled, behind the one that is under
// way.
func (w *writer) launch(ctx context.Context) error {
	if err := w.land(ctx); err != nil {
		return err
	}
	g := w.group
	w.group, w.spare = w.spare, group{}
	w.group.reset()
	flying, run := make(chan appended, 1), appending{w: w, g: &g, after: w.last, base: w.base, total: w.total, parent: w.tip}
	w.total += uint64(len(g.buf))
	w.flying = flying
	w.wg.Go(func() {
		last, err := run.all(w.ctx)
		flying <- appended{last: last, tip: run.parent, err: err, g: g}
	})
	return nil
}

// land waits until the group that is under way is durable.
func (w *writer) land(ctx context.Context) error {
	if w.flying == nil {
		return nil
	}
	select {
	case a := <-w.flying:
		w.flying = nil
		if a.err != nil {
			return fmt.Errorf("append to the stream of %s: %w", w.log.cfg.Producer, a.err)
		}
		w.last, w.tip, w.spare = a.last, a.tip, a.g
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// appending is a group on its way, for the goroutine that appends it.
type appending struct {
	w           *writer
	g           *group
	after, base uint64
	total       uint64
	parent      uint64 // digest of the message after
	anyway      bool   // beyond our own limit
}

// all appends the group, and waits for room if there is none.
func (a *appending) all(ctx context.Context) (uint64, error) {
	for done := 0; ; {
		msgs := a.g.messages(done)
		a.seal(msgs, done)
		n, last, err := a.attempt(ctx, msgs)
		for _, m := range msgs[:n] {
			a.total += uint64(len(m))
		}
		if n > 0 {
			done, a.after, a.parent = done+n, last, digest(msgs[n-1])
		}
		if err == nil {
			return a.after, a.w.room.found()
		}
		if err = a.w.room.wait(ctx, err); err != nil {
			return a.after, a.w.explain(ctx, err)
		}
	}
}

func (a *appending) attempt(ctx context.Context, msgs [][]byte) (n int, last uint64, err error) {
	size := 0
	for _, m := range msgs {
		size += len(m)
	}
	if !a.anyway && !a.w.room.fits(size) {
		a.w.counts.waits.Add(1)
		return 0, 0, ErrFull
	}
	n, last, err = a.w.seq.Tail.Append(ctx, a.after, msgs)
	for _, m := range msgs[:n] {
		a.w.counts.bytes.Add(int64(len(m)))
		a.w.room.took(len(m))
	}
	a.w.counts.messages.Add(int64(n))
	return n, last, err
}

// seal writes the envelopes, now that it is known what the messages follow.
func (a *appending) seal(msgs [][]byte, done int) {
	v := envelope{previous: a.after, base: a.base, total: a.total, written: time.Now(), parent: a.parent}
	for i, m := range msgs {
		v.flags, v.index = a.g.flags[done+i], uint16(i)
		v.put(m)
		v.total, v.parent = v.total+uint64(len(m)), digest(m)
	}
}
