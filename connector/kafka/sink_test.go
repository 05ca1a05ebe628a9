package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/entraintest"
)

var history = &entrain.Stream{Source: "shop", Incarnation: "inc"}

// batchOf is one transaction with a position.
func batchOf(version uint64, events ...entrain.Event) *entrain.Batch {
	tx := &entrain.Transaction{Stream: history, ID: version, Version: version, CommitTime: time.Unix(1_790_000_000, 0)}
	for i := range events {
		events[i].Tx, events[i].Ordinal = tx, uint64(i)
	}
	return &entrain.Batch{Events: events, Through: entrain.Position{Incarnation: "inc", Offset: fmt.Sprint(version)}}
}

// part is a batch without its end.
func part(b *entrain.Batch) *entrain.Batch {
	b.Through = entrain.Position{}
	return b
}

func open(t testing.TB, s *Sink) (entrain.Writer, entrain.Position) {
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

func write(t testing.TB, w entrain.Writer, batches ...*entrain.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := w.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

func row(id string) entrain.Event {
	return entraintest.Insert(entraintest.StandardTable(), entraintest.Text(id), entraintest.Text("name"), entraintest.Text("body"), entraintest.Null)
}

// show tells records as key headers value, headers and values in short form.
func show(all []*kgo.Record) string {
	var out strings.Builder
	for _, r := range all {
		fmt.Fprintf(&out, "%d %s", r.Partition, shorten(r.Key))
		for _, h := range r.Headers {
			value := string(h.Value)
			if h.Key == headerVersion {
				value = "…"
			}
			fmt.Fprintf(&out, " %s=%s", strings.TrimPrefix(h.Key, "entrain-"), value)
		}
		value, _, _ := strings.Cut(string(r.Value), `,"tx":`)
		value = strings.ReplaceAll(value, fingerprint(entraintest.StandardTable().Version), "…")
		if r.Value == nil {
			value = "null"
		}
		_, value, _ = strings.Cut(" "+value, `"op":`)
		fmt.Fprintf(&out, " | %s\n", value)
	}
	return out.String()
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestRecords: what a key, the headers and the value of each operation are.
func TestRecords(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := open(t, newTestSink(t, address, id, nil))
	table := entraintest.StandardTable()
	text, null, same := entraintest.Text, entraintest.Null, entraintest.Unchanged
	write(t, w, batchOf(1, row("7"),
		entraintest.Update(table, text("7"), null, same, text("1.5")),
		entraintest.Rekey(table, []string{"7"}, text("8"), null, text("body"), null),
		entraintest.Rekey(table, []string{"8"}, text("9"), null, same, null),
		entraintest.Delete(table, "9"),
		entraintest.Truncate(table, table)))
	settle(t, address, id)
	compare(t, show(records(t, address, id+".public.conformance")), `
0 {"id":7} id=shop/inc/1/0 op=insert schema-version=… | "insert","schema":"public","table":"conformance","schema_version":"…","after":{"id":7,"name":"name","body":"body","n":null}
0 {"id":7} id=shop/inc/1/1 op=update schema-version=… | "update","schema":"public","table":"conformance","schema_version":"…","after":{"id":7,"name":null,"n":"1.5"},"unchanged":["body"]
0 {"id":7} id=shop/inc/1/2 op=delete schema-version=… new-key={"id":8} | "delete","schema":"public","table":"conformance","schema_version":"…","before":{"id":7}
0 {"id":7} id=shop/inc/1/2 op=delete schema-version=… new-key={"id":8} | 
0 {"id":8} id=shop/inc/1/2 op=insert schema-version=… old-key={"id":7} | "insert","schema":"public","table":"conformance","schema_version":"…","after":{"id":8,"name":null,"body":"body","n":null}
0 {"id":9} id=shop/inc/1/3 op=update schema-version=… old-key={"id":8} | "update","schema":"public","table":"conformance","schema_version":"…","before":{"id":8},"after":{"id":9,"name":null,"n":null},"unchanged":["body"]
0 {"id":8} id=shop/inc/1/3 op=update schema-version=… new-key={"id":9} | 
0 {"id":9} id=shop/inc/1/4 op=delete schema-version=… | "delete","schema":"public","table":"conformance","schema_version":"…","before":{"id":9}
0 {"id":9} id=shop/inc/1/4 op=delete schema-version=… | 
0 null id=shop/inc/1/5 op=truncate schema-version=… | "truncate","tables":[{"schema":"public","table":"conformance","schema_version":"…"},{"schema":"public","table":"conformance","schema_version":"…"}],"cascade":false,"restart_identity":false
`)
}

// TestOtherEvents: messages have a topic of their own, events of a table that are
// about no row go to its topic, rows without a key to one partition.
func TestOtherEvents(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.Partitions, c.MessageTopic = 5, id+".messages" }))
	table := *entraintest.StandardTable()
	table.Name, table.FullIdentity = "full", true
	table.Version = table.Fingerprint()
	first := entraintest.Insert(&table, entraintest.Text("1"), entraintest.Null, entraintest.Null, entraintest.Null)
	second := entraintest.Insert(&table, entraintest.Text("2"), entraintest.Null, entraintest.Null, entraintest.Null)
	write(t, w, batchOf(1, first, second, entrain.Event{Op: entrain.OpReadEnd, Table: &table},
		entraintest.Message("audit", "who"), entrain.Event{Op: entrain.OpReadEnd}))
	settle(t, address, id)
	where := partitionBy("xxh64")([]byte("public.full"), 5)
	if got := records(t, address, id+".public.full"); len(got) != 3 || got[0].Partition != where || got[1].Partition != where ||
		got[2].Partition != where || got[0].Key != nil {
		t.Errorf("rows without a key are not together in partition %d:\n%s", where, show(got))
	}
	compare(t, show(records(t, address, id+".messages")), `
0 null id=shop/inc/1/3 op=message | "message","prefix":"audit","transactional":true,"content":"who"
0 null id=shop/inc/1/4 op=read_end | "read_end"
`)
}

// TestKeysStayInTheirPartition: all changes of a key are in one partition, which
// any client can compute, and a key that changes moves only as a whole row.
func TestKeysStayInTheirPartition(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, func(c *SinkConfig) { c.Partitions, c.Partitioner = 7, "murmur2" })
	w, _ := open(t, sink)
	table := entraintest.StandardTable()
	var events []entrain.Event
	for i := range 50 {
		events = append(events, row(fmt.Sprint(i)))
	}
	events = append(events, entraintest.Rekey(table, []string{"1"}, entraintest.Text("99"), entraintest.Null, entraintest.Null, entraintest.Null))
	write(t, w, batchOf(1, events...))
	settle(t, address, id)
	used := map[int32]bool{}
	for _, r := range records(t, address, id+".public.conformance") {
		if want := partitionBy("murmur2")(r.Key, 7); r.Partition != want {
			t.Errorf("key %s is in partition %d, want %d", r.Key, r.Partition, want)
		}
		used[r.Partition] = true
	}
	if len(used) < 5 {
		t.Errorf("only the partitions %v are used", used)
	}
	partial := entraintest.Rekey(table, []string{"2"}, entraintest.Text("98"), entraintest.Null, entraintest.Unchanged, entraintest.Null)
	stop := wantStop(t, w.Write(t.Context(), batchOf(2, partial)), "key_change_incomplete")
	if stop.Table != table || !strings.Contains(stop.Next, `ALTER TABLE "public"."conformance" REPLICA IDENTITY FULL`) {
		t.Errorf("the stop is about %v and advises %s", stop.Table, stop.Next)
	}
}

func TestFormats(t *testing.T) {
	address := broker(t)
	for format, want := range map[string]string{
		"flat": `
0 {"id":7} id=shop/inc/1/0 op=insert schema-version=… | 
0 {"id":7} id=shop/inc/1/1 op=delete schema-version=… | 
0 {"id":7} id=shop/inc/1/1 op=delete schema-version=… | 
0 null id=shop/inc/1/2 op=truncate schema-version=… | `,
		"cloudevents": `
0 {"id":7} ce_specversion=1.0 ce_id=shop/inc/1/0 ce_source=urn:entrain:shop ce_type=io.entrain.change.insert ce_subject=public.conformance ce_time=2026-09-21T14:13:20.000000Z ce_dataschema=urn:entrain:shape:… content-type=application/json | "in
0 {"id":7} ce_specversion=1.0 ce_id=shop/inc/1/1 ce_source=urn:entrain:shop ce_type=io.entrain.change.delete ce_subject=public.conformance ce_time=2026-09-21T14:13:20.000000Z ce_dataschema=urn:entrain:shape:… content-type=application/json | "de
0 {"id":7} ce_specversion=1.0 ce_id=shop/inc/1/1 ce_source=urn:entrain:shop ce_type=io.entrain.change.delete ce_subject=public.conformance ce_time=2026-09-21T14:13:20.000000Z ce_dataschema=urn:entrain:shape:… content-type=application/json | 
0 null ce_specversion=1.0 ce_id=shop/inc/1/2 ce_source=urn:entrain:shop ce_type=io.entrain.change.truncate ce_subject=public.conformance ce_time=2026-09-21T14:13:20.000000Z content-type=application/json | "tr
`,
		"debezium": `
0 {} | "c"
0 {} | "d"
0 {} | 
0 null | "t"`,
	} {
		id := unique()
		sink := newTestSink(t, address, id, func(c *SinkConfig) {
			c.Format = format
			if format == "debezium" {
				c.Topic, c.Debezium = "", &encoding.DebeziumOptions{TopicPrefix: id, ProvideTransactionMetadata: true}
			}
		})
		w, _ := open(t, sink)
		table := entraintest.StandardTable()
		write(t, w, batchOf(1, row("7"), entraintest.Delete(table, "7"), entraintest.Truncate(table)))
		settle(t, address, id)
		var got strings.Builder
		for line := range strings.Lines(show(records(t, address, id+".public.conformance"))) {
			head, value, _ := strings.Cut(line, " | ")
			head = strings.ReplaceAll(head, fingerprint(entraintest.StandardTable().Version), "…")
			got.WriteString(head + " | " + value[:min(3, len(value)-1)] + "\n")
		}
		compare(t, got.String(), want)
		if format == "debezium" {
			if n := len(records(t, address, id+".transaction")); n != 2 {
				t.Errorf("%d records of transactions, want BEGIN and END", n)
			}
		}
	}
}

// TestZombie: a session that was taken over for dead writes nothing more, and
// what it had not ended is gone (P2).
func TestZombie(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	old, at := open(t, sink)
	if !at.IsZero() {
		t.Fatalf("a new producer is at %v", at)
	}
	write(t, old, batchOf(1, row("1")), part(batchOf(2, row("2"))))
	young, at := open(t, sink)
	if at.Offset != "1" || at.Incarnation != "inc" {
		t.Errorf("taken over at %v, want 1", at)
	}
	stop := wantStop(t, old.Write(t.Context(), batchOf(2, row("3"))), "fenced")
	if !strings.Contains(stop.What, id) {
		t.Errorf("the stop does not name the producer: %s", stop.What)
	}
	old.Close()
	write(t, young, batchOf(2, row("2"), row("3")))
	settle(t, address, id)
	var got []string
	for _, r := range records(t, address, id+".public.conformance") {
		got = append(got, string(r.Key))
	}
	if fmt.Sprint(got) != `[{"id":1} {"id":2} {"id":3}]` {
		t.Errorf("the topic has %v", got)
	}
}

// TestTooLarge: a row that the brokers do not take is a stop that names it and
// what to set, and what it advises is enough.
func TestTooLarge(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := open(t, newTestSink(t, address, id, nil))
	write(t, w, batchOf(1, row("1")))
	large := entraintest.Insert(entraintest.StandardTable(), entraintest.Text("2"), entraintest.Null,
		entraintest.Text(strings.Repeat("x", 1_100_000)), entraintest.Null)
	stop := wantStop(t, w.Write(t.Context(), batchOf(2, large)), "message_too_large")
	topic := id + ".public.conformance"
	for _, want := range []string{topic, `{"id":2}`, "shop/inc/2/0", "after position 1", "1100"} {
		if !strings.Contains(stop.What, want) {
			t.Errorf("the stop does not say %s: %s", want, stop.What)
		}
	}
	var refused *entrain.BatchError
	if !errors.As(stop, &refused) || refused.Failed[0].ID != "shop/inc/2/0" || refused.Failed[0].Op != entrain.OpInsert {
		t.Errorf("the event is not named: %v", refused)
	}
	const advice = "--add-config max.message.bytes=2097152; set max_message_bytes: 2097152"
	if !strings.Contains(stop.Next, advice) {
		t.Fatalf("the advice is %s", stop.Next)
	}
	alter(t, address, topic, map[string]string{"max.message.bytes": "2097152"})
	w, at := open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.MaxMessageBytes = 2097152 }))
	if at.Offset != "1" {
		t.Errorf("the position is %v, want 1", at)
	}
	write(t, w, batchOf(2, large))
}

// alter sets what kafka-configs.sh --alter would.
func alter(t testing.TB, address, topic string, set map[string]string) {
	t.Helper()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		var configs []kadm.AlterConfig
		for name, value := range set {
			configs = append(configs, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
		}
		done, err := adm.AlterTopicConfigs(ctx, configs, topic)
		if err == nil {
			err = done[0].Err
		}
		return err
	})
}

func admin(t testing.TB, address string, do func(ctx context.Context, adm *kadm.Client) error) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := do(t.Context(), kadm.NewClient(c)); err != nil {
		t.Fatal(err)
	}
}

// TestTopics: they are made as the configuration says, or their lack is a stop
// with the command.
func TestTopics(t *testing.T) {
	address, id := broker(t), unique()
	no := false
	missing := newTestSink(t, address, id, func(c *SinkConfig) { c.Create = &no })
	w, err := missing.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.(entrain.Positioner).Position(t.Context())
	stop := wantStop(t, err, "topic_missing")
	if want := fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s.state --partitions 1 --config cleanup.policy=compact", address, id); stop.Next != want {
		t.Errorf("the advice is %s, want %s", stop.Next, want)
	}
	w.Close()

	w, _ = open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.Partitions, c.Retention = 3, time.Hour }))
	write(t, w, batchOf(1, row("1")))
	w.Close()
	topic := id + ".public.conformance"
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		configs, err := adm.DescribeTopicConfigs(ctx, topic, id+".state")
		if err != nil {
			return err
		}
		want := map[string]string{topic + " retention.ms": "3600000", id + ".state cleanup.policy": "compact"}
		for _, of := range configs {
			for _, c := range of.Configs {
				if v, asked := want[of.Name+" "+c.Key]; asked && v != *c.Value {
					t.Errorf("%s has %s %s, want %s", of.Name, c.Key, *c.Value, v)
				}
			}
		}
		return nil
	})

	w, _ = open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.Partitions = 4 }))
	stop = wantStop(t, w.Write(t.Context(), batchOf(2, row("2"))), "topic_partitions")
	if !strings.Contains(stop.Next, "--alter --topic "+topic+" --partitions 4") {
		t.Errorf("the advice is %s", stop.Next)
	}
	w.Close()
	w, _ = open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.Create = &no })) // all are there
	write(t, w, batchOf(2, row("2")))
}

// TestTopicMadeAnew: what was confirmed was in the topic that is gone, so that
// going on silently would be a gap (P5). Forgetting it is an order.
func TestTopicMadeAnew(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	topic := id + ".public.conformance"
	w, _ := open(t, sink)
	write(t, w, batchOf(1, row("1")))
	w.Close()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		remove(ctx, t, adm, topic)
		return nil
	})
	w, _ = open(t, sink)
	wantStop(t, w.Write(t.Context(), batchOf(2, row("2"))), "topic_recreated")
	w.Close()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, 1, -1, nil, topic)
		return err
	})
	w, _ = open(t, sink)
	stop := wantStop(t, w.Write(t.Context(), batchOf(2, row("2"))), "topic_recreated")
	w.Close()
	if want := "echo 'topic/" + topic + "|NULL' |"; !strings.Contains(stop.Next, want) {
		t.Fatalf("the advice is %s", stop.Next)
	}
	c := consumer(t, address, topic)
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: id + ".state", Key: []byte("topic/" + topic)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	w, at := open(t, sink)
	if at.Offset != "1" {
		t.Errorf("the position is %v, want 1", at)
	}
	write(t, w, batchOf(2, row("2")))
}

// TestNobodyThere: brokers that do not answer are tried again.
func TestNobodyThere(t *testing.T) {
	sink, err := NewSink(SinkConfig{Brokers: []string{"127.0.0.1:1"}, TransactionalID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sink.Open(t.Context())
	if !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("open: %v", err)
	}
}
