package redis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// TestSink: the sink keeps all contracts of one that stores the position with the
// data, as a reader of its streams sees them (P1, P2, P3, P4).
func TestSink(t *testing.T) {
	var place Server
	entraintest.TestSink(t, entraintest.SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			place = at(t)
			return newSink(t, SinkConfig{Server: place})
		},
		Rows:         func(t testing.TB) entraintest.Rows { return replay(t, place, place.Prefix+".public.conformance") },
		Keeps:        entraintest.KeepsPosition,
		NoDoubles:    true,
		KeepsChanges: true,
	})
}

func newSink(t testing.TB, cfg SinkConfig) *Sink {
	t.Helper()
	if cfg.Stream == "" {
		cfg.Stream = cfg.Prefix + ".{schema}.{table}"
	}
	cfg.Pipeline = "shop"
	s, err := NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openSink(t testing.TB, s *Sink) (entrain.Writer, entrain.Position) {
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
	return w, at
}

// line is the part of a native value that the replay needs.
type line struct {
	ID        string         `json:"id"`
	Op        string         `json:"op"`
	Before    map[string]any `json:"before"`
	After     map[string]any `json:"after"`
	Unchanged []string       `json:"unchanged"`
}

func entries(t testing.TB, s Server, key string) []goredis.XMessage {
	t.Helper()
	list, err := admin(t, s).XRange(t.Context(), key, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// replay makes rows of a stream as a reader would, by a JSON parser that is not ours.
func replay(t testing.TB, s Server, key string) entraintest.Rows {
	t.Helper()
	rows := entraintest.Rows{}
	for _, m := range entries(t, s, key) {
		dec := json.NewDecoder(bytes.NewReader([]byte(m.Values["value"].(string))))
		dec.UseNumber()
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatalf("%s: %v in %s", m.ID, err, m.Values["value"])
		}
		if l.ID != m.Values["id"] || l.Op != m.Values["op"] {
			t.Errorf("entry %s has the id %v and the operation %v, its value %s and %s", m.ID, m.Values["id"], m.Values["op"], l.ID, l.Op)
		}
		e := l.event()
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s, %s: %s: %v", key, m.ID, l.Op, err)
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

// row returns nil for no image. What is neither there nor named as unchanged
// is part of an old image that was not logged.
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

// show tells an entry in short form.
func show(list []goredis.XMessage) string {
	var out strings.Builder
	for _, m := range list {
		value, _, _ := strings.Cut(fmt.Sprint(m.Values["value"]), ",")
		fmt.Fprintf(&out, "%v %v key=%v old_key=%v %s…\n", m.Values["id"], m.Values["op"], m.Values["key"], m.Values["old_key"], value)
	}
	return out.String()
}

// TestEntries: which fields the entries of each operation have, and where they are.
func TestEntries(t *testing.T) {
	place := at(t)
	w, _ := openSink(t, newSink(t, SinkConfig{Server: place, MessageStream: place.Prefix + ".message"}))
	table := entraintest.StandardTable()
	other := *table
	other.Name, other.FullIdentity = "full", true
	other.Version = other.Fingerprint()
	text, null := entraintest.Text, entraintest.Null
	err := w.Write(t.Context(), batchOf(1,
		entraintest.Insert(table, text("7"), null, null, null),
		entraintest.Rekey(table, []string{"7"}, text("8"), null, entraintest.Unchanged, null),
		entraintest.Delete(table, "8"),
		entraintest.Insert(&other, text("1"), null, null, null),
		entraintest.Message("audit", "who"),
		entraintest.Truncate(table, &other)))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		".public.conformance": `shop/inc/1/0 insert key={"id":7} old_key=<nil> {"v":1…
shop/inc/1/1 update key={"id":8} old_key={"id":7} {"v":1…
shop/inc/1/2 delete key={"id":8} old_key=<nil> {"v":1…
shop/inc/1/5 truncate key=<nil> old_key=<nil> {"v":1…
`,
		".public.full": `shop/inc/1/3 insert key=<nil> old_key=<nil> {"v":1…
shop/inc/1/5 truncate key=<nil> old_key=<nil> {"v":1…
`,
		".message": "shop/inc/1/4 message key=<nil> old_key=<nil> {\"v\":1…\n",
	} {
		if got := show(entries(t, place, place.Prefix+key)); got != want {
			t.Errorf("%s has\n%swant\n%s", key, got, want)
		}
	}
}

// TestFlatEntries: an entry of the format flat is about one table.
func TestFlatEntries(t *testing.T) {
	place := at(t)
	w, _ := openSink(t, newSink(t, SinkConfig{Server: place, Format: "flat"}))
	table := entraintest.StandardTable()
	other := *table
	other.Name = "second"
	other.Version = other.Fingerprint()
	if err := w.Write(t.Context(), batchOf(1, entraintest.Truncate(table, &other))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"conformance", "second"} {
		list := entries(t, place, place.Prefix+".public."+name)
		var value map[string]any
		if len(list) != 1 || json.Unmarshal([]byte(list[0].Values["value"].(string)), &value) != nil || value["__table"] != name {
			t.Errorf("the stream of %s has %v", name, list)
		}
	}
}

// TestLargeTransaction: what is put aside at the server is not seen before the
// end, becomes visible at once and leaves nothing behind (P4).
func TestLargeTransaction(t *testing.T) {
	place := at(t)
	w, _ := openSink(t, newSink(t, SinkConfig{Server: place}))
	c, key := admin(t, place), place.Prefix+".public.conformance"
	body := entraintest.Text(strings.Repeat("x", 1000))
	const rows = 12_000
	write := func(w entrain.Writer, version uint64) (last *entrain.Batch) {
		b := batchOf(version)
		for i := range rows {
			b.Events = append(b.Events, entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(i)), entraintest.Null, body, entraintest.Null))
		}
		b = batchOf(version, b.Events...)
		last = &entrain.Batch{Through: b.Through}
		b.Through = entrain.Position{}
		if err := w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if n := c.LLen(t.Context(), place.Prefix+":staged:shop").Val(); n == 0 {
			t.Error("nothing is put aside of a large transaction")
		}
		if n := c.XLen(t.Context(), key).Val(); n != 0 {
			t.Errorf("%d entries are visible before the end", n)
		}
		return last
	}
	write(w, 1)
	w.Close()
	if n := c.Exists(t.Context(), place.Prefix+":staged:shop").Val(); n != 0 {
		t.Error("what was put aside stays behind")
	}
	w, at := openSink(t, newSink(t, SinkConfig{Server: place}))
	if !at.IsZero() {
		t.Errorf("the position is %s", at)
	}
	if err := w.Write(t.Context(), write(w, 1)); err != nil {
		t.Fatal(err)
	}
	list := entries(t, place, key)
	if len(list) != rows {
		t.Fatalf("%d entries are visible, want %d", len(list), rows)
	}
	for i, m := range list {
		if want := fmt.Sprintf("shop/inc/1/%d", i); m.Values["id"] != want {
			t.Fatalf("entry %d has the id %v, want %s", i, m.Values["id"], want)
		}
	}
	if n := c.Exists(t.Context(), place.Prefix+":staged:shop").Val(); n != 0 {
		t.Error("what was put aside stays behind")
	}
}

// TestForeignStream: a key that is no stream is a stop, and nothing of the
// transaction is visible (P4).
func TestForeignStream(t *testing.T) {
	place := at(t)
	c := admin(t, place)
	other := *entraintest.StandardTable()
	other.Name = "other"
	other.Version = other.Fingerprint()
	taken := place.Prefix + ".public.other"
	if err := c.Set(t.Context(), taken, "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	null := entraintest.Null
	b := batchOf(1, entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), null, null, null),
		entraintest.Insert(&other, entraintest.Text("1"), null, null, null))
	w, _ := openSink(t, newSink(t, SinkConfig{Server: place}))
	stop := wantStop(t, w.Write(t.Context(), b), "redis_foreign")
	if n := c.Exists(t.Context(), place.Prefix+".public.conformance").Val(); n != 0 {
		t.Error("a part of the transaction is visible")
	}
	runAdvice(t, place, stop.Next)
	w, _ = openSink(t, newSink(t, SinkConfig{Server: place}))
	if err := w.Write(t.Context(), b); err != nil {
		t.Errorf("after what the stop says to type: %v", err)
	}
}

// TestMaxLen: a stream keeps about as many entries as it is to.
func TestMaxLen(t *testing.T) {
	place := at(t)
	w, _ := openSink(t, newSink(t, SinkConfig{Server: place, MaxLen: 500}))
	for n := range 40 {
		var events []entrain.Event
		for i := range 100 {
			events = append(events, entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(n*100+i)), entraintest.Null, entraintest.Null, entraintest.Null))
		}
		if err := w.Write(t.Context(), batchOf(uint64(n+1), events...)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(entries(t, place, place.Prefix+".public.conformance")); n < 500 || n > 700 {
		t.Errorf("%d entries stay, want about 500", n)
	}
}

// TestOtherProcess: a session whose position another process has taken over stops,
// and writes nothing.
func TestOtherProcess(t *testing.T) {
	place := at(t)
	s := newSink(t, SinkConfig{Server: place})
	w, _ := openSink(t, s)
	b := batchOf(1, entraintest.Insert(entraintest.StandardTable(), entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null))
	if err := admin(t, place).HSet(t.Context(), place.Prefix+":position:shop", "owner", "another", "host", "b", "pid", "7", "at", "now").Err(); err != nil {
		t.Fatal(err)
	}
	stop := wantStop(t, w.Write(t.Context(), b), "fenced")
	if !strings.Contains(stop.What, "process 7 on b") {
		t.Errorf("the stop does not name the other process: %s", stop.What)
	}
	if n := admin(t, place).Exists(t.Context(), place.Prefix+".public.conformance").Val(); n != 0 {
		t.Error("a fenced session wrote")
	}
	w, _ = openSink(t, s)
	if err := admin(t, place).Del(t.Context(), place.Prefix+":position:shop").Err(); err != nil {
		t.Fatal(err)
	}
	var any *entrain.Stop
	if err := w.Write(t.Context(), b); !entrain.IsRetryable(err) || errors.As(err, &any) {
		t.Errorf("without its position the session says %v", err)
	}
}
