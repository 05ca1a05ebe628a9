package packed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream/packed"
)

// chaos makes things fail now and then, once it is let loose.
type chaos struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	loose bool
	count int
}

// strikes reports whether something fails, one time in n.
func (c *chaos) strikes(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loose || c.rnd.IntN(n) > 0 {
		return false
	}
	c.count++
	return true
}

func (c *chaos) upTo(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n + 1)
}

func (c *chaos) let(loose string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loose = loose == "loose"
}

func (c *chaos) failpoint(pipeline.Point) error {
	if c.strikes(40) {
		return errCrash
	}
	return nil
}

// back is a back end whose appends are torn and whose answers are lost.
func (c *chaos) back(store *packed.Memory) packed.Backend {
	return backend{store, func(s *packed.Sequence) {
		real := s.Tail
		s.Tail = tail{Tail: real, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			if !c.strikes(12) {
				return real.Append(ctx, after, messages)
			}
			if n := c.upTo(len(messages)); n > 0 {
				if _, _, err := real.Append(ctx, after, messages[:n]); err != nil {
					return 0, 0, err
				}
			}
			return 0, 0, errCrash
		}, remove: func(ctx context.Context, after, before uint64) error {
			if c.strikes(4) {
				return errCrash
			}
			return real.Remove(ctx, after, before)
		}}
	}}
}

// TestEngine: two pipelines with a log in between bring every change to the sink,
// once and in order, whatever fails on the way (P1, P2, P4). The sink refuses a
// change that does not fit, and the source forgets what was acknowledged.
func TestEngine(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runEngine(t, seed) })
		})
	}
}

func runEngine(t *testing.T, seed uint64) {
	c := &chaos{rnd: rand.New(rand.NewPCG(seed, 7))}
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 10})
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	l, err := packed.New(packed.Config{Backend: c.back(&packed.Memory{}), Producer: "shop", MessageBytes: 4 << 10, MaxBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l.Cursors([]string{"sink"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for name, o := range map[string]pipeline.Options{
		"capture": {Source: src, Sink: l, Failpoint: c.failpoint},
		"deliver": {Source: l.Read("sink", "shop"), Sink: sink, Failpoint: c.failpoint},
	} {
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	synctest.Wait() // both are up
	want := entraintest.Rows{}
	for n := range 150 {
		if n == 2 {
			c.let("loose")
		}
		commitRandom(t, c, src, want)
		if n%3 == 0 {
			<-time.After(time.Duration(c.upTo(300)) * time.Millisecond)
		}
	}
	c.let("tied")
	for range 600 {
		if sink.Rows("public.conformance").Diff(want) == "" {
			break
		}
		<-time.After(time.Second)
	}
	cancel()
	wg.Wait()
	if diff := sink.Rows("public.conformance").Diff(want); diff != "" {
		t.Errorf("after %d faults:\n%s", c.count, diff)
	}
	seen := map[string]bool{}
	for _, id := range sink.IDs() {
		if seen[id] {
			t.Errorf("change %s took effect twice", id)
		}
		seen[id] = true
	}
	if c.count < 5 {
		t.Errorf("only %d faults", c.count)
	}
}

// commitRandom makes a transaction at the source: small, or of many messages.
func commitRandom(t *testing.T, c *chaos, src *entraintest.MemorySource, want entraintest.Rows) {
	t.Helper()
	table := entraintest.StandardTable()
	var events []entrain.Event
	for range 1 + c.upTo(3)*c.upTo(3)*c.upTo(9) {
		id := strconv.Itoa(c.upTo(200))
		e := entraintest.Insert(table, entraintest.Text(id), entraintest.Text(strings.Repeat("n", c.upTo(2000))), entraintest.Null, entraintest.Null)
		if want[id] != nil {
			e = entraintest.Update(table, entraintest.Text(id), entraintest.Text("u"), entraintest.Unchanged, entraintest.Null)
			if c.upTo(1) == 0 {
				e = entraintest.Delete(table, id)
			}
		}
		if err := want.Apply(&e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	src.Commit(events...)
}
