package packed_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream/packed"
)

// desk is a log with a writer and one cursor that has read everything, so that what
// another cursor would need first is gone.
type desk struct {
	t   *testing.T
	log *packed.Log
	w   entrain.Writer
	n   int
}

func newDesk(t *testing.T, store *packed.Memory) *desk {
	log, err := packed.New(packed.Config{Backend: store, Producer: "shop", Every: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, log: log}
	log.Cursors([]string{"shop.old"})
	if d.w, err = log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.w.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// write writes one event of the table as a transaction of its own.
func (d *desk) write(op entrain.Op, table *entrain.Table, key string) {
	d.t.Helper()
	d.n++
	e := entraintest.Insert(table, entraintest.Text(key), entraintest.Null, entraintest.Null, entraintest.Null)
	e.Op, e.Tx = op, &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "inc"}, Version: uint64(d.n)}
	through := entrain.Position{Incarnation: "inc", Offset: fmt.Sprint(d.n)}
	if err := d.w.Write(d.t.Context(), &entrain.Batch{Events: []entrain.Event{e}, Through: through}); err != nil {
		d.t.Fatal(err)
	}
}

// read reads what is there and returns the operations, with a star if the event
// settles, and the last position.
func (d *desk) read(cursor string, from entrain.Position, n int) ([]string, entrain.Position) {
	d.t.Helper()
	r, err := d.log.Read(cursor, "shop").Open(d.t.Context(), from)
	if err != nil {
		d.t.Fatal(err)
	}
	var all []string
	for len(all) < n {
		b, err := r.Read(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range b.Events {
			text := e.Op.String()
			if e.Settling {
				text += "*"
			}
			all = append(all, text)
		}
		if b.Free != nil {
			b.Free()
		}
		if from = b.Through; r.Ack(d.t.Context(), from) != nil {
			d.t.Fatal("not acknowledged")
		}
	}
	<-time.After(3 * time.Second) // the cursor is stored
	if err := r.Close(); err != nil {
		d.t.Fatal(err)
	}
	return all, from
}

func (d *desk) overrun(cursor string, from entrain.Position) {
	d.t.Helper()
	r, err := d.log.Read(cursor, "shop").Open(d.t.Context(), from)
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != "stream_overrun" || !strings.Contains(stop.Next, "--sink new") {
		d.t.Fatalf("open: %v", err)
	}
	if r != nil {
		r.Close()
	}
}

// TestBegin: a cursor whose beginning is gone begins where it is told to: with
// definitions, then with changes that settle until the first row of their table, also
// in a later session. A cursor that has lost its position does not begin there again.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &packed.Memory{})
		defer d.w.Close()
		table := entraintest.StandardTable()
		expect := func(got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Fatalf("read %q, want %q", got, want)
			}
		}
		for range 3 {
			d.write(entrain.OpInsert, table, "1")
		}
		d.read("shop.old", entrain.Position{}, 3)
		d.log.Cursors([]string{"shop.old", "shop.new"})
		d.overrun("shop.new", entrain.Position{})
		d.write(entrain.OpInsert, table, "2")
		begin := func() {
			t.Helper()
			if err := d.log.Begin(t.Context(), "shop.new", []entrain.ChunkTable{{Table: table}}); err != nil {
				t.Fatal(err)
			}
		}
		begin()
		d.write(entrain.OpInsert, table, "3")
		got, at := d.read("shop.new", entrain.Position{}, 2)
		expect(got, "schema", "insert*")
		begin() // again, by a person who does not know
		d.write(entrain.OpDelete, table, "3")
		d.write(entrain.OpRead, table, "4")
		d.write(entrain.OpInsert, table, "5")
		got, at = d.read("shop.new", at, 4)
		expect(got, "schema", "delete*", "read", "insert")
		d.write(entrain.OpInsert, table, "6")
		got, _ = d.read("shop.new", at, 1)
		expect(got, "insert")
		<-time.After(5 * time.Second)
		d.overrun("shop.new", entrain.Position{})
	})
}

// TestBeginNobody: a cursor that lacks nothing goes on as ever, and what was written
// before somebody began is not left out for it.
func TestBeginNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &packed.Memory{})
		defer d.w.Close()
		table := entraintest.StandardTable()
		d.write(entrain.OpInsert, table, "1")
		if err := d.log.Begin(t.Context(), "shop.old", []entrain.ChunkTable{{Table: table}}); err != nil {
			t.Fatal(err)
		}
		d.write(entrain.OpInsert, table, "2")
		got, at := d.read("shop.old", entrain.Position{}, 3)
		d.write(entrain.OpInsert, table, "3")
		again, _ := d.read("shop.old", at, 1)
		if all := append(got, again...); !slices.Equal(all, []string{"insert", "schema", "insert", "insert"}) {
			t.Errorf("read %q", all)
		}
	})
}
