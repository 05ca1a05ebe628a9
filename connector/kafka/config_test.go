package kafka

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
)

func TestConfigRefusals(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		set  func(*SinkConfig)
		want string
	}{
		"nothing":           {func(c *SinkConfig) { c.Brokers = nil }, "either brokers or url"},
		"both":              {func(c *SinkConfig) { c.URL = "kafka://h:1" }, "either brokers or url"},
		"scheme":            {func(c *SinkConfig) { c.Brokers, c.URL = nil, "http://u:hunter2@h:1" }, "kafka://"},
		"broker":            {func(c *SinkConfig) { c.Brokers = []string{"u:hunter2@h"} }, "host:port"},
		"escape":            {func(c *SinkConfig) { c.Brokers, c.URL = nil, "kafka://u:hunter2%zz@h:1" }, "percent-encoded"},
		"acks":              {func(c *SinkConfig) { c.Acks = "1" }, `acks "1", known: all`},
		"format":            {func(c *SinkConfig) { c.Format = "xml" }, "unknown format"},
		"compression":       {func(c *SinkConfig) { c.Compression = "br" }, "known: lz4"},
		"partitioner":       {func(c *SinkConfig) { c.Partitioner = "crc" }, "known: xxh64, murmur2"},
		"mechanism":         {func(c *SinkConfig) { c.SASL = &SASLConfig{Mechanism: "GSSAPI", User: "u", Password: "p"} }, "known: SCRAM-SHA-512"},
		"no password":       {func(c *SinkConfig) { c.SASL = &SASLConfig{User: "u"} }, "user and password"},
		"half a pair":       {func(c *SinkConfig) { c.TLS = &TLSConfig{CertFile: "c"} }, "belong together"},
		"topic":             {func(c *SinkConfig) { c.Topic = "a b" }, "cannot be a topic's name"},
		"message topic":     {func(c *SinkConfig) { c.MessageTopic = "{table}" }, "only {source}"},
		"unknown variable":  {func(c *SinkConfig) { c.Topic = "{database}" }, "cannot be a topic's name"},
		"transactional id":  {func(c *SinkConfig) { c.TransactionalID = "a:b" }, "part of a topic's name"},
		"no id":             {func(c *SinkConfig) { c.TransactionalID = "" }, "part of a topic's name"},
		"negative":          {func(c *SinkConfig) { c.Partitions = -1 }, "negative"},
		"small messages":    {func(c *SinkConfig) { c.MaxMessageBytes = 10 }, "between 1kB and 1GB"},
		"debezium's topics": {func(c *SinkConfig) { c.Format, c.Topic = "debezium", "x" }, "names its topics itself"},
		"tombstones":        {func(c *SinkConfig) { c.Format, c.Tombstones = "debezium", &yes }, "omit_tombstones"},
		"options":           {func(c *SinkConfig) { c.Debezium = &encoding.DebeziumOptions{} }, "debezium are given"},
	} {
		cfg := SinkConfig{Brokers: []string{"localhost:9092"}, TransactionalID: "entrain.shop"}
		c.set(&cfg)
		_, err := NewSink(cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	s, err := NewSink(SinkConfig{URL: "kafka://us%65r:p%40ss:w@one:1,two:2", TransactionalID: "entrain.shop"})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(s.brokers, s.sasl.Mechanism, " ", s.sasl.User, " ", s.sasl.Password.Reveal(), " ", s.create, s.exactly, s.linger,
		s.compression, " ", s.partitioner, " ", s.transactionTimout, s.maxMessage, " ", s.shape.topic, " ", s.shape.messages, " ", s.shape.tombstones)
	const want = "[one:1 two:2]SCRAM-SHA-512 user p@ss:w true true 0s lz4 xxh64 15m0s 1000012 {source}.{schema}.{table} {source}.message true"
	if squeeze(got) != squeeze(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if text := fmt.Sprintf("%v %+v %#v", s.sasl, *s.sasl, *s.sasl); strings.Contains(text, "p@ss") {
		t.Errorf("the password shows: %s", text)
	}
}

func squeeze(s string) string { return strings.ReplaceAll(s, " ", "") }

// The name of a pipeline can have what a topic's cannot: the default is a name
// that no other pipeline gets.
func TestSpecNamesTheProducer(t *testing.T) {
	ids := map[string]bool{}
	for _, pipeline := range []string{"shop", "shop:sink", "shop_sink", "shop:sink:orders/1", "shop:sink:orders/2"} {
		sink, err := Spec().Sink(connector.Env{Pipeline: pipeline}, func(into any) error {
			into.(*SinkConfig).Brokers = []string{"localhost:9092"}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", pipeline, err)
			continue
		}
		id := sink.(*Sink).transactionalID
		if !strings.HasPrefix(id, "entrain.shop") || ids[id] || pipeline == "shop" && id != "entrain.shop" {
			t.Errorf("pipeline %s has the id %s", pipeline, id)
		}
		ids[id] = true
	}
}

// TestSettingsAreApart: what is written of one setting changes no other.
func TestSettingsAreApart(t *testing.T) {
	for text, want := range map[string][2]bool{ // create, exactly once
		"format: native":                     {true, true},
		"create: false":                      {false, true},
		"exactly_once: false":                {true, false},
		"exactly_once: false\ncreate: true":  {true, false},
		"create: true\nexactly_once: false":  {true, false},
		"create: false\nexactly_once: true":  {false, true},
		"create: false\nexactly_once: false": {false, false},
	} {
		sink, err := Spec().Sink(connector.Env{Pipeline: "shop"}, func(into any) error {
			into.(*SinkConfig).Brokers = []string{"localhost:9092"}
			return yaml.Unmarshal([]byte(text), into)
		})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		s := sink.(*Sink)
		if got := [2]bool{s.create, s.exactly}; got != want {
			t.Errorf("%q: create, exactly once %v, want %v", text, got, want)
		}
	}
}

// Every setting of a client that franz-go would refuse is refused by it, none is
// forgotten: a client is made of each.
func TestClientsAreMade(t *testing.T) {
	for _, compression := range compressions {
		for _, mechanism := range mechanisms {
			s, err := NewSink(SinkConfig{Brokers: []string{"localhost:9092"}, TransactionalID: "x", Compression: compression,
				TLS: &TLSConfig{ServerName: "x"}, SASL: &SASLConfig{Mechanism: mechanism, User: "u", Password: "p"},
				Linger: time.Millisecond, MaxMessageBytes: 2 << 20})
			if err != nil {
				t.Fatal(err)
			}
			client, err := s.producer()
			if err != nil {
				t.Fatalf("%s, %s: %v", compression, mechanism, err)
			}
			if name := client.OptValue(kgo.SASL); name == nil {
				t.Errorf("%s: no SASL", mechanism)
			}
			client.Close()
		}
	}
	s, err := NewSink(SinkConfig{Brokers: []string{"localhost:9092"}, TransactionalID: "x", TLS: &TLSConfig{CAFile: "missing.pem"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "missing.pem") {
		t.Errorf("open with a missing file: %v", err)
	}
}

// TestLogIsNotCompacted: a log's topic is made without compaction, where that is the
// brokers' default, too: readers would miss changes and not know it (P1).
func TestLogIsNotCompacted(t *testing.T) {
	l, err := NewLog(LogConfig{Brokers: []string{"127.0.0.1:9"}, Topic: "changes", TransactionalID: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if policy := l.sink.events("changes").configs["cleanup.policy"]; policy == nil || *policy != "delete" {
		t.Errorf("cleanup.policy %v, want delete", policy)
	}
}
