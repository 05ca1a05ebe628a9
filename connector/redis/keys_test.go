package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

func newKeys(t testing.TB, s Server, ttl time.Duration) *Keys {
	t.Helper()
	k, err := NewKeys(s, ttl)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// TestKeys: keys are there until their time is over, more than one command's worth
// of them.
func TestKeys(t *testing.T) {
	s := at(t)
	k, client := newKeys(t, s, time.Hour), admin(t, s)
	var keys, values []string
	for i := range 2*keysAtOnce + 7 {
		keys, values = append(keys, fmt.Sprintf("%s:%d", s.Prefix, i)), append(values, fmt.Sprint(i))
	}
	if got, err := k.Values(t.Context(), keys); err != nil || len(got) != len(keys) || slices.Max(got) != "" {
		t.Fatalf("before: %d values, the last %q, %v", len(got), slices.Max(got), err)
	}
	if err := k.Keep(t.Context(), keys[1:], values[1:]); err != nil {
		t.Fatal(err)
	}
	got, err := k.Values(t.Context(), keys)
	if err != nil || got[0] != "" || !slices.Equal(got[1:], values[1:]) {
		t.Fatalf("behind: %v, %v", got, err)
	}
	if ttl := client.TTL(t.Context(), keys[1]).Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("a key is kept for %s", ttl)
	}
	client.Del(t.Context(), keys[2])
	client.LPush(t.Context(), keys[2], "a list")
	if got, err := k.Values(t.Context(), keys[2:4]); err != nil || got[0] != "" || got[1] != values[3] {
		t.Errorf("beside a list: %q, %v", got, err)
	}
	if _, err := NewKeys(s, 0); err == nil {
		t.Error("keys that are kept for no time are taken")
	}
}

// TestKeysAway: a server that is away is an error that another try mends.
func TestKeysAway(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{})
	k := newKeys(t, Server{URL: "redis://" + srv.Addr()}, time.Hour)
	if err := k.Keep(t.Context(), []string{"a"}, []string{"1"}); err != nil {
		t.Fatal(err)
	}
	if err := srv.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := k.Values(t.Context(), []string{"a"}); !entrain.IsRetryable(err) {
			t.Fatalf("away: %v", err)
		}
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.Keep(t.Context(), []string{"a"}, []string{"2"}); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Values(t.Context(), []string{"a"}); err != nil || got[0] != "2" {
		t.Errorf("back: %v, %v", got, err)
	}
}

// TestKeysDenied: what a user lacks is a stop that says how to give it.
func TestKeysDenied(t *testing.T) {
	s := at(t)
	client := admin(t, s)
	user := unique()
	client.Do(t.Context(), "ACL", "SETUSER", user, "on", ">secret", "+ping", "+info", "+client|setname")
	s.URL = "redis://" + user + ":secret@" + redistest.Start(t).Addr()
	k := newKeys(t, s, time.Hour)
	report, err := k.Check(t.Context(), nil)
	if err != nil || report.Findings[0].Status != entrain.FindingError || len(report.Findings[0].Fix) != 1 {
		t.Errorf("check: %+v, %v", report, err)
	}
	_, err = k.Values(t.Context(), []string{"a"})
	stop := wantStop(t, err, "redis_denied")
	runAdvice(t, Server{URL: "redis://" + redistest.Start(t).Addr()}, stop.Next)
	if _, err := k.Values(t.Context(), []string{user}); err != nil {
		t.Errorf("with the right: %v", err)
	}
	if report, err = k.Check(t.Context(), nil); err != nil || report.Findings[0].Status != entrain.FindingOK {
		t.Errorf("check with the right: %+v, %v", report, err)
	}
}

// early is a store with the bug that dedup must not have: what is asked for is
// remembered at once, before the sink has it.
type early struct{ *Keys }

func (s early) Values(ctx context.Context, keys []string) ([]string, error) {
	values, err := s.Keys.Values(ctx, keys)
	if err != nil {
		return nil, err
	}
	marks := s.marks(keys)
	return values, s.Keep(ctx, keys, marks)
}

var pattern, _ = dedup.Parse("{id}")

// marks are the values that the engine compares with.
func (s early) marks(keys []string) (marks []string) {
	for _, id := range keys {
		var version, ordinal uint64
		_, _ = fmt.Sscanf(id, "source/memory/%d/%d", &version, &ordinal)
		e := entrain.Event{Ordinal: ordinal, Tx: &entrain.Transaction{Version: version, Stream: &entrain.Stream{Source: "source", Incarnation: "memory"}}}
		marks = append(marks, dedup.Mark(&e, "shop"))
	}
	return marks
}

// positions is a state that survives the pipelines of a test.
type positions struct {
	mu sync.Mutex
	c  pipeline.Checkpoint
}

func (p *positions) Load(context.Context) (pipeline.Checkpoint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.c, nil
}

func (p *positions) Save(_ context.Context, c pipeline.Checkpoint) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.c = c
	return nil
}

var errKilled = errors.New("killed")

// delivered runs pipelines one after the other, of which each is killed at a point of
// its own, until one gets through; it returns the ids of what the sink got.
func delivered(t *testing.T, o pipeline.Options, duplicates *int64) []string {
	t.Helper()
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 3, Bounded: true})
	for i := range 60 {
		var events []entrain.Event
		for n := range 1 + i%4 {
			events = append(events, entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(10*i+n)), entraintest.Null, entraintest.Null, entraintest.Null))
		}
		src.Commit(events...)
	}
	sink, state := entraintest.NewMemorySink(entraintest.MemorySinkConfig{BeforeWrite: failing(7)}), &positions{}
	o.Source, o.Sink, o.Store, o.BatchBytes = src, sink, state, 1
	for kill := 1; ; kill++ {
		at := 0
		o.Failpoint = func(p pipeline.Point) error {
			if p != pipeline.PointDurable {
				return nil
			}
			if at++; at == 1+kill%5 && kill < 25 {
				return errKilled
			}
			return nil
		}
		p, err := pipeline.New(o)
		if err != nil {
			t.Fatal(err)
		}
		err = p.Run(t.Context())
		st := p.Status()
		*duplicates += st.Duplicates
		if err == nil {
			if st.Captured != st.Applied+st.Filtered+st.Parked+st.Reread {
				t.Errorf("the law of conservation: %+v", st)
			}
			return sink.IDs()
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
}

// failing lets every so many writes fail, as a lost connection does.
func failing(every int) func(context.Context, *entrain.Batch) error {
	n := 0
	return func(context.Context, *entrain.Batch) error {
		if n++; n%every == 0 {
			return entrain.Retryable(errors.New("the connection is lost"))
		}
		return nil
	}
}

// TestDeduplication: pipelines into a sink that keeps no position are killed between
// what is durable and the position. Without keys there are doubles, with keys each
// change is there once; keys that are set too early lose changes, and this test sees it.
func TestDeduplication(t *testing.T) {
	s := at(t)
	s.URL += "/9" // which is emptied
	const all = 150
	var found int64
	fresh := func() *Keys {
		if err := admin(t, s).FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return newKeys(t, s, time.Hour)
	}
	plain := delivered(t, pipeline.Options{}, &found)
	slices.Sort(plain)
	if n := len(slices.Compact(slices.Clone(plain))); n != all || len(plain) == all || found != 0 {
		t.Fatalf("without keys there are %d changes of %d, %d doubles: the test provokes none", n, all, len(plain)-n)
	}
	got := delivered(t, pipeline.Options{Dedup: &pipeline.Dedup{Store: fresh(), Pattern: pattern, Delivery: "shop"}}, &found)
	if n := len(got); n != all || !slices.IsSortedFunc(got, inOrder) {
		t.Errorf("with keys there are %d changes, want %d, in order: %v", n, all, got)
	}
	if found < 10 {
		t.Errorf("%d doubles were recognised", found)
	}
	lost := delivered(t, pipeline.Options{Dedup: &pipeline.Dedup{Store: early{fresh()}, Pattern: pattern, Delivery: "shop"}}, &found)
	if len(lost) == all {
		t.Error("keys that are set before the commit lose nothing: this test would not see it")
	}
	t.Logf("%d changes: %d without keys, %d with keys, %d with keys that are set too early", all, len(plain), len(got), len(lost))
}

func inOrder(a, b string) int {
	var x, y [2]int
	_, _ = fmt.Sscanf(a, "source/memory/%d/%d", &x[0], &x[1])
	_, _ = fmt.Sscanf(b, "source/memory/%d/%d", &y[0], &y[1])
	return slices.Compare(x[:], y[:])
}
