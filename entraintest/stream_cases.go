package entraintest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/entrainsync/entrain"
)

// other is a second table, so that messages have several shapes.
var other = newOther()

func newOther() *entrain.Table {
	t := &entrain.Table{Schema: "Other one", Name: "no key", FullIdentity: true, Columns: []entrain.Column{
		{Name: "a \"quoted\"", Type: "public.mood", Modifier: 12, Kind: entrain.JSON},
		{Name: "b", Type: "bytea", Modifier: -1, Kind: entrain.Bytes},
	}}
	t.Version = t.Fingerprint()
	return t
}

func streamKinds(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Text("a"), filler(1, large), Text("1.50")), std(2, Null, Text(""), Null),
		Insert(other, Text("{}"), Text("\\x00ff")))
	v.commit(set(1, Text("b"), Unchanged, Null), move(2, 3, Unchanged, Text("x"), Unchanged), remove(1))
	whole := Update(other, Text("[]"), Null)
	whole.Before = Row(other, Text("{}"), Text("\\x00ff"))
	v.commit(whole)
	both := Truncate(standard, other)
	both.Truncate.Cascade, both.Truncate.RestartIdentity = true, true
	v.commit(both)
	v.commit(Message("prefix", "within"))
	alone := Message("", "")
	alone.Message.Transactional = false
	v.commit(alone)
	v.commit(settled(std(5, Text("s"), Null, Null), remove(6))...)
	v.commit(append([]entrain.Event{beginDouble()}, append(doubled(std(7, Null, Null, Null)), swapDouble())...)...)
	read := std(8, Text("read"), Null, Null)
	read.Op = entrain.OpRead
	v.commit(read, entrain.Event{Op: entrain.OpReadEnd, Table: standard}, entrain.Event{Op: entrain.OpReadEnd})
	v.commit(changedShape(), Insert(changed, Text("9"), Text("new"), Null, Text("9"), Text("t")))
	v.open.pos = entrain.Position{Incarnation: "suite", Offset: "idle"}
	v.write(&entrain.Batch{Through: v.open.pos})
	v.tap("c", at{}).drain()
	v.restart()
	p := v.tap("c", at{})
	p.drain()
	p.dry()
}

// changed is the standard table with one more column, and another one renamed.
var changed = newChanged()

func newChanged() *entrain.Table {
	t := *standard
	t.Columns = append(append([]entrain.Column{}, t.Columns...), entrain.Column{Name: "more", Type: "boolean", Modifier: -1, Kind: entrain.Boolean})
	t.Columns[1].Name = "title"
	t.Version = t.Fingerprint()
	return &t
}

func changedShape() entrain.Event {
	fill := "f"
	facts := []entrain.ColumnFacts{{ID: 5, Name: "more", Default: "false", Constant: true, NotNull: true, Fill: &fill}}
	ddl := []entrain.DDL{{Schema: standard.Schema, Table: standard.Name, ID: 77, Tag: "ALTER TABLE", Object: "public.conformance",
		Renamed: 2, Dropped: []string{"gone"}, Columns: facts}}
	change := entrain.CompareTables(standard, changed, nil, facts)
	change.DDL, change.Resync = ddl, "a reason"
	return entrain.Event{Op: entrain.OpSchema, Table: changed, Schema: change}
}

// streamDefinitions: what [entrain.TableMaker] is told comes in the stream, before
// all that is written later, and not within a transaction.
func streamDefinitions(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	maker, ok := v.log.(entrain.TableMaker)
	if !ok {
		t.Fatalf("the log %T is no TableMaker", v.log)
	}
	d := &entrain.Definition{Dialect: "postgres", Before: []string{"CREATE SCHEMA x", "CREATE TABLE x.y ()"},
		Indexes: []string{"CREATE INDEX"}, After: []string{"ALTER TABLE"}, References: []string{"ALTER TABLE … ADD FOREIGN KEY"}}
	ctx, cancel := v.context()
	defer cancel()
	v.part(std(2, Null, Null, Null))
	done := make(chan error, 1)
	go func() { done <- maker.MakeTable(ctx, entrain.ChunkTable{Table: other, Definition: d}) }()
	v.part(std(3, Null, Null, Null))
	v.write(v.batch(true, []entrain.Event{std(4, Null, Null, Null)}))
	if err := v.within("MakeTable", func() error { return <-done }); err != nil {
		t.Fatalf("make a table: %v", err)
	}
	v.commit(Insert(other, Null, Null))

	r, err := v.log.Read("c", h.partition(v.c.Producer)).Open(ctx, entrain.Position{})
	if err != nil {
		t.Fatalf("open a reader: %v", err)
	}
	defer r.Close()
	var order string
	for len(order) < 6 {
		b, err := r.Read(ctx)
		if err != nil {
			t.Fatalf("read after %q: %v", order, err)
		}
		for i := range b.Events {
			order += kindOf(t, &b.Events[i], d)
		}
		free(b)
	}
	if order != "iiiiDi" {
		t.Errorf("the events are %q; D is the definition, and comes between the transactions", order)
	}
	if pos := v.again(ctx); pos != v.durable.pos {
		t.Errorf("after a definition the position is %q, want %q", pos, v.durable.pos)
	}
}

// kindOf is i for an insert, D for the definition.
func kindOf(t testing.TB, e *entrain.Event, want *entrain.Definition) string {
	t.Helper()
	if e.Op != entrain.OpSchema {
		return "i"
	}
	if e.Schema == nil || e.Schema.Make == nil || fmt.Sprint(*e.Schema.Make) != fmt.Sprint(*want) {
		t.Errorf("the definition arrives as %+v", e.Schema)
	}
	if e.Table == nil || fmt.Sprint(*e.Table) != fmt.Sprint(*other) {
		t.Errorf("the definition is of %+v", e.Table)
	}
	return "D"
}

// again takes the position over by another writer and returns it.
func (v *river) again(ctx context.Context) entrain.Position {
	v.t.Helper()
	w, err := v.h.Log(v.t, v.c).Open(ctx)
	if err != nil {
		v.t.Fatalf("open a writer: %v", err)
	}
	v.t.Cleanup(func() { w.Close() })
	pos, err := w.(entrain.Positioner).Position(ctx)
	if err != nil {
		v.t.Fatalf("take over: %v", err)
	}
	return pos
}

// fill writes a few transactions, whole and in parts.
func (v *river) fill() {
	v.t.Helper()
	for i := range int64(5) {
		v.commit(std(100*i+1, Text("a"), filler(uint64(i), large), Null), std(100*i+2, Text("b"), Null, Null))
		v.part(std(100*i+3, Text("part"), filler(uint64(i), large), Null))
		v.write(v.batch(true, []entrain.Event{remove(100*i + 1)}, []entrain.Event{remove(100*i + 2)}))
	}
}

func streamReplay(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.fill()
	first := v.tap("c", at{})
	first.drain()
	seen := first.seen
	first.close()
	if len(seen) < 3 {
		t.Fatalf("only %d positions", len(seen))
	}
	for _, s := range seen {
		p := v.tap("c", s)
		p.drain()
		p.close()
	}
	v.restart()
	v.fill()
	for _, s := range seen {
		p := v.tap("c", s)
		p.drain()
		p.close()
	}
}

func streamCursors(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	slow, fast := v.tap("slow", at{}), v.tap("fast", at{})
	for range 3 {
		v.fill()
		fast.drain()
		fast.ack()
	}
	ctx, cancel := v.context()
	defer cancel()
	for slow.latest.events == 0 {
		if err := slow.read(ctx); err != nil {
			t.Fatalf("read: %v", err)
		}
	}
	slow.ack()
	fast.close()
	v.fill()
	slow.drain()
	slow.dry()
	fast = v.tap("fast", fast.latest)
	fast.drain()
	fast.dry()
}

// streamReaderFirst: a reader may wait before anything was written.
func streamReaderFirst(t testing.TB, h StreamHarness) {
	h.New(t)
	c := StreamConfig{Producer: "shop"}
	log := h.Log(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), patience(h.Patience))
	defer cancel()
	r, err := log.Read("c", h.partition(c.Producer)).Open(ctx, entrain.Position{})
	if err != nil {
		t.Fatalf("open a reader of an empty log: %v", err)
	}
	p := &tap{r: r}
	short, stop := context.WithTimeout(ctx, h.quiet())
	defer stop()
	if b, err := r.Read(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an empty log gives %v, %v", b, err)
	}
	v := joinRiver(t, h, c)
	p.v = v
	t.Cleanup(func() { r.Close() })
	v.fill()
	p.drain()
}

// streamManyInBatch: a batch of more transactions than a message holds is not
// divided inside one of them.
func streamManyInBatch(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	var txs [][]entrain.Event
	for i := range int64(300) {
		txs = append(txs, []entrain.Event{std(2*i, Null, filler(uint64(i), large), Null), std(2*i+1, Null, Null, Null)})
	}
	v.part(std(1000, Null, Null, Null))
	v.write(v.batch(true, txs...))
	v.commit(remove(0))
	v.tap("c", at{}).drain()
	v.restart()
	v.commit(remove(1))
	v.tap("c", at{}).drain()
}

// streamLarge: a large transaction comes out as it went in, and neither end keeps
// it.
func streamLarge(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	const each = 100
	rows := h.rows()
	body := filler(1, 1000)
	for i := 0; i < rows; i += each {
		events := make([]entrain.Event, each)
		for k := range events {
			events[k] = std(int64(10+i+k), Text("large"), body, Null)
		}
		v.part(events...)
	}
	v.write(v.batch(true, []entrain.Event{remove(1)}))
	v.commit(std(1, Null, Null, Null))
	p := v.tap("c", at{})
	before := heap()
	peak := before
	ctx, cancel := v.context()
	defer cancel()
	for n := 0; p.latest.events < len(v.events); n++ {
		if err := p.read(ctx); err != nil {
			t.Fatalf("read after event %d: %v", p.next, err)
		}
		if n%32 == 0 {
			peak = max(peak, heap())
		}
	}
	if h.Parts && p.parts == 0 {
		t.Errorf("a transaction of %d rows did not come in parts", rows)
	}
	const most = 48 << 20
	if got := peak - before; h.Parts && got > most {
		t.Errorf("reading a transaction of %d MB takes %d MB", rows/1000, got>>20)
	}
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// streamLargeRow: a row may be larger than a message.
func streamLargeRow(t testing.TB, h StreamHarness) {
	v := newRiver(t, h, StreamConfig{})
	v.commit(std(1, Null, Null, Null))
	v.commit(std(2, Null, filler(2, 3<<20), Null), std(3, Null, Null, Null))
	v.commit(std(4, Null, filler(4, 3<<20), Null))
	p := v.tap("c", at{})
	p.drain()
	v.restart()
	v.part(std(5, Null, filler(5, 3<<20), Null))
	v.restart()
	v.commit(std(5, Null, filler(6, 2<<20), Null))
	v.tap("c", p.latest).drain()
	v.tap("c", at{}).drain()
}

func streamTwoProducers(t testing.TB, h StreamHarness) {
	a := newRiver(t, h, StreamConfig{Producer: "shop"})
	b := joinRiver(t, h, StreamConfig{Producer: "stock.eu-1"})
	pa, pb := a.tap("c", at{}), b.tap("c", at{})
	for range 3 {
		a.fill()
		b.commit(std(1, Text("b"), filler(7, large), Null))
		b.part(std(2, Null, Null, Null))
		a.commit(empty())
		b.write(b.batch(true, []entrain.Event{remove(1)}))
		pa.drain()
		pb.drain()
		pa.ack()
		pb.ack()
	}
	a.restart() // checks the position
	b.restart()
	a.tap("c", pa.latest).dry()
	b.tap("c", pb.latest).dry()
	ctx, cancel := a.context()
	defer cancel()
	partitions, err := a.log.Partitions(ctx)
	if err != nil {
		t.Fatalf("list partitions: %v", err)
	}
	found := map[string]bool{}
	for _, p := range partitions {
		found[string(p)] = true
	}
	if h.Partition == nil && (len(found) != 2 || !found["shop"] || !found["stock.eu-1"]) {
		t.Errorf("partitions %v", partitions)
	}
}
