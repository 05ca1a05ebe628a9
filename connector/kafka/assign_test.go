package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// share is who has which partition.
type share struct {
	t       testing.TB
	mu      sync.Mutex
	held    map[stream.Partition]string
	changed chan struct{}
}

// work is the work of one process: it holds the partition.
func (s *share) work(who string) func(ctx context.Context, p stream.Partition) error {
	return func(ctx context.Context, p stream.Partition) error {
		s.mu.Lock()
		if s.held[p] != "" {
			s.t.Errorf("%s and %s have %s", s.held[p], who, p)
		}
		s.held[p] = who
		s.mu.Unlock()
		s.changed <- struct{}{}
		<-ctx.Done()
		s.mu.Lock()
		delete(s.held, p)
		s.mu.Unlock()
		return nil
	}
}

// becomes waits until the partitions are shared so.
func (s *share) becomes(want map[string]int) {
	s.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		s.mu.Lock()
		got := map[string]int{}
		for _, who := range s.held {
			got[who]++
		}
		s.mu.Unlock()
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-s.changed:
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			s.t.Fatalf("the partitions are shared as %v, want %v", got, want)
		}
	}
}

// TestAssign: two processes share the partitions; when one leaves, the other gets
// its, and at no time do both have one.
func TestAssign(t *testing.T) {
	address, id := broker(t), unique()
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			s := &share{t: t, held: map[stream.Partition]string{}, changed: make(chan struct{}, 1000)}
			var work sync.WaitGroup
			defer work.Wait()
			join := func(who string) context.CancelFunc {
				l := newTestLog(t, address, id, func(c *LogConfig) { c.Partitions, c.GroupProtocol = 4, protocol })
				ctx, cancel := context.WithCancel(t.Context())
				work.Go(func() {
					if err := l.Assign(ctx, id+"-"+protocol, s.work(who)); err != nil {
						t.Error(err)
					}
				})
				return cancel
			}
			endOne := join("one")
			defer endOne()
			s.becomes(map[string]int{"one": 4})
			endTwo := join("two")
			defer endTwo()
			s.becomes(map[string]int{"one": 2, "two": 2})
			endOne()
			s.becomes(map[string]int{"two": 4})
		})
	}
}

// TestAssignEndsWithItsWork: an error of the work is the assignment's.
func TestAssignEndsWithItsWork(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	broken := errors.New("broken")
	err := l.Assign(t.Context(), id, func(context.Context, stream.Partition) error { return broken })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// TestAcksAreStored: the cursor's offset is there for people, also while a group
// has the partition.
func TestAcksAreStored(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, batchOf(1, row("1")))
	settle(t, address, id)
	read := func(cursor string) {
		r, err := l.Read(cursor, l.partition(0)).Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Read(t.Context())
		if err == nil {
			err = r.Ack(t.Context(), b.Through)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	read(id + "-alone")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := l.Assign(ctx, id+"-group", func(context.Context, stream.Partition) error {
		read(id + "-group")
		cancel()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, cursor := range []string{id + "-alone", id + "-group"} {
		if at, err := l.CursorAt(t.Context(), cursor, l.partition(0)); err != nil || at.Offset != "0/2" {
			t.Errorf("%s: the cursor is at %s, %v", cursor, at, err)
		}
		admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
			offsets, err := adm.FetchOffsets(ctx, cursor)
			if o, ok := offsets.Lookup(l.name, 0); err == nil && (!ok || o.At != 2) {
				t.Errorf("%s: the offset is %d, want 2", cursor, o.At)
			}
			return err
		})
	}
	if at, err := l.CursorAt(t.Context(), id+"-nobody", l.partition(0)); err != nil || !at.IsZero() {
		t.Errorf("a cursor that there is not is at %s, %v", at, err)
	}
}
