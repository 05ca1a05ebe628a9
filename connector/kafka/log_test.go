package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

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
		Quiet:     500 * time.Millisecond, // dialling twice on a busy machine
		Patience:  3 * time.Minute,        // brokers end a transaction when they come to it
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

// TestOverrunWhileReading: the same, in the middle of a session (what was fetched
// before is still delivered, so that the broker's answer is given here).
func TestOverrunWhileReading(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range uint64(3) {
		write(t, w, batchOf(i+1, row(fmt.Sprint(i))))
	}
	settle(t, address, id)
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		var offsets kadm.Offsets
		offsets.AddOffset(l.name, 0, 4, -1)
		_, err := adm.DeleteRecords(ctx, offsets)
		return err
	})
	stop := wantStop(t, r.(*reader).lookAgain(t.Context(), kerr.OffsetOutOfRange), "stream_overrun")
	if !strings.Contains(stop.What, "begins at offset 4, and 0 comes next") {
		t.Errorf("the stop says %s", stop.What)
	}
}

// TestShapeComesLate: a Read whose context ends while it waits for what is beside
// the log loses nothing, and doubles nothing.
func TestShapeComesLate(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	other := *entraintest.StandardTable()
	other.Name = "other"
	other.Version = other.Fingerprint()
	late := row("3")
	late.Table = &other
	write(t, w, batchOf(1, row("1")))
	w.(*exactWriter).state.shapes[fingerprint(other.Version)] = true // it is not written now
	write(t, w, batchOf(2, row("2"), late))
	settle(t, address, id)
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := func(ctx context.Context) int {
		t.Helper()
		b, err := r.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		return len(b.Events)
	}
	if n := read(t.Context()); n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		var stop *entrain.Stop
		if _, err := r.Read(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &stop) {
			t.Errorf("read without the shape: %v", err)
		}
		cancel()
	}
	delete(w.(*exactWriter).state.shapes, fingerprint(other.Version))
	clear(w.(*exactWriter).form.(*jsonForm).tables)
	write(t, w, batchOf(3, late))
	if n, m := read(t.Context()), read(t.Context()); n != 2 || m != 1 {
		t.Errorf("%d and %d events, want 2 and 1", n, m)
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
