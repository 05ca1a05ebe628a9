package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// kafkaSite is a pipeline through a topic of Kafka's, from one database to another.
type kafkaSite struct {
	source, target, broker, file string
	env                          map[string]string
}

const kafkaShop = `name: shop
source: {type: postgres, url: "${SOURCE_URL}", create: true}
stream: {type: kafka, brokers: ["BROKER"], topic: TOPIC, transactional_id: TOPIC, partitions: 3}
snapshot: {mode: never}
sinks:
  - {name: warehouse, type: postgres, url: "${TARGET_URL}"}
state: {dir: STATE}
`

func newKafkaSite(t *testing.T) *kafkaSite {
	t.Helper()
	broker := kafkatest.Start(t)
	s := &kafkaSite{source: shop(t), broker: broker.Addr()}
	s.target = pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	topic := fmt.Sprintf("t%d", time.Now().UnixNano())
	dir := t.TempDir()
	s.file = filepath.Join(dir, "shop.yaml")
	text := strings.NewReplacer("BROKER", s.broker, "TOPIC", topic, "STATE", filepath.Join(dir, "state")).Replace(kafkaShop)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = map[string]string{"SOURCE_URL": pgtest.SourceURL(s.source), "TARGET_URL": pgtest.TargetURL(s.target)}
	return s
}

func (s *kafkaSite) run(t *testing.T) *process {
	t.Helper()
	p := launchIn(t, "", []string{"SOURCE_URL=" + s.env["SOURCE_URL"], "TARGET_URL=" + s.env["TARGET_URL"]}, "run", s.file)
	p.until(t, s.file, "the pipeline streams", streams)
	return p
}

// topics that are there, but for Kafka's own.
func (s *kafkaSite) topics(t *testing.T) (names []string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.broker), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := kadm.NewClient(c).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	groups, err := kadm.NewClient(c).ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(all.Names(), groups.Groups()...)
}

// TestOperatorOfAKafkaStream: check, verify and teardown of a pipeline through three
// partitions; behind teardown a new run begins anew.
func TestOperatorOfAKafkaStream(t *testing.T) {
	s := newKafkaSite(t)
	pgtest.Exec(t, s.target, "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
	if o := invoke(t, s.env, "check", s.file); o.code != 0 {
		t.Fatalf("check: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for range 2 {
		p := s.run(t)
		order(t, s.source, 1, 200)
		o := invoke(t, s.env, "verify", s.file)
		if o.code != 0 || !strings.Contains(o.stdout, "orders") {
			t.Fatalf("verify: %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders"); n != "200" {
			t.Fatalf("behind verify the target has %s rows", n)
		}
		pgtest.Exec(t, s.target, "DELETE FROM orders WHERE id = 17")
		if o := invoke(t, s.env, "verify", s.file); o.code != exitDiffer || !strings.Contains(o.stdout, "17") {
			t.Fatalf("verify of a difference: %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		p.signal(t, syscall.SIGTERM)
		p.exit(t, 0)
		order(t, s.source, 201, 201)
		if o := invoke(t, s.env, "verify", "--timeout", "1s", s.file); o.code == 0 || !strings.Contains(o.stderr, "sink_behind") {
			t.Fatalf("verify without a process: %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		o = invoke(t, s.env, "teardown", "--yes", s.file)
		if o.code != 0 {
			t.Fatalf("teardown: %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		if left := s.own(t); len(left) > 0 {
			t.Errorf("left are %v behind\n%s", left, o.stdout)
		}
		if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'"); n != "0" {
			t.Errorf("the schema entrain is left behind\n%s", o.stdout)
		}
		if o := invoke(t, s.env, "teardown", "--yes", s.file); o.code != 0 || !strings.Contains(o.stdout, "nothing of pipeline shop is left") {
			t.Errorf("teardown again: %d\n%s%s", o.code, o.stdout, o.stderr)
		}
		pgtest.Exec(t, s.source, "TRUNCATE orders")
		pgtest.Exec(t, s.target, "TRUNCATE orders")
	}
}

// TestReferencesAcrossPartitions: check says what waits for ever, and the delivery
// that waits says so in the status.
func TestReferencesAcrossPartitions(t *testing.T) {
	s := newKafkaSite(t)
	pgtest.Exec(t, s.source, "CREATE TABLE lines (id int PRIMARY KEY, of bigint REFERENCES orders)")
	pgtest.Exec(t, s.target, "CREATE TABLE orders (id bigint PRIMARY KEY, note text)",
		"CREATE TABLE lines (id int PRIMARY KEY, of bigint REFERENCES orders)")
	o := invoke(t, s.env, "check", "--only", "partition_references", s.file)
	if o.code == 0 {
		t.Fatalf("before the topic is there: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if !strings.Contains(o.stdout, "partitions: 1") || !strings.Contains(o.stdout, "DROP CONSTRAINT") {
		t.Fatalf("check says\n%s", o.stdout)
	}
	p := s.run(t)
	pgtest.Exec(t, s.target, "ALTER TABLE orders RENAME TO away", "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
	order(t, s.source, 1, 20)
	pgtest.Exec(t, s.source, "INSERT INTO lines SELECT i, i FROM generate_series(1, 20) i")
	p.until(t, s.file, "a delivery says why it waits", func(r admin.Report) bool {
		for _, one := range r.Sinks {
			if strings.Contains(one.Failed, "each delivered by itself") && strings.Contains(one.Failed, "partition_references") {
				return true
			}
		}
		return false
	})
}

// TestFileBehindSeveralPartitions: neither check nor run takes it.
func TestFileBehindSeveralPartitions(t *testing.T) {
	s := newKafkaSite(t)
	text := readText(t, s.file)
	out := filepath.Join(filepath.Dir(s.file), "out.jsonl")
	text = strings.Replace(text, `{name: warehouse, type: postgres, url: "${TARGET_URL}"}`, "{name: warehouse, type: file, path: "+out+"}", 1)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := invoke(t, s.env, "check", "--only", "sink_partitions", s.file); o.code != exitDiffer || !strings.Contains(o.stdout, "3 partitions") {
		t.Fatalf("check: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	p := s.run(t)
	p.until(t, s.file, "the sink is refused", func(r admin.Report) bool {
		for _, one := range r.Sinks {
			if strings.Contains(one.Failed, "sink_partitions") {
				return true
			}
		}
		return false
	})
}
