package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func newTestBox(t testing.TB, address, topic, pipeline string) *letterBox {
	t.Helper()
	return boxOf(t, newTestSink(t, address, pipeline, nil), topic, pipeline)
}

func boxOf(t testing.TB, sink *Sink, topic, pipeline string) *letterBox {
	t.Helper()
	box, err := sink.LetterBox(entrain.LetterPlace{Name: topic, Pipeline: pipeline, Deliveries: []string{pipeline + ":a"}})
	if err != nil {
		t.Fatal(err)
	}
	return box.(*letterBox)
}

func deadLetter(id string) entrain.DeadLetter {
	at := time.Unix(1_790_000_000, 7000).UTC()
	return entrain.DeadLetter{ID: id, Table: "public.item", Op: "insert", Class: "row_refused", Reason: "no\nroom", Attempts: 2,
		First: at, Parked: at, Body: []byte(`{"v":1,"n":1.50}`)}
}

// wantLetters fails unless the keeper has just these.
func wantLetters(t testing.TB, k entrain.LetterKeeper, want ...string) {
	t.Helper()
	all, err := k.Letters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		got = append(got, l.ID)
		known := deadLetter(l.ID)
		if string(l.Body) != string(known.Body) || l.Reason != known.Reason || !l.First.Equal(known.First) || l.Attempts != 2 || l.Table != known.Table {
			t.Errorf("letter %s is %+v", l.ID, l)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("the letters are %v, want %v", got, want)
	}
}

func keepAll(t testing.TB, k entrain.LetterKeeper, ids ...string) {
	t.Helper()
	var all []entrain.DeadLetter
	for _, id := range ids {
		all = append(all, deadLetter(id))
	}
	if err := k.KeepLetters(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// TestLetters: a topic keeps the letters of several deliveries apart, each once; it is
// made compacted; others can read what is in it.
func TestLetters(t *testing.T) {
	address, pipeline := broker(t), unique()
	topic := pipeline + ".dlq"
	box := newTestBox(t, address, topic, pipeline)
	a, b := box.Keeper(pipeline+":a"), box.Keeper(pipeline+":a:0")
	wantLetters(t, a)
	keepAll(t, a, "s/i/7/1", "s/i/7/2")
	changed := deadLetter("s/i/7/2")
	changed.Reason = "another"
	if err := a.KeepLetters(t.Context(), []entrain.DeadLetter{changed, deadLetter("s/i/9/1")}); err != nil {
		t.Fatal(err)
	}
	keepAll(t, b, "s/i/7/1")
	wantLetters(t, box.Keeper(pipeline+":a"), "s/i/7/1", "s/i/7/2", "s/i/9/1")
	wantLetters(t, b, "s/i/7/1")
	another := box.Keeper(pipeline + ":a") // of a process that takes over
	if err := another.DropLetters(t.Context(), []string{"s/i/7/1", "s/i/0/0"}); err != nil {
		t.Fatal(err)
	}
	keepAll(t, a, "s/i/7/1", "s/i/9/1") // it has not heard of that
	wantLetters(t, another, "s/i/7/1", "s/i/7/2", "s/i/9/1")
	if err := a.DropLetters(t.Context(), []string{"s/i/7/1", "s/i/7/2"}); err != nil {
		t.Fatal(err)
	}
	wantLetters(t, a, "s/i/9/1")

	first := records(t, address, topic)[0]
	if string(first.Key) != pipeline+":a/s/i/7/1" || !json.Valid(first.Value) {
		t.Errorf("the key is %s, the value %s", first.Key, first.Value)
	}
	var headers []string
	for _, h := range first.Headers {
		headers = append(headers, h.Key+"="+string(h.Value))
	}
	if got := strings.Join(headers, " "); got != "entrain-id=s/i/7/1 entrain-op=insert entrain-table=public.item entrain-class=row_refused "+
		"entrain-delivery="+pipeline+":a entrain-tx-version=7" {
		t.Errorf("the headers are %s", got)
	}
	if bad := found(t, box, nil); len(bad) > 0 {
		t.Errorf("check finds %+v", bad)
	}
}

// TestLettersTeardown removes the pipeline's letters and no others.
func TestLettersTeardown(t *testing.T) {
	address, pipeline := broker(t), unique()
	topic := pipeline + ".dlq"
	box, other := newTestBox(t, address, topic, pipeline), newTestBox(t, address, topic, pipeline+"2")
	if list, err := box.Teardown(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("without a topic: %+v, %v", list, err)
	}
	keepAll(t, box.Keeper(pipeline), "s/i/7/1")
	keepAll(t, box.Keeper(pipeline+":a:1"), "s/i/7/1")
	keepAll(t, other.Keeper(pipeline+"2"), "s/i/7/1")
	list, err := box.Teardown(t.Context())
	if err != nil || len(list) != 1 || !strings.HasPrefix(list[0].What, "2 dead letters of pipeline "+pipeline+" ") {
		t.Fatalf("teardown: %+v, %v", list, err)
	}
	want := "printf '" + pipeline + `/s/i/7/1|NULL\n` + pipeline + `:a:1/s/i/7/1|NULL\n' | kafka-console-producer.sh`
	if !strings.HasPrefix(list[0].SQL, want) {
		t.Errorf("by hand: %s", list[0].SQL)
	}
	removeAll(t, list)
	wantLetters(t, box.Keeper(pipeline))
	wantLetters(t, box.Keeper(pipeline+":a:1"))
	wantLetters(t, other.Keeper(pipeline+"2"), "s/i/7/1")
	if list, err := box.Teardown(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("after: %+v, %v", list, err)
	}
}

// TestLettersStops: a topic that would lose letters, one that is missing, a letter
// that no batch takes, and a record that is no letter are stops with what to do.
func TestLettersStops(t *testing.T) {
	address, pipeline := broker(t), unique()
	topic := pipeline + ".dlq"
	makeTopic(t, address, topic, map[string]string{"cleanup.policy": "delete"})
	box := newTestBox(t, address, topic, pipeline)
	k := box.Keeper(pipeline)
	wantFinding(t, found(t, box, nil), codeCleanup, entrain.FindingError)
	_, err := k.Letters(t.Context())
	command, _, _ := strings.Cut(wantStop(t, err, "topic_cleanup").Next, "; ")
	wantStop(t, k.KeepLetters(t.Context(), []entrain.DeadLetter{deadLetter("s/i/7/1")}), "topic_cleanup")
	obeySet(t, command)
	keepAll(t, k, "s/i/7/1")

	large := deadLetter("s/i/8/1")
	large.Body, _ = json.Marshal(strings.Repeat("x", 1<<20+1<<19))
	stop := wantStop(t, k.KeepLetters(t.Context(), []entrain.DeadLetter{deadLetter("s/i/7/2"), large}), "dead_letter_too_large")
	command, _, _ = strings.Cut(stop.Next, "; ")
	wantLetters(t, k, "s/i/7/1") // all or none
	obeySet(t, command)
	if err := k.KeepLetters(t.Context(), []entrain.DeadLetter{large}); err != nil {
		t.Fatal(err)
	}
	if err := k.DropLetters(t.Context(), []string{large.ID}); err != nil {
		t.Fatal(err)
	}

	if err := box.p.put(t.Context(), &kgo.Record{Topic: topic, Key: []byte(pipeline + "/s/i/9/1"), Value: []byte("garbage")},
		&kgo.Record{Topic: topic, Key: []byte("somebody's"), Value: []byte("garbage")}); err != nil {
		t.Fatal(err)
	}
	_, err = k.Letters(t.Context())
	wantStop(t, err, "dead_letters_damaged")
	if err := box.p.put(t.Context(), &kgo.Record{Topic: topic, Key: []byte(pipeline + "/s/i/9/1")}); err != nil {
		t.Fatal(err)
	}
	wantLetters(t, k, "s/i/7/1")

	no := false
	missing := boxOf(t, newTestSink(t, address, pipeline, func(c *SinkConfig) { c.Create = &no }), topic+"2", pipeline)
	_, err = missing.Keeper(pipeline).Letters(t.Context())
	if stop := wantStop(t, err, "topic_missing"); !strings.Contains(stop.Next, "cleanup.policy=compact") {
		t.Errorf("next: %s", stop.Next)
	}
}

// TestLettersNames: a place that cannot be one is refused before anything is dialled.
func TestLettersNames(t *testing.T) {
	log := newTestLog(t, "nowhere:1", "shop", nil)
	for _, name := range []string{"", "a b", "shop.changes", "shop.changes.shapes", "shop.state"} {
		if _, err := log.LetterBox(entrain.LetterPlace{Name: name, Pipeline: "shop"}); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// pair are two letters that are kept by one call.
func pair(n int) []entrain.DeadLetter {
	return []entrain.DeadLetter{deadLetter(fmt.Sprintf("s/i/%04d/1", n)), deadLetter(fmt.Sprintf("s/i/%04d/2", n))}
}

// keepOn keeps pairs, from the number on, until a call fails, and returns that call's
// number. After some calls it has the broker killed, while others are under way.
func keepOn(t *testing.T, k entrain.LetterKeeper, from int, kill func()) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var killing sync.WaitGroup
	defer killing.Wait()
	for n := from; n < from+1000; n++ {
		if err := k.KeepLetters(ctx, pair(n)); err != nil {
			return n
		}
		if n == from+3 {
			killing.Go(func() { kill(); cancel() })
		}
	}
	t.Fatal("no call failed although the broker was killed")
	return 0
}

// TestLettersKilled: a letter that was kept is there after the broker was killed,
// whatever moment that was; what was being kept is there whole or not at all, and can
// be kept again.
//
// A broker that is killed between the answer to a commit and the transaction's marks can
// forget the marks (seen with 4.3.1, where it is the only one): the coordinator has no
// transaction any more, and the partition has it open for ever. That is recognised as
// such, and another broker is tried.
func TestLettersKilled(t *testing.T) {
	for try := 1; !lettersKilled(t); try++ {
		if try == 20 {
			t.Fatal("each of 20 brokers has forgotten the marks of a transaction")
		}
		t.Log("the broker has forgotten the marks of a transaction; with another one")
	}
}

// forgotten reports whether a partition has a transaction open of which its coordinator
// knows nothing.
func forgotten(t *testing.T, address, topic, id string) (open bool) {
	t.Helper()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		coordinated, err := adm.DescribeTransactions(ctx, id)
		if err != nil {
			return err
		}
		var set kadm.TopicsSet
		set.Add(topic, 0)
		described, err := adm.DescribeProducers(ctx, set)
		if err != nil {
			return err
		}
		for _, p := range described[topic].Partitions[0].ActiveProducers {
			open = open || p.CurrentTxnStartOffset >= 0 && p.ProducerID == coordinated[id].ProducerID
		}
		open = open && coordinated[id].State == "Empty"
		return nil
	})
	return open
}

// soon reads letters, and does not wait long.
func soon(t *testing.T, k entrain.LetterKeeper) ([]entrain.DeadLetter, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	return k.Letters(ctx)
}

// lettersKilled is the test with one broker; false if that has forgotten something.
func lettersKilled(t *testing.T) bool {
	srv := kafkatest.StartOwn(t, kafkaserver.Config{})
	pipeline := unique()
	box := newTestBox(t, srv.Addr(), pipeline+".dlq", pipeline)
	k := box.Keeper(pipeline)
	wantLetters(t, k)
	kept := 0 // pairs
	for range 2 {
		kept = keepOn(t, k, kept, func() {
			if err := srv.Kill(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all []entrain.DeadLetter
		lost := false
		pgtest.Eventually(t, time.Minute, "the letters", func() (read bool) {
			var err error
			if all, err = soon(t, box.Keeper(pipeline)); err != nil {
				t.Log(err)
				lost = forgotten(t, srv.Addr(), pipeline+".dlq", letterProducer(pipeline))
			}
			return err == nil || lost
		})
		if lost {
			return false
		}
		if d := len(all) - 2*kept; d != 0 && d != 2 { // of what failed both are there, or none
			t.Fatalf("%d letters, %d were confirmed", len(all), 2*kept)
		}
		if err := k.KeepLetters(t.Context(), pair(kept)); err != nil {
			t.Fatal(err)
		}
		kept++
		var want []string
		for n := range kept {
			want = append(want, pair(n)[0].ID, pair(n)[1].ID)
		}
		wantLetters(t, k, want...)
	}
	return true
}
