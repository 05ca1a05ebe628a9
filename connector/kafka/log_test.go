package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
)

func newTestLog(t testing.TB, address, id string, set func(*LogConfig)) *Log {
	t.Helper()
	cfg := LogConfig{Brokers: []string{address}, TransactionalID: id, Topic: id + ".changes"}
	if set != nil {
		set(&cfg)
	}
	l, err := NewLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// producer opens the writing end.
func producer(t testing.TB, l *Log) (entrain.Writer, entrain.Position) {
	t.Helper()
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w, at
}

// TestStream: the log keeps the contracts of a stream (P1 to P6).
func TestStream(t *testing.T) {
	address := broker(t)
	var id string
	entraintest.TestStream(t, entraintest.StreamHarness{
		New: func(testing.TB) { id = unique() },
		Log: func(t testing.TB, c entraintest.StreamConfig) stream.Log {
			producer := c.Producer
			return newTestLog(t, address, id+"."+producer, func(c *LogConfig) { c.Topic, c.MaxMessageBytes = id+"."+producer, 8<<20 })
		},
		Partition: func(producer string) stream.Partition { return stream.Partition(id + "." + producer + "/0") },
		Remake: func(t testing.TB) {
			admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
				topics, err := adm.ListTopics(ctx)
				if err != nil {
					return err
				}
				for _, name := range topics.Names() {
					if strings.HasPrefix(name, id) {
						remove(ctx, t, adm, name)
					}
				}
				return nil
			})
		},
	})
}

// remove deletes a topic and waits until the broker knows it.
func remove(ctx context.Context, t testing.TB, adm *kadm.Client, name string) {
	t.Helper()
	if _, err := adm.DeleteTopics(ctx, name); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		if _, err := look(ctx, adm, name); errors.Is(err, kerr.UnknownTopicOrPartition) {
			return
		}
	}
}

// drain reads a partition to its end.
func drain(t testing.TB, l *Log, p stream.Partition, from entrain.Position) (events []entrain.Event, at entrain.Position) {
	t.Helper()
	bounded, err := l.Read("cursor", p).(entrain.Bounder).Until("now")
	if err != nil {
		t.Fatal(err)
	}
	r, err := bounded.Open(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		b, err := r.Read(t.Context())
		if errors.Is(err, io.EOF) {
			return events, at
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, b.Events...) // never freed
		if !b.Through.IsZero() {
			at = b.Through
		}
	}
}

// TestLogKeepsWhatTheFormatLacks: flags, doubles and the stream's database.
func TestLogKeepsWhatTheFormatLacks(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	double := *entraintest.StandardTable()
	double.Shadow = true
	events := []entrain.Event{row("1"), row("2"), row("3"), entraintest.Truncate(&double), row("4")}
	events[0].Settling = true
	events[1].Table, events[2].Table, events[2].Settling = &double, &double, true
	b := batchOf(1, events...)
	of := &entrain.Stream{Source: "shop", Incarnation: "inc", Database: "orders"}
	b.Events[0].Tx.Stream = of
	write(t, w, b)
	settle(t, address, id)
	got, _ := drain(t, l, l.partition(0), entrain.Position{})
	if len(got) != len(events) {
		t.Fatalf("%d events, want %d", len(got), len(events))
	}
	for i, e := range got {
		want := events[i]
		shadow := func(e entrain.Event) bool {
			return e.Table != nil && e.Table.Shadow || e.Truncate != nil && e.Truncate.Tables[0].Shadow
		}
		if e.Settling != want.Settling || shadow(e) != shadow(want) || *e.Tx.Stream != *of || e.ID() != want.ID() {
			t.Errorf("event %d: settling %t shadow %t stream %v id %s", i, e.Settling, shadow(e), *e.Tx.Stream, e.ID())
		}
	}
	if got[1].Table != got[2].Table {
		t.Error("two events of a double have two tables")
	}
}

// TestLogPartitions: what is about no single row goes to all partitions, rows to
// that of their key.
func TestLogPartitions(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, func(c *LogConfig) { c.Partitions = 3 })
	parts, err := l.Partitions(t.Context())
	if err != nil || fmt.Sprint(parts) != fmt.Sprintf("[%[1]s/0 %[1]s/1 %[1]s/2]", id+".changes") {
		t.Fatalf("partitions %v, %v", parts, err)
	}
	w, _ := producer(t, l)
	var events []entrain.Event
	for i := range 30 {
		events = append(events, row(fmt.Sprint(i)))
	}
	table := entraintest.StandardTable()
	events = append(events, entraintest.Message("m", "text"), entrain.Event{Op: entrain.OpReadEnd, Table: table},
		entrain.Event{Op: entrain.OpReadEnd})
	write(t, w, batchOf(1, events...))
	settle(t, address, id)
	rows := 0
	for _, p := range parts {
		got, _ := drain(t, l, p, entrain.Position{})
		var ops []string
		for _, e := range got[max(0, len(got)-3):] {
			ops = append(ops, e.Op.String())
		}
		if fmt.Sprint(ops) != "[message read_end read_end]" {
			t.Errorf("partition %s ends with %v", p, ops)
		}
		rows += len(got) - 3
	}
	if rows != 30 {
		t.Errorf("%d rows in all partitions, want 30", rows)
	}
}

// TestLogFanIn: two producers in one topic; each event arrives once and those of
// a producer in their order.
func TestLogFanIn(t *testing.T) {
	address, id := broker(t), unique()
	topic := func(c *LogConfig) { c.Topic = id + ".all" }
	var writers []entrain.Writer
	var logs []*Log
	for _, name := range []string{"-a", "-b"} {
		l := newTestLog(t, address, id+name, topic)
		w, _ := producer(t, l)
		logs, writers = append(logs, l), append(writers, w)
	}
	const each = 20
	for i := range uint64(each) {
		for n, w := range writers {
			b := batchOf(i+1, row(fmt.Sprint(i)), row(fmt.Sprint(i+1000)))
			b.Events[0].Tx.Stream = &entrain.Stream{Source: fmt.Sprint("s", n), Incarnation: "inc"}
			if i%3 == 0 { // another's transaction stands in its middle
				first := *b
				first.Events = b.Events[:1]
				write(t, w, part(&first))
				b.Events = b.Events[1:]
				write(t, writers[1-n], batchOf(10_000+i*2+uint64(n), entraintest.Message("x", "between")))
			}
			write(t, w, b)
		}
	}
	settle(t, address, id+"-a")
	settle(t, address, id+"-b")
	got, _ := drain(t, logs[0], logs[0].partition(0), entrain.Position{})
	seen, last := map[string]int{}, map[string]uint64{}
	for _, e := range got {
		if e.Op == entrain.OpMessage {
			continue
		}
		seen[e.ID()]++
		source := e.Tx.Stream.Source
		if e.Tx.Version < last[source] {
			t.Errorf("version %d of %s behind %d", e.Tx.Version, source, last[source])
		}
		last[source] = e.Tx.Version
	}
	if len(seen) != 4*each {
		t.Errorf("%d events, want %d", len(seen), 4*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// TestLogStops: a history that is gone is a stop, never a gap (P5).
func TestLogStops(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	for i := range uint64(5) {
		write(t, w, batchOf(i+1, row(fmt.Sprint(i))))
	}
	settle(t, address, id)
	_, end := drain(t, l, l.partition(0), entrain.Position{})
	read := func(from entrain.Position) error {
		r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), from)
		if err == nil {
			r.Close()
		}
		return err
	}
	other := end
	other.Incarnation = strings.Repeat("0", 32)
	wantStop(t, read(other), "stream_recreated")
	beyond := end
	beyond.Offset = "0/1000"
	wantStop(t, read(beyond), "stream_truncated")
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		var offsets kadm.Offsets
		offsets.AddOffset(l.name, 0, 4, -1)
		_, err := adm.DeleteRecords(ctx, offsets)
		return err
	})
	stop := wantStop(t, read(entrain.Position{}), "stream_overrun")
	if !stop.Lost || !strings.Contains(stop.What, "begins at offset 4, and 0 comes next") {
		t.Errorf("the stop says %s", stop.What)
	}
	if err := read(end); err != nil {
		t.Errorf("a position that is still there: %v", err)
	}
}

// TestLogForeignRecord: what is no event of ours is named, not passed over.
func TestLogForeignRecord(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	if _, err := l.Partitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := consumer(t, address, l.name)
	defer c.Close()
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: l.name, Value: []byte("hello")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = r.Read(ctx)
	stop := wantStop(t, err, "stream_foreign")
	if !strings.Contains(stop.Next, "--partition 0 --offset 0 --max-messages 1") {
		t.Errorf("the advice is %s", stop.Next)
	}
}

// TestLogValues: what a capture remembers is there for the process that takes it
// over, and that of one that was taken over has no effect.
func TestLogValues(t *testing.T) {
	address, id := broker(t), unique()
	old := newTestLog(t, address, id, nil)
	if _, err := old.LoadValues(t.Context()); err == nil {
		t.Error("values before the position was taken over")
	}
	w, _ := producer(t, old)
	write(t, w, part(batchOf(1, row("1")))) // a transaction is open
	for _, values := range []map[string][]byte{{"a": []byte("1"), "b": []byte("2")}, {"b": []byte("3")}, {"c\x00d": {}}} {
		if err := old.SaveValues(t.Context(), values); err != nil {
			t.Fatal(err)
		}
	}
	young := newTestLog(t, address, id, nil)
	if _, at := producer(t, young); !at.IsZero() {
		t.Errorf("the position is %v, and no transaction ended", at)
	}
	wantStop(t, old.SaveValues(t.Context(), map[string][]byte{"a": []byte("late")}), "fenced")
	got, err := young.LoadValues(t.Context())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(map[string][]byte{"a": []byte("1"), "b": []byte("3"), "c\x00d": {}}) {
		t.Errorf("the values are %q, %v", got, err)
	}
}

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
		admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
			offsets, err := adm.FetchOffsets(ctx, cursor)
			if o, ok := offsets.Lookup(l.name, 0); err == nil && (!ok || o.At != 2) {
				t.Errorf("%s: the offset is %d, want 2", cursor, o.At)
			}
			return err
		})
	}
}
