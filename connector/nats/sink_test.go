package nats

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/entraintest"
)

// TestSink: the sink keeps all contracts of one that stores the position with the
// data, as a consumer of its subjects sees them (P1, P2, P3, P4).
func TestSink(t *testing.T) { testSink(t, func(*backend) {}) }

// TestSinkOneByOne: the same on a server without atomic batches, as long as nobody is
// killed.
func TestSinkOneByOne(t *testing.T) { testSink(t, func(b *backend) { b.withoutBatches = true }) }

func testSink(t *testing.T, set func(*backend)) { testSinkAt(t, newElsewhere, set) }

func testSinkAt(t *testing.T, start func(testing.TB) *elsewhere, set func(*backend)) {
	var at *elsewhere
	entraintest.TestSink(t, entraintest.SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			at = start(t)
			s := newSink(t, at, SinkConfig{})
			set(s.backend)
			return s
		},
		Rows:         func(t testing.TB) entraintest.Rows { return replay(t, at, "changes.*.public.conformance") },
		Keeps:        entraintest.KeepsPosition,
		NoDoubles:    true,
		KeepsChanges: true,
	})
}

func newSink(t testing.TB, at *elsewhere, cfg SinkConfig) *Sink {
	t.Helper()
	cfg.Server.URL, cfg.Pipeline = at.url, "shop"
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSink(t testing.TB, s *Sink) (*writer, entrain.Position) {
	t.Helper()
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w.(*writer), at
}

// consumed is what a consumer sees that is not ours.
func consumed(t testing.TB, at *elsewhere, subject string) []jetstream.Msg {
	t.Helper()
	nc, err := natsgo.Connect(at.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), defaultStream, jetstream.ConsumerConfig{FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []jetstream.Msg
	for left := c.CachedInfo().NumPending; uint64(len(all)) < left; {
		batch, err := c.Fetch(int(min(left-uint64(len(all)), 500)), jetstream.FetchMaxWait(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		before := len(all)
		for m := range batch.Messages() {
			all = append(all, m)
		}
		if len(all) == before {
			t.Fatalf("%d messages of %d: %v", len(all), left, batch.Error())
		}
	}
	return all
}

// line is the part of a native value that the replay needs.
type line struct {
	ID        string         `json:"id"`
	Op        string         `json:"op"`
	Before    map[string]any `json:"before"`
	After     map[string]any `json:"after"`
	Unchanged []string       `json:"unchanged"`
}

// replay makes rows of messages as a reader would, by a JSON parser that is not ours.
func replay(t testing.TB, at *elsewhere, subject string) entraintest.Rows {
	t.Helper()
	rows := entraintest.Rows{}
	for _, m := range consumed(t, at, subject) {
		dec := json.NewDecoder(bytes.NewReader(m.Data()))
		dec.UseNumber()
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatalf("%v in %s", err, m.Data())
		}
		if l.ID != m.Headers().Get(headerID) || l.Op != m.Headers().Get(headerOp) {
			t.Errorf("the headers are %v, the message %s", m.Headers(), m.Data())
		}
		e := l.event()
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s: %s: %v", l.ID, l.Op, err)
		}
	}
	return rows
}

func (l line) event() entrain.Event {
	table := entraintest.StandardTable()
	if l.Op == "truncate" {
		return entraintest.Truncate(table)
	}
	e := entrain.Event{Table: table, Before: l.row(l.Before), After: l.row(l.After)}
	e.Op = map[string]entrain.Op{"insert": entrain.OpInsert, "update": entrain.OpUpdate, "delete": entrain.OpDelete,
		"read": entrain.OpRead, "read_end": entrain.OpReadEnd}[l.Op]
	return e
}

// row returns nil for no image. What is neither there nor named as unchanged is
// part of an old image that was not logged.
func (l line) row(image map[string]any) entrain.Row {
	if image == nil {
		return nil
	}
	table := entraintest.StandardTable()
	cells := make([]entraintest.Cell, len(table.Columns))
	for i, c := range table.Columns {
		value, there := image[c.Name]
		switch {
		case !there || slices.Contains(l.Unchanged, c.Name):
			cells[i] = entraintest.Unchanged
		case value == nil:
			cells[i] = entraintest.Null
		default:
			cells[i] = entraintest.Text(fmt.Sprint(value))
		}
	}
	return entraintest.Row(table, cells...)
}

// batchOf is one transaction with a position.
func batchOf(version uint64, events ...entrain.Event) *entrain.Batch {
	tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "shop", Incarnation: "inc"}, ID: version, Version: version,
		CommitTime: time.Unix(1_790_000_000, 0)}
	for i := range events {
		events[i].Tx, events[i].Ordinal = tx, uint64(i)
	}
	return &entrain.Batch{Events: events, Through: entrain.Position{Incarnation: "inc", Offset: fmt.Sprint(version)}}
}

// inserts are n rows, by the keys that follow first.
func inserts(first, n int) []entrain.Event {
	events := make([]entrain.Event, n)
	for i := range events {
		null := entraintest.Null
		events[i] = entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(first+i)), null, null, null)
	}
	return events
}

func write(t testing.TB, w *writer, b *entrain.Batch) {
	t.Helper()
	if err := w.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// TestMessages: where the events of each operation go, and which headers they have.
func TestMessages(t *testing.T) {
	at := newElsewhere(t)
	w, _ := openSink(t, newSink(t, at, SinkConfig{}))
	table, text, null := entraintest.StandardTable(), entraintest.Text, entraintest.Null
	other := *table
	other.Name = "a.b *"
	write(t, w, batchOf(1,
		entraintest.Insert(table, text("7"), null, null, null),
		entraintest.Rekey(table, []string{"7"}, text("8"), null, entraintest.Unchanged, null),
		entraintest.Delete(table, "8"),
		entraintest.Message("audit", "who"),
		entraintest.Truncate(table, &other)))
	var got strings.Builder
	for _, m := range consumed(t, at, "changes.>") {
		h := m.Headers()
		if version := h.Get(headerVersion); (version == "") != (h.Get(headerKey) == "") {
			t.Errorf("the version is %q of %v", version, h)
		}
		fmt.Fprintf(&got, "%s %s %s %s %s\n", m.Subject(), h.Get(headerID), h.Get(headerOp), h.Get(headerKey), h.Get(headerOldKey))
	}
	want := `changes.shop.public.conformance shop/inc/1/0 insert {"id":7} 
changes.shop.public.conformance shop/inc/1/1 update {"id":8} {"id":7}
changes.shop.public.conformance shop/inc/1/2 delete {"id":8} 
changes.shop.message shop/inc/1/3 message  
changes.shop.public.conformance shop/inc/1/4 truncate  
changes.shop.public.a=2Eb=20=2A shop/inc/1/4 truncate  
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

// TestLargeTransaction: a transaction that does not fit in a batch is there once and
// in order, though its writer is gone in its middle and what it had not finished
// comes again (P2).
func TestLargeTransaction(t *testing.T) {
	at := newElsewhere(t)
	s := newSink(t, at, SinkConfig{})
	w, _ := openSink(t, s)
	write(t, w, batchOf(1, inserts(1, 2)...))
	half := batchOf(2, inserts(3, 1500)...)
	half.Through = entrain.Position{}
	write(t, w, half)
	w.Close()
	if got := len(consumed(t, at, "changes.>")); got != 2+batchMessages {
		t.Fatalf("%d messages are there, want what fits in a batch", got)
	}
	w, from := openSink(t, s)
	if from.Offset != "1" {
		t.Fatalf("the position is %v", from)
	}
	begin := batchOf(0, entrain.Event{Op: entrain.OpTruncate, Truncate: &entrain.Truncate{Tables: []*entrain.Table{entraintest.StandardTable()}}})
	begin.Events[0].Ordinal, begin.Through = entrain.CopyOrdinals+1, from // a resync begins before the rest comes
	write(t, w, begin)
	write(t, w, batchOf(2, inserts(3, 3000)...))
	write(t, w, batchOf(3, inserts(3003, 1)...))
	all := consumed(t, at, "changes.>")
	truncates := func(m jetstream.Msg) bool { return m.Headers().Get(headerOp) == "truncate" }
	if n := len(all); n != 3004 || !slices.ContainsFunc(all, truncates) {
		t.Errorf("%d messages, want 3004 with a truncate", n)
	}
	all = slices.DeleteFunc(all, truncates)
	for i, m := range all {
		if want := fmt.Sprintf(`{"id":%d}`, i+1); m.Headers().Get(headerKey) != want {
			t.Fatalf("message %d has the key %s", i, m.Headers().Get(headerKey))
		}
	}
}

// TestSmallTransactionsStayWhole: where a run of transactions is cut, it is between
// two of them (P4).
func TestSmallTransactionsStayWhole(t *testing.T) {
	at := newElsewhere(t)
	w, _ := openSink(t, newSink(t, at, SinkConfig{}))
	run := &entrain.Batch{}
	for v := range 40 {
		b := batchOf(uint64(v+1), inserts(v*100, 100)...)
		run.Events, run.Through = append(run.Events, b.Events...), b.Through
	}
	run.Through = entrain.Position{}
	write(t, w, run)
	w.Close()
	got := len(consumed(t, at, "changes.>"))
	if got == 0 || got%100 != 0 {
		t.Errorf("%d messages are there of transactions of 100", got)
	}
}

// TestZombie: a writer whose position was taken over by another process writes
// nothing more, and says so by name (P5).
func TestZombie(t *testing.T) {
	for _, older := range []bool{false, true} {
		at := newElsewhere(t)
		s := newSink(t, at, SinkConfig{})
		s.backend.withoutBatches = older
		w, _ := openSink(t, s)
		write(t, w, batchOf(1, inserts(1, 1)...))
		next, _ := openSink(t, s)
		next.is.Owner = "another process"
		next.owner = next.is.Owner
		if _, err := next.Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := w.Write(t.Context(), batchOf(2, inserts(2, 1)...))
		var stop *entrain.Stop
		if !errors.As(err, &stop) || stop.Code != "fenced" {
			t.Errorf("older %t: the zombie's error is %v", older, err)
		}
		write(t, next, batchOf(2, inserts(2, 1)...))
		if got := len(consumed(t, at, "changes.>")); got != 2 {
			t.Errorf("older %t: %d messages, want 2", older, got)
		}
	}
}

// TestPositionOutlivesRetention: changes grow too old, the position does not.
func TestPositionOutlivesRetention(t *testing.T) {
	at := newElsewhere(t)
	cfg := SinkConfig{}
	cfg.Server.Retention = time.Second
	s := newSink(t, at, cfg)
	w, _ := openSink(t, s)
	write(t, w, batchOf(1, inserts(1, 3)...))
	eventually(t, func() bool { return len(consumed(t, at, "changes.>")) == 0 })
	if _, from := openSink(t, s); from.Offset != "1" {
		t.Errorf("the position is %v", from)
	}
}

// eventually waits until done.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 400 {
		if done() {
			return
		}
		<-tick.C
	}
	t.Fatal("it does not happen")
}

// TestOldPositionsGo: positions do not fill the stream.
func TestOldPositionsGo(t *testing.T) {
	at := newElsewhere(t)
	w, _ := openSink(t, newSink(t, at, SinkConfig{}))
	for v := range keptPositions + 10 {
		write(t, w, batchOf(uint64(v+1)))
	}
	if got := len(consumed(t, at, positions+">")); got > 20 {
		t.Errorf("%d positions are there", got)
	}
}

// TestForeignSubjects: subjects of another stream are a stop; a second pipeline and a
// wider stream are none; a torn down position is gone, and only that.
func TestForeignSubjects(t *testing.T) {
	at := startServer(t, server.Options{})
	w, _ := openSink(t, newSink(t, at, SinkConfig{}))
	write(t, w, batchOf(1, inserts(1, 1)...))
	cfg := SinkConfig{}
	cfg.Server.Stream = "second"
	_, err := newSink(t, at, cfg).Open(t.Context())
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != "nats_foreign" {
		t.Errorf("overlapping subjects are %v", err)
	}
	other := newSink(t, at, SinkConfig{Subject: "of.{table}.changes.of.{source}.here"})
	other.position = positions + "changes.other"
	openSink(t, other)
	s := newSink(t, at, SinkConfig{})
	list, err := s.Teardown(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := list[0].Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Teardown(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("then %v, %v", list, err)
	}
	if got := len(consumed(t, at, "changes.>")); got != 1 {
		t.Errorf("%d changes are left", got)
	}
	if _, from := openSink(t, s); !from.IsZero() {
		t.Errorf("the position is %v", from)
	}
}

// TestTooLarge: an event that the server does not take is named.
func TestTooLarge(t *testing.T) {
	at := newElsewhere(t)
	w, _ := openSink(t, newSink(t, at, SinkConfig{}))
	null := entraintest.Null
	large := entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Text(strings.Repeat("x", 1<<20)), null, null)
	var bad *entrain.BatchError
	if err := w.Write(t.Context(), batchOf(1, large)); !errors.As(err, &bad) || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("it is %v", err)
	}
}

// TestSinkSettings: what makes no sink is refused.
func TestSinkSettings(t *testing.T) {
	for _, cfg := range []SinkConfig{
		{Subject: "a..b"}, {Subject: "a.*"}, {Subject: "$JS.{table}"}, {Subject: "{source}.{table}"}, {Subject: "{schema"}, {MessageSubject: "{table}"}, {Format: "xml"},
		{Format: debezium}, {Format: debezium, Debezium: &encoding.DebeziumOptions{}}, {Format: debezium, Debezium: &encoding.DebeziumOptions{TopicPrefix: "a b"}},
		{Format: debezium, Debezium: &encoding.DebeziumOptions{TopicPrefix: "a."}}, {Debezium: &encoding.DebeziumOptions{TopicPrefix: "a"}},
		{Format: debezium, Subject: "a", Debezium: &encoding.DebeziumOptions{TopicPrefix: "a"}},
	} {
		cfg.Server.URL, cfg.Pipeline = "nats://localhost", "shop"
		if _, err := NewSink(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"a.>", "a.*.b", true}, {"a.>", "a", false}, {"a.*", "a.b", true}, {"a.b", "a.*", false}, {"*.b", "a.b", true},
		{"a.*", "a.>", false}, {"a.*", "a.b.c", false}, {"a.*.c", "a.b", false}, {">", "a.*", true},
	} {
		if got := covers(c.wide, c.narrow); got != c.want {
			t.Errorf("%s covers %s: %t", c.wide, c.narrow, got)
		}
	}
}
