package kafka

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// stateOf is the state of a producer's transaction at the coordinator.
func stateOf(t *testing.T, address, id string) (state string) {
	t.Helper()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.DescribeTransactions(ctx, id)
		state = all[id].State
		return err
	})
	return state
}

// keys are those of the committed records of the test's table.
func keys(t *testing.T, address, id string) string {
	t.Helper()
	settle(t, address, id)
	var all []string
	for _, r := range records(t, address, id+".public.conformance") {
		all = append(all, string(r.Key))
	}
	return strings.Join(all, " ")
}

// TestMarked: a transaction begins when the one before is marked, so that its first
// record does not wait for that at the brokers.
func TestMarked(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := open(t, newTestSink(t, address, id, nil))
	in := w.(*exactWriter)
	for i := range uint64(20) {
		write(t, w, batchOf(i+1, row("1")))
		began := time.Now()
		in.marked(t.Context())
		late := time.Since(began) >= marksLate // the machine is busy: it did not wait any more
		if state := stateOf(t, address, id); state != "CompleteCommit" && !late {
			t.Errorf("behind transaction %d: %s", i+1, state)
		}
	}
}

// TestMarksUntold: brokers that do not tell, those before 3.0, are not waited for.
func TestMarksUntold(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := open(t, newTestSink(t, address, id, nil))
	in := w.(*exactWriter)
	write(t, w, batchOf(1, row("1")))
	old, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DisableClientMetrics(), kgo.MaxVersions(kversion.V2_8_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	in.admin = kadm.NewClient(old)
	in.committed = time.Now().Add(time.Hour) // it would wait as long
	write(t, w, batchOf(2, row("2")))
	if got := keys(t, address, id); got != `{"id":1} {"id":2}` {
		t.Errorf("the topic has %s", got)
	}
}

// TestGathered: what is accepted is sent at once, is not committed, and of a session
// that ends before it is nothing stays (P2).
func TestGathered(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	w, _ := open(t, sink)
	if d := w.(entrain.Gatherer).Gather(); d != gathering {
		t.Errorf("gathers for %v", d)
	}
	write(t, w, batchOf(1, row("1")), part(batchOf(2, row("2"))), part(batchOf(3, row("3"))))
	early := consumer(t, address, id+".public.conformance", kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	defer early.Close()
	for seen := 0; seen < 3; {
		fetches := early.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		seen += fetches.NumRecords()
	}
	if state := stateOf(t, address, id); state != "Ongoing" {
		t.Errorf("the transaction is %s", state)
	}
	w.Close()
	w, at := open(t, sink)
	if at.Offset != "1" {
		t.Errorf("at %v, want 1", at)
	}
	write(t, w, part(batchOf(2, row("2"))), part(batchOf(3, row("3"))), &entrain.Batch{Through: batchOf(3).Through})
	w.Close()
	if got := keys(t, address, id); got != `{"id":1} {"id":2} {"id":3}` {
		t.Errorf("the topic has %s", got)
	}
	if _, at = open(t, sink); at.Offset != "3" {
		t.Errorf("at %v, want 3", at)
	}
}

// TestGatheredFenced: a session that is fenced while it gathers has written nothing.
func TestGatheredFenced(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	old, _ := open(t, sink)
	write(t, old, batchOf(1, row("1")), part(batchOf(2, row("2"))))
	young, at := open(t, sink)
	if at.Offset != "1" {
		t.Errorf("taken over at %v, want 1", at)
	}
	wantStop(t, old.Write(t.Context(), &entrain.Batch{Through: batchOf(2).Through}), "fenced")
	write(t, young, batchOf(2, row("3")))
	if got := keys(t, address, id); got != `{"id":1} {"id":3}` {
		t.Errorf("the topic has %s", got)
	}
}

// TestGatheredRefused: a record that is refused while others gather takes all of them
// back, and is named.
func TestGatheredRefused(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	w, _ := open(t, sink)
	large := entraintest.Insert(entraintest.StandardTable(), entraintest.Text("3"), entraintest.Null,
		entraintest.Text(strings.Repeat("x", 1_100_000)), entraintest.Null)
	write(t, w, batchOf(1, row("1")), part(batchOf(2, row("2"))))
	err := w.Write(t.Context(), part(batchOf(3, large)))
	if err == nil { // it tells later
		err = w.Write(t.Context(), &entrain.Batch{Through: batchOf(3).Through})
	}
	stop := wantStop(t, err, "message_too_large")
	if !strings.Contains(stop.What, "shop/inc/3/0") {
		t.Errorf("the event is not named: %s", stop.What)
	}
	w.Close()
	if _, at := open(t, sink); at.Offset != "1" {
		t.Errorf("at %v, want 1", at)
	}
	if got := keys(t, address, id); got != `{"id":1}` {
		t.Errorf("the topic has %s", got)
	}
}

// TestGatheredIdle: a pipeline ends a transaction soon when nothing more comes, and
// tells the source.
func TestGatheredIdle(t *testing.T) {
	address, id := broker(t), unique()
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
	p, err := pipeline.New(pipeline.Options{Source: src, Sink: newTestSink(t, address, id, nil)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for _, key := range []string{"1", "2", "3", "4"} {
		src.Commit(row(key))
	}
	pgtest.Eventually(t, time.Minute, "the last transaction to be told", func() bool {
		acks := src.Acks()
		return len(acks) > 0 && acks[len(acks)-1].Offset == "4"
	})
	if got := keys(t, address, id); got != `{"id":1} {"id":2} {"id":3} {"id":4}` {
		t.Errorf("the topic has %s", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
