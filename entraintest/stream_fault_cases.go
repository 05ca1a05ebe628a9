package entraintest

import (
	"context"
	"errors"
	"testing"

	"github.com/entrainsync/entrain"
)

// streamParts: a reader is handed what there is of a transaction.
func streamParts(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	p := v.tap("c", at{})
	ctx, cancel := v.context()
	defer cancel()
	for i := range int64(50) {
		v.part(std(10+i, Null, filler(uint64(i), large), Null))
	}
	for p.parts == 0 {
		if err := p.read(ctx); err != nil {
			t.Fatalf("read: %v", err)
		}
	}
	if p.latest.events != 1 {
		t.Errorf("the position is after event %d in the middle of a transaction", p.latest.events)
	}
	v.write(v.batch(true))
	p.drain()
}

// streamTorn: what a writer left without an end has no effect on readers that come
// later, how often it happens.
func streamTorn(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.fill()
	for i := range int64(3) {
		before := v.durable
		for k := range int64(20) {
			v.part(std(10_000+k, Text("torn"), filler(uint64(k), large), Null))
		}
		if i != 1 {
			v.close()
		}
		v.restart() // checks the position
		v.open = before.clone()
		v.commit(std(20_000+i, Text("after"), Null, Null))
	}
	p := v.tap("c", at{})
	for p.latest.events < len(v.events) {
		ctx, cancel := v.context()
		err := p.read(ctx)
		cancel()
		if entrain.IsRetryable(err) {
			p.close()
			p.reopen()
			continue
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
	}
	p.dry()
}

// reopen begins a session where the latest position was, by the same log, as a
// pipeline does.
func (p *tap) reopen() {
	p.v.t.Helper()
	*p = *p.v.tap("c", p.latest)
}

// streamTornInHand: a reader that was handed a part that never ends gets an error
// which a new session mends.
func streamTornInHand(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	p := v.tap("c", at{})
	before := v.durable
	for k := range int64(20) {
		v.part(std(10+k, Text("torn"), filler(uint64(k), large), Null))
	}
	ctx, cancel := v.context()
	defer cancel()
	for p.parts == 0 {
		if err := p.read(ctx); err != nil {
			t.Fatalf("read: %v", err)
		}
	}
	torn := v.torn
	v.restart()
	v.torn = torn // may still come
	var err error
	for err == nil {
		err = p.read(ctx)
	}
	if !entrain.IsRetryable(err) {
		t.Fatalf("the rest of a transaction was given up, and the reader gets %v, want an error to try again", err)
	}
	v.torn, v.open = nil, before.clone()
	v.commit(std(10, Text("right"), Null, Null))
	p.close()
	p.reopen()
	p.drain()
	p.dry()
}

func streamFence(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	zombie, at0 := v.w, v.open
	v.restart()
	successor, right := v.w, v.open
	for _, when := range []string{"before its successor wrote", "after its successor wrote"} {
		v.w, v.open = zombie, at0
		if err := v.attempt(v.batch(true, []entrain.Event{std(2, Text("zombie"), Null, Null)})); err == nil {
			t.Fatalf("a writer that was fenced wrote %s", when)
		}
		v.w, v.open = successor, right
		v.commit(std(2, Text("right"), Null, Null))
		right = v.open
	}
	zombie.Close()
	v.commit(remove(2))
	p := v.tap("c", at{})
	p.drain()
	p.dry()
	v.restart()
}

// streamFenceInside: a writer that is fenced within a transaction cannot end it.
func streamFenceInside(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	before := v.durable
	v.part(std(2, Text("zombie"), filler(1, large), Null))
	zombie, inside := v.w, v.open
	v.restart()
	successor := v.w
	v.w, v.open = zombie, inside
	b := v.batch(false, []entrain.Event{std(3, Text("zombie"), filler(2, 3*large), Null)})
	err := v.attempt(b)
	if again := v.attempt(v.batch(true, []entrain.Event{std(4, Null, Null, Null)})); err == nil && again == nil {
		t.Fatalf("a writer ended its transaction although it was fenced within")
	}
	v.w, v.open, v.torn = successor, before.clone(), nil
	v.commit(std(2, Text("right"), Null, Null))
	v.tap("c", at{}).drain()
}

// streamIdle: positions without events are kept, and never outlive events.
func streamIdle(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	idle := func(offset string) {
		t.Helper()
		v.open.pos = entrain.Position{Incarnation: "suite", Offset: offset}
		v.write(&entrain.Batch{Through: v.open.pos})
	}
	idle("before any event")
	v.restart() // checks the position
	idle("still before")
	idle("later")
	v.commit(std(1, Null, Null, Null))
	v.restart()
	idle("behind the event")
	v.restart()
	v.restart()
	idle("again")
	torn := v.durable
	v.part(std(2, Null, filler(1, large), Null))
	v.restart()
	v.open = torn.clone()
	v.commit(std(2, Null, Null, Null))
	v.restart()
	p := v.tap("c", at{})
	p.drain()
	p.dry()
}

// streamLostAnswer: a batch that took place although its writer saw an error is
// behind the position that is found then.
func streamLostAnswer(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	p := v.tap("c", at{})
	for i := range int64(3) {
		b := v.batch(true, []entrain.Event{std(10+i, Null, filler(uint64(i), large), Null)}, []entrain.Event{remove(10 + i)})
		v.expectIt(b)
		through := b.Through
		h.LoseAnswer(t)
		if err := v.attempt(b); err == nil {
			t.Fatalf("the suite lost an answer, and Write reports none missing")
		}
		v.accepted(through)
		if i%2 == 0 {
			v.restart() // checks the position
		} else {
			v.close()
			v.reopen()
		}
		v.commit(std(1000+i, Null, Null, Null))
	}
	p.drain()
	p.dry()
}

// flood writes until there is no room; it returns the batch that waits and its
// result.
func (v *river) flood(ctx context.Context) (waiting *entrain.Batch, done chan error) {
	v.t.Helper()
	for i := range int64(1 << 20) {
		b := v.batch(true, []entrain.Event{std(i+1, Null, filler(uint64(i), 20<<10), Null)})
		v.expectIt(b)
		w, result := v.w, make(chan error, 1)
		go func() { result <- w.Write(ctx, b) }()
		short, cancel := context.WithTimeout(ctx, 10*v.h.quiet()) // a busy machine takes longer, too
		select {
		case err := <-result:
			cancel()
			if err != nil {
				v.t.Fatalf("write into a log that fills up: %v", err)
			}
			v.accepted(b.Through)
		case <-short.Done():
			cancel()
			return b, result
		}
	}
	v.t.Fatalf("a log of %d bytes never fills up", v.h.Quota)
	return nil, nil
}

func streamFull(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{MaxBytes: h.Quota, Cursors: []string{"c"}})
	v.commit(std(0, Null, Null, Null))
	ctx, cancel := v.context()
	defer cancel()
	b, done := v.flood(ctx)
	if len(v.events) < 20 {
		t.Errorf("the log is full after %d events", len(v.events))
	}
	through := b.Through
	p := v.tap("c", at{})
	p.drain()
	p.ack()
	if err := v.within("Write", func() error { return <-done }); err != nil {
		t.Fatalf("when there was room again, the write that waited failed: %v", err)
	}
	v.accepted(through)
	v.commit(empty())
	p.drain()
	p.dry()
}

// streamFullTakeOver: a full log can be taken over, with a torn transaction at its
// end, and a write that waits ends with its context.
func streamFullTakeOver(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{MaxBytes: h.Quota, Cursors: []string{"c"}})
	v.commit(std(0, Null, Null, Null))
	before := v.durable
	ctx, cancel := v.context()
	defer cancel()
	var err error
	for i := int64(0); err == nil; i++ {
		short, stop := context.WithTimeout(ctx, h.quiet())
		err = v.attemptWith(short, v.batch(false, []entrain.Event{std(i+1, Null, filler(uint64(i), 20<<10), Null)}))
		stop()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("writing into a full log ends with %v, want the end of its context", err)
	}
	v.close()
	v.restart()
	v.open = before.clone()
	v.commit(std(1, Text("right"), filler(1, 20<<10), Null))
	v.tap("c", at{}).drain()
}

// streamOverrun: messages that only others had read are gone.
func streamOverrun(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{MaxBytes: h.Quota, Cursors: []string{"c"}})
	v.fill()
	guest := v.tap("guest", at{})
	guest.drain()
	guest.close()
	p := v.tap("c", at{})
	for range 3 {
		v.fill()
		p.drain()
		p.ack()
	}
	v.commit(std(1, Text("last"), Null, Null))
	from := guest.seen[0]
	for _, old := range []at{{}, from} {
		until(t, h.Patience, "the end of messages that were read", func() bool {
			p.drain()
			p.ack()
			return isStop(v.refused("guest", old), "stream_overrun")
		})
	}
	late := v.tap("c", p.latest)
	v.commit(std(2, Null, Null, Null))
	late.drain()
	v.restart()
}

// streamKept: what a cursor of the configuration has not read stays.
func streamKept(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{MaxBytes: h.Quota, Cursors: []string{"c", "slow"}})
	v.fill()
	slow := v.tap("slow", at{})
	slow.drain()
	slow.ack()
	slow.close()
	v.fill()
	p := v.tap("c", at{})
	p.drain()
	p.ack()
	p.close()
	until(t, h.Patience, "the end of messages that both have read", func() bool {
		return isStop(v.refused("guest", at{}), "stream_overrun")
	})
	again := v.tap("slow", slow.latest)
	again.drain()
	again.dry()
}

func streamRecreated(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.fill()
	p := v.tap("c", at{})
	p.drain()
	p.close()
	v.close()
	h.Remake(t)
	again := joinRiver(t, h, StreamConfig{})
	again.fill()
	again.fill()
	for _, s := range append(p.seen[:1:1], p.latest) {
		if err := again.refused("c", s); !isStop(err, "stream_recreated") {
			t.Errorf("a position of the stream that was removed: %v, want the stop stream_recreated", err)
		}
	}
	again.tap("c", at{}).drain()
}
