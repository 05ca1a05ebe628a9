package kafka

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// strange is another program that writes into the topic of a log; with an id it does
// so in transactions.
func strange(t *testing.T, address, topic, id string) func(*kgo.Record) {
	t.Helper()
	var more []kgo.Opt
	if id != "" {
		more = append(more, kgo.TransactionalID(id))
	}
	c := consumer(t, address, topic, more...)
	t.Cleanup(c.Close)
	return func(r *kgo.Record) {
		t.Helper()
		r.Topic = topic
		if id != "" {
			if err := c.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if id != "" {
			if err := c.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// bulky is a transaction of n rows of a size.
func bulky(version uint64, n, size int) *entrain.Batch {
	null, body := entraintest.Null, entraintest.Text(strings.Repeat("x", size))
	var events []entrain.Event
	for i := range n {
		events = append(events, entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(version*1000+uint64(i))), body, null, null))
	}
	return batchOf(version, events...)
}

// interrupted writes a transaction with something in between its four parts.
func interrupted(t *testing.T, w entrain.Writer, whole *entrain.Batch, between func()) {
	t.Helper()
	const parts = 4
	n := len(whole.Events)
	for i := 0; i < n; i += n / parts {
		b := *whole
		b.Events = whole.Events[i:min(i+n/parts, n)]
		if i+n/parts >= n {
			write(t, w, &b)
			return
		}
		write(t, w, part(&b))
		if err := w.(*exactWriter).client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		between()
	}
}

// batches reads a partition until n events came; each batch is given by how many events
// it has, a part with a minus.
func batches(t *testing.T, l *Log, n int) (sizes []int) {
	t.Helper()
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for got := 0; got < n; {
		b, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if want := uint64(1+got/each)*1000 + uint64(got%each); keyOf(&e) != fmt.Sprint(want) {
				t.Fatalf("event %d has the key %s, want %d", got, keyOf(&e), want)
			}
			got++
		}
		if size := len(b.Events); b.Through.IsZero() {
			sizes = append(sizes, -size)
		} else {
			sizes = append(sizes, size)
		}
		b.Free()
	}
	return sizes
}

// each is how many rows a transaction of the test has.
const each = 40

// TestForeignTombstone: a record without a value that another program put into the middle
// of a transaction does not take it apart (P4), nor does the marker behind it, if that
// program has transactions; also where the transaction is so large that its parts are
// handed out.
func TestForeignTombstone(t *testing.T) {
	address := broker(t)
	for name, c := range map[string]struct {
		size int
		id   string
	}{"small": {10, ""}, "large": {100 << 10, ""}, "with transactions": {10, "other"}, "large, with transactions": {100 << 10, "another"}} {
		t.Run(name, func(t *testing.T) {
			id := unique()
			l := newTestLog(t, address, id, nil)
			w, _ := producer(t, l)
			if c.id != "" {
				c.id = id + c.id
			}
			put := strange(t, address, l.name, c.id)
			for tx := range uint64(2) {
				interrupted(t, w, bulky(tx+1, each, c.size), func() { put(&kgo.Record{Key: []byte("k")}) })
			}
			settle(t, address, id)
			sizes := batches(t, l, 2*each)
			ends, parts, before := 0, 0, 0
			for _, n := range sizes {
				before += max(n, -n)
				if n < 0 {
					parts++
					continue
				}
				ends++
				if before%each != 0 {
					t.Errorf("a position stands behind event %d, in the middle of a transaction: batches of %v", before, sizes)
				}
			}
			if ends == 0 || c.size > 1000 && parts < 3 {
				t.Errorf("%d ends and %d parts: batches of %v", ends, parts, sizes)
			}
		})
	}
}

// TestForeignMiddle: what is no event of ours and stands in the middle of a transaction
// is a stop before anything of that transaction; what was whole before it is delivered.
func TestForeignMiddle(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	put := strange(t, address, l.name, "")
	write(t, w, batchOf(1, row("1")))
	interrupted(t, w, bulky(2, 8, 10), func() { put(&kgo.Record{Value: []byte("hello")}) })
	settle(t, address, id)
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b := readOne(t, r); len(b.Events) != 1 || b.Through.IsZero() {
		t.Errorf("%d events and %v", len(b.Events), b.Through)
	}
	_, err = r.Read(t.Context())
	if stop := wantStop(t, err, "stream_foreign"); !strings.Contains(stop.Next, "cannot be passed over") {
		t.Errorf("the advice is %s", stop.Next)
	}
}

// TestForeignBetween: two of the source's transactions in one of Kafka's, with a record of
// others in between: what is before it is delivered, and the stop says how to go on behind.
func TestForeignBetween(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, part(batchOf(1, row("1"))))
	if err := w.(*exactWriter).client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	strange(t, address, l.name, "")(&kgo.Record{Value: []byte("hello")})
	write(t, w, batchOf(2, row("2")))
	settle(t, address, id)
	r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := readOne(t, r)
	if len(first.Events) != 1 || keyOf(&first.Events[0]) != "1" || first.Through.IsZero() {
		t.Errorf("%d events through %v", len(first.Events), first.Through)
	}
	_, err = r.Read(t.Context())
	m := passOver.FindStringSubmatch(wantStop(t, err, "stream_foreign").Next)
	if m == nil {
		t.Fatalf("no position that passes it over: %v", err)
	}
	behind, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{Incarnation: first.Through.Incarnation, Offset: m[1]})
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	if b := readOne(t, behind); len(b.Events) != 1 || keyOf(&b.Events[0]) != "2" {
		t.Errorf("behind it: %v", b.Events)
	}
}

func readOne(t *testing.T, r entrain.Reader) *entrain.Batch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := r.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var passOver = regexp.MustCompile(`set this sink's position to '(\d+/\d+)'`)

// TestLogForeignRecord: what is no event of ours is named, not passed over, and what
// comes before it is delivered; from the position that the stop prints it goes on behind
// it.
func TestLogForeignRecord(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, batchOf(1, row("1")))
	settle(t, address, id)
	strange(t, address, l.name, "")(&kgo.Record{Value: []byte("hello")})
	write(t, w, batchOf(2, row("2")))
	settle(t, address, id)
	read := func(from entrain.Position) (entrain.Reader, *entrain.Batch) {
		r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r, readOne(t, r)
	}
	r, first := read(entrain.Position{})
	_, err := r.Read(t.Context())
	stop := wantStop(t, err, "stream_foreign")
	m := passOver.FindStringSubmatch(stop.Next)
	if m == nil || !strings.Contains(stop.Next, "--partition 0 --offset 2 --max-messages 1") || !strings.Contains(stop.What, "offset 2 of partition 0") {
		t.Fatalf("it says %s; %s", stop.What, stop.Next)
	}
	_, second := read(entrain.Position{Incarnation: first.Through.Incarnation, Offset: m[1]})
	for i, b := range []*entrain.Batch{first, second} {
		if len(b.Events) != 1 || keyOf(&b.Events[0]) != fmt.Sprint(i+1) {
			t.Errorf("batch %d has %d events: %v", i+1, len(b.Events), b.Events)
		}
	}
}

// keyOf is an inserted row's first column.
func keyOf(e *entrain.Event) string {
	value, _ := e.After.Column(0, len(e.Table.Columns))
	return string(value)
}
