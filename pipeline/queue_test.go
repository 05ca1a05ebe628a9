package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
)

func part(bytes int) *entrain.Batch { return &entrain.Batch{Bytes: bytes} }

func whole(bytes int) *entrain.Batch {
	return &entrain.Batch{Bytes: bytes, Through: entrain.Position{Offset: "x"}}
}

// TestTogether proves what makes one write: whole transactions, after the end
// of a begun one, or parts of one (P4).
func TestTogether(t *testing.T) {
	tests := []struct {
		name    string
		batches []*entrain.Batch
		want    int
	}{
		{"none", nil, 0},
		{"one too large", []*entrain.Batch{whole(99), whole(1)}, 1},
		{"up to the limit", []*entrain.Batch{whole(4), whole(4), whole(4)}, 2},
		{"parts with their end and more", []*entrain.Batch{part(1), part(1), whole(1), whole(1)}, 4},
		{"whole before a part", []*entrain.Batch{whole(1), whole(1), part(1), whole(1)}, 2},
		{"parts only", []*entrain.Batch{part(1), part(1)}, 2},
	}
	for _, tt := range tests {
		if got := together(tt.batches, 10); got != tt.want {
			t.Errorf("%s: %d batches together, want %d", tt.name, got, tt.want)
		}
	}
}

// TestQueueBounds proves P6: a full queue makes put wait, one batch always
// fits, and taking makes room.
func TestQueueBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10)
		put := func(b *entrain.Batch) <-chan error {
			done := make(chan error, 1)
			go func() { done <- q.put(t.Context(), b) }()
			synctest.Wait()
			return done
		}
		if err := <-put(whole(50)); err != nil {
			t.Fatal(err)
		}
		blocked := put(whole(1))
		select {
		case <-blocked:
			t.Fatal("a full queue took a batch")
		default:
		}
		if got := q.take(100, nil); len(got) != 1 || got[0].Bytes != 50 {
			t.Fatalf("took %v", got)
		}
		if err := <-blocked; err != nil || q.held() != 1 {
			t.Fatalf("after taking: %v, %d bytes held", err, q.held())
		}
	})
}

// TestQueueClose proves that a part whose end will not come is not delivered,
// that the rest is, and that every batch is freed once.
func TestQueueClose(t *testing.T) {
	freed := 0
	batch := func(b *entrain.Batch) *entrain.Batch {
		b.Free = func() { freed++ }
		return b
	}
	q := newQueue(100)
	for _, b := range []*entrain.Batch{batch(whole(1)), batch(part(1)), batch(part(1))} {
		if err := q.put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	q.close()
	q.close()
	if got := q.take(100, nil); len(got) != 1 || freed != 2 {
		t.Errorf("%d batches left, %d freed, want 1 and 2", len(got), freed)
	}
	if got := q.take(100, nil); len(got) != 0 || q.held() != 0 {
		t.Errorf("closed and empty, but %v and %d bytes", got, q.held())
	}
	if err := q.put(t.Context(), batch(whole(1))); err == nil || freed != 3 {
		t.Errorf("put after close: %v, %d freed", err, freed)
	}
}

func TestQueueWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1)
		if got, _ := q.wait(t.Context(), time.After(time.Second), nil); got != expired {
			t.Errorf("with a timer the wait ended by %d", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got, _ := q.wait(ctx, nil, nil); got != ended || len(q.take(1, nil)) != 0 {
			t.Errorf("without a context the wait ended by %d", got)
		}
		err := q.put(t.Context(), whole(1))
		if got, _ := q.wait(t.Context(), nil, nil); err != nil || got != arrived {
			t.Errorf("a batch did not end the wait: %v", err)
		}
	})
}

// TestTrackerInvariants drives the tracker by random steps that an engine can
// make; acked ≤ durable ≤ written ≤ read holds after each (P1).
func TestTrackerInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr tracker
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				tr.noteRead(&entrain.Batch{Events: make([]entrain.Event, rapid.IntRange(0, 3).Draw(t, "events"))}, time.Now())
			},
			"write": func(t *rapid.T) {
				n := rapid.Uint64Range(0, tr.read-tr.written).Draw(t, "batches")
				events := rapid.Int64Range(0, tr.events.read-tr.events.durable-tr.open).Draw(t, "events")
				b := &entrain.Batch{Events: make([]entrain.Event, events)}
				if rapid.Bool().Draw(t, "complete") {
					b.Through = entrain.Position{Offset: "x"}
				}
				if err := tr.noteWritten(n, b, outs{}); err != nil {
					t.Fatal(err)
				}
			},
			"ack": func(*rapid.T) { tr.noteAcked() },
			"": func(t *rapid.T) {
				if err := tr.valid(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

func TestTrackerRefusesMoreThanRead(t *testing.T) {
	var tr tracker
	if err := tr.noteWritten(1, whole(1), outs{}); err == nil {
		t.Error("a batch that was never read counts as written")
	}
	tr.acked = 1
	if tr.valid() == nil {
		t.Error("acked without being durable is valid")
	}
}

// TestPartDroppedMeanwhile: reading may end with an error, which drops the parts of
// a transaction, after the writing goroutine has seen them and before it takes
// them.
func TestPartDroppedMeanwhile(t *testing.T) {
	q := newQueue(100)
	if err := q.put(t.Context(), &entrain.Batch{Events: make([]entrain.Event, 1), Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	if got, _ := q.wait(t.Context(), nil, nil); got != arrived {
		t.Fatalf("a batch is there, and wait says %v", got)
	}
	q.close()
	s := &session{p: &Pipeline{seen: &sieve{}, opt: Options{BatchBytes: 100}}, queue: q}
	if err := s.deliverQueued(t.Context()); err != nil {
		t.Error(err)
	}
	if got, _ := q.wait(t.Context(), nil, nil); got != ended {
		t.Errorf("nothing will come any more, and wait says %v", got)
	}
}

// TestWaitsFromTheCommit: a change that is read late waits from its commit on, one of a
// clock that is ahead from when it was read; what is durable does not wait.
func TestWaitsFromTheCommit(t *testing.T) {
	now := time.Unix(1000, 0)
	of := func(at time.Time) *entrain.Batch {
		return &entrain.Batch{Events: []entrain.Event{{Tx: &entrain.Transaction{CommitTime: at}}}}
	}
	var w waits
	w.read(1, of(now.Add(-time.Minute)), now)
	w.read(2, &entrain.Batch{}, now)
	w.read(3, of(now.Add(time.Hour)), now)
	for through, want := range []time.Time{now.Add(-time.Minute), now, now, {}} {
		if w.durable(uint64(through)); !w.oldest().Equal(want) {
			t.Errorf("behind batch %d the oldest is of %s, want %s", through, w.oldest(), want)
		}
	}
}
