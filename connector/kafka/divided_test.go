package kafka

import (
	"context"
	"fmt"
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
	for i, table := range []*entrain.Table{entraintest.StandardTable(), {Schema: "public", Name: "d", FullIdentity: true, Shadow: true}} {
		stop := wantStop(t, w.Write(t.Context(), batchOf(2, row("1"), entraintest.Truncate(table))), "truncate_divided")
		if !stop.Data || !strings.Contains(stop.Next, fmt.Sprintf("%q", table.Schema+"."+table.Name)) {
			t.Errorf("the stop is %+v", stop)
		}
		w.Close()
		if w, _ = producer(t, l); i == 1 {
			write(t, w, batchOf(2, row("1")))
		}
	}
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
