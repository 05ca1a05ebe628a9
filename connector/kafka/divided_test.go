package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// TestDividedTruncate: where each partition is delivered by itself, the truncate of a
// table whose rows are spread would take away rows that came after it (P1). That of a
// table that has one partition goes there only, also out of a truncate of several.
func TestDividedTruncate(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, func(c *LogConfig) { c.Partitions = 3 })
	first, second := *entraintest.StandardTable(), *entraintest.StandardTable()
	first.Name, first.FullIdentity = "first", true
	second.Name, second.FullIdentity = "second", true
	first.Version, second.Version = first.Fingerprint(), second.Fingerprint()
	w, _ := producer(t, l)
	write(t, w, batchOf(1, entraintest.Truncate(&first, &second)))
	table := entraintest.StandardTable()
	stop := wantStop(t, w.Write(t.Context(), batchOf(2, row("1"), entraintest.Truncate(table))), "truncate_divided")
	if !stop.Data || !strings.Contains(stop.Next, fmt.Sprintf("%q", table.Schema+"."+table.Name)) {
		t.Errorf("the stop is %+v", stop)
	}
	w.Close()
	w, _ = producer(t, l)
	first.Shadow = true
	wantStop(t, w.Write(t.Context(), batchOf(2, row("1"), entraintest.Truncate(&first))), "stream_divided")
	w.Close()
	w, _ = producer(t, l)
	write(t, w, batchOf(2, row("1")))
	settle(t, address, id)
	truncates := map[string]int{}
	rows := 0
	for p := range int32(3) {
		got, _ := drain(t, l, l.partition(p), entrain.Position{})
		for _, e := range got {
			if e.Op == entrain.OpInsert {
				rows++
				continue
			}
			if len(e.Truncate.Tables) != 1 || p != int32(xxh64([]byte(e.Truncate.Tables[0].String()))%3) {
				t.Errorf("partition %d has %v", p, e.Truncate.Tables)
			}
			truncates[e.Truncate.Tables[0].Name]++
		}
	}
	if rows != 1 || fmt.Sprint(truncates) != "map[first:1 second:1]" {
		t.Errorf("%d rows, truncates of %v", rows, truncates)
	}
	wantStop(t, l.Divided(t.Context()), "stream_divided")
	if err := newTestLog(t, address, unique(), nil).Divided(t.Context()); err != nil {
		t.Errorf("one partition: %v", err)
	}
}

// TestTopicGrew: keys would move to other partitions, away from what may not have
// been delivered yet. That is a stop before the first of them, whether FILE says a
// number or not, until the number is forgotten.
func TestTopicGrew(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, batchOf(1, row("1")))
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		made, err := adm.UpdatePartitions(ctx, 7, id+".changes")
		if err == nil {
			err = made.Error()
		}
		return err
	})
	write(t, w, batchOf(2, row("2"))) // the session keeps the number that it met
	w.Close()
	w, at := producer(t, l)
	stop := wantStop(t, w.Write(t.Context(), batchOf(3, row("3"))), "topic_repartitioned")
	if want := "echo 'topic/" + id + ".changes|NULL' |"; at.Offset != "2" || !strings.Contains(stop.Next, want) {
		t.Fatalf("from %v the advice is %s", at, stop.Next)
	}
	w.Close()
	c := consumer(t, address, id+".changes")
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: id + ".state", Key: []byte("topic/" + id + ".changes")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	w, _ = producer(t, l)
	write(t, w, batchOf(3, row("3")))
	w.Close()
	w, _ = producer(t, l) // the new number is noted
	write(t, w, batchOf(4, row("4")))
}

// TestKeyDivided: where what identifies a row changes, a row's changes would be in
// two partitions. That is a stop before the first of them, until the old ones are
// said to be delivered; a key that only gets a wider type moves nothing.
func TestKeyDivided(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, func(c *LogConfig) { c.Partitions = 3 })
	shape := func(change func(columns []entrain.Column) bool) *entrain.Table {
		table := *entraintest.StandardTable()
		table.Columns = slices.Clone(table.Columns)
		table.FullIdentity = change(table.Columns)
		table.Version = table.Fingerprint()
		return &table
	}
	cells := func(table *entrain.Table) []entraintest.Cell {
		all := make([]entraintest.Cell, len(table.Columns))
		for i := range all {
			all[i] = entraintest.Text("1")
		}
		return all
	}
	key := slices.IndexFunc(entraintest.StandardTable().Columns, func(c entrain.Column) bool { return c.Key })
	narrow := shape(func(c []entrain.Column) bool { c[key].Type = "int4"; return false })
	wide := shape(func(c []entrain.Column) bool { c[key].Type = "int8"; return false })
	w, _ := producer(t, l)
	write(t, w, batchOf(1, entraintest.Insert(narrow, cells(narrow)...)))
	write(t, w, batchOf(2, entraintest.Insert(wide, cells(wide)...)))
	w.Close()
	at := uint64(2)
	for name, table := range map[string]*entrain.Table{
		"another column": shape(func(c []entrain.Column) bool { c[key].Key, c[1-key].Key = false, true; return false }),
		"a type":         shape(func(c []entrain.Column) bool { c[key].Type = "uuid"; return false }),
		"all columns":    shape(func([]entrain.Column) bool { return true }),
	} {
		w, from := producer(t, l)
		if want := strconv.FormatUint(at, 10); from.Offset != want {
			t.Fatalf("%s: begins at %v, want %s", name, from, want)
		}
		stop := wantStop(t, w.Write(t.Context(), batchOf(at+1, entraintest.Insert(table, cells(table)...))), "key_divided")
		forget := "rows/" + table.String()
		if !strings.Contains(stop.Next, "echo '"+forget+"|NULL' |") || !stop.Data {
			t.Errorf("%s: the advice is %s", name, stop.Next)
		}
		w.Close()
		c := consumer(t, address, id+".changes")
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: id + ".state", Key: []byte(forget)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		c.Close()
		w, _ = producer(t, l)
		at++
		write(t, w, batchOf(at, entraintest.Insert(table, cells(table)...)))
		w.Close()
	}
}
