package kafka

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
	"github.com/entrainsync/entrain/registry"
)

// TestLogRegistry: a log with a registry is read back as one without, and each record
// leads to its table's schema, though all are in one topic.
func TestLogRegistry(t *testing.T) {
	address, id, url := broker(t), unique(), registrytest.Start(t).URL()
	log := newTestLog(t, address, id, func(c *LogConfig) {
		c.Partitions, c.SchemaRegistry = 3, &registry.Config{URL: connector.Secret(url)}
	})
	orders := ordersTable(column("note", "text", entrain.Text))
	users := ordersTable(column("age", "int4", entrain.Integer))
	users.Name = "users"
	users.Version = users.Fingerprint()
	w, _ := producer(t, log)
	write(t, w, batchOf(1,
		entraintest.Insert(orders, entraintest.Text("1"), entraintest.Text("a")),
		entraintest.Insert(users, entraintest.Text("2"), entraintest.Text("33")),
		entraintest.Insert(orders, entraintest.Text("3"), entraintest.Text("b"))))

	parts, err := log.Partitions(t.Context())
	if err != nil || len(parts) != 3 {
		t.Fatalf("partitions %v, %v", parts, err)
	}
	var ids []string
	for _, p := range parts {
		events, _ := drain(t, log, p, entrain.Position{})
		for _, e := range events {
			key, _ := e.After.Column(0, 2)
			value, _ := e.After.Column(1, 2)
			ids = append(ids, e.Table.Name+" "+string(key)+" "+string(value))
		}
	}
	slices.Sort(ids)
	if want := []string{"orders 1 a", "orders 3 b", "users 2 33"}; !slices.Equal(ids, want) {
		t.Errorf("read %v, want %v", ids, want)
	}
	titles := map[string]int{}
	for _, r := range records(t, address, id+".changes") {
		at := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == headerSchema })
		if at < 0 {
			t.Fatalf("no header %s in %v", headerSchema, r.Headers)
		}
		schema := ask(t, url+"/schemas/ids/"+string(r.Headers[at].Value)+"/schema")
		for _, table := range []string{"orders", "users"} {
			if strings.Contains(schema, `"title":"public.`+table+`.Value"`) {
				titles[table]++
			}
		}
	}
	if titles["orders"] != 2 || titles["users"] != 1 {
		t.Errorf("records by their schemas: %v", titles)
	}
}

// TestLogRegistryPlace: readers of a log expect JSON from a value's first byte on.
func TestLogRegistryPlace(t *testing.T) {
	_, err := NewLog(LogConfig{Brokers: []string{"b:1"}, TransactionalID: "a", Topic: "a",
		SchemaRegistry: &registry.Config{URL: "http://r", SchemaID: registry.Prefix}})
	if err == nil || !strings.Contains(err.Error(), "schema_id") {
		t.Errorf("got %v, want that schema_id is refused", err)
	}
}
