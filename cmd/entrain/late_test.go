package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// lateRecord is what a reader of the topic goes by.
type lateRecord struct {
	Class, Table, Op string
	Body             struct {
		ID, Key    string
		Version    place3
		RowVersion place3 `json:"row_version"`
		Event      json.RawMessage
	}
}

type place3 struct{ Era, Version, Ordinal int64 }

func (p place3) String() string { return fmt.Sprintf("%d %d %d", p.Era, p.Version, p.Ordinal) }

// end is the offset behind a topic's last record; 0 if there is no topic.
func (s *kafkaSite) end(t *testing.T, topic string) int64 {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.broker), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := kadm.NewClient(c).ListCommittedOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := all.Lookup(topic, 0)
	return max(0, at.Offset)
}

// records reads a topic up to its end, as it is committed.
func (s *kafkaSite) records(t *testing.T, topic string) (all []*kgo.Record) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.broker), kgo.DisableClientMetrics(), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		fetches := c.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return all
		}
		all = append(all, fetches.Records()...)
	}
}

// TestLateTopic: changes that come too late, of a delivery that was set back, are passed on to a topic, with both
// versions, whatever is killed in between (P1); those that are there are known by their ids.
func TestLateTopic(t *testing.T) {
	s := newKafkaSite(t)
	edit(t, s.file, "partitions: 3", "partitions: 1", `url: "${TARGET_URL}"}`, `url: "${TARGET_URL}", version_gate: true}`)
	pgtest.Exec(t, s.target, "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
	const rows = "2000"
	p := s.run(t)
	pgtest.Exec(t, s.source, "INSERT INTO orders SELECT i, 'old' FROM generate_series(1, "+rows+") i", "UPDATE orders SET note = 'new'")
	pgtest.Eventually(t, patience, "all rows", func() bool {
		return pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders WHERE note = 'new'") == rows
	})
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	pgtest.Exec(t, s.target, "UPDATE entrain.position SET position = '0/0' WHERE pipeline LIKE 'shop:warehouse:%'")
	p = s.run(t)
	const queue = "SELECT count(*) FROM entrain.reconciliation"
	pgtest.Eventually(t, patience, "late changes", func() bool { return pgtest.QueryOne(t, s.target, queue) == rows })
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	want := map[string]bool{}
	for _, line := range pgtest.Query(t, s.target, `SELECT concat_ws(' ', id, key, era, version, ordinal, row_era, row_version, row_ordinal) FROM entrain.reconciliation`) {
		want[line[0]] = true
	}
	topic := s.topic(t) + "-late"
	text := readText(t, s.file)
	if err := os.WriteFile(s.file, []byte(text+"reconciliation: {topic: "+topic+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		before := s.end(t, topic)
		p := s.started(t, "run")
		pgtest.Eventually(t, patience, "a part is passed on", func() bool {
			return s.end(t, topic) > before || pgtest.QueryOne(t, s.target, queue) == "0"
		})
		p.signal(t, syscall.SIGKILL)
		<-p.ended
	}
	p = s.run(t)
	pgtest.Eventually(t, patience, "all is passed on", func() bool { return pgtest.QueryOne(t, s.target, queue) == "0" })
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	invoke(t, s.env, "check", s.file).want(t, exitOK)
	keys := map[string]bool{}
	for _, r := range s.records(t, topic) {
		var l lateRecord
		if err := json.Unmarshal(r.Value, &l); err != nil {
			t.Fatal(err)
		}
		b := &l.Body
		line := strings.Join([]string{b.ID, b.Key, b.Version.String(), b.RowVersion.String()}, " ")
		if !want[line] || l.Class != "stale" || l.Table != "public.orders" || l.Op != "insert" || !strings.Contains(string(b.Event), `"old"`) ||
			!strings.HasPrefix(string(r.Key), "shop:warehouse::reconciliation/"+b.ID+"@") {
			t.Fatalf("a record %s\n%.600s", r.Key, r.Value)
		}
		keys[string(r.Key)] = true
	}
	if len(keys) != len(want) {
		t.Errorf("%d of %d late changes are in the topic", len(keys), len(want))
	}
}

// TestLateTopicNeedsBrokers: which brokers a topic of late changes is at, or why none are.
func TestLateTopicNeedsBrokers(t *testing.T) {
	const (
		from  = "name: shop\nsource: {type: postgres, url: 'postgres://db/shop'}\n"
		gate  = "sink: {type: postgres, url: 'postgres://db/copy', version_gate: true}\n"
		kafka = "stream: {type: kafka, brokers: ['db:9092']}\n"
		topic = "reconciliation: {topic: late}\n"
	)
	for text, says := range map[string]string{
		from + gate + kafka + topic: "",
		from + gate + topic:         ":4:25: the brokers of this topic",
		from + strings.Replace(gate, "true", "false", 1) + kafka + topic:         "no sink has a version gate",
		from + gate + kafka + "reconciliation: {topic: 'a b'}\n":                 "cannot be a topic's name",
		from + gate + strings.Replace(kafka, "]}", "], topic: late}", 1) + topic: "is the stream's own",
	} {
		p, _ := talk(source)
		l, err := p.load(writeFile(t, text))
		switch {
		case says == "" && err != nil:
			t.Errorf("%s\n%v", text, err)
		case says == "" && len(l.lateEnds()) != 1:
			t.Errorf("%s\npasses on from %d sinks", text, len(l.lateEnds()))
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("%s\ngives %v, want %s", text, err, says)
		}
	}
}
