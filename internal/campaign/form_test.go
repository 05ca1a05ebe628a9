package campaign

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// otherForm is the example with slots, broker and consumer, its addresses those of
// real servers, and nothing else changed but where the state and the metrics are.
func otherForm(t *testing.T, addresses map[string]string) (file pipelineFile, metrics string) {
	t.Helper()
	text := readText(t, "../../examples/sync-pipeline.config.yaml")
	for name, address := range addresses {
		text = strings.ReplaceAll(text, "${"+name+"}", fmt.Sprintf("%q", address))
	}
	metrics = fmt.Sprintf("127.0.0.1:%d", throwaway.RandomPort())
	text = strings.Replace(text, "monitoring:\n", "monitoring:\n  listen: "+metrics+"\n", 1)
	dir := t.TempDir()
	file = pipelineFile{dir: dir, path: filepath.Join(dir, "sync-pipeline.config.yaml"), name: "sync-pipeline"}
	text += fmt.Sprintf("state: {dir: %q}\n", filepath.Join(dir, "state"))
	if err := os.WriteFile(file.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, "http://" + metrics + "/metrics"
}

// shopTables are those that the example names.
var shopTables = []string{
	"CREATE TABLE orders (id int PRIMARY KEY, user_id int, total numeric(10,2), at timestamptz DEFAULT clock_timestamp())",
	"CREATE TABLE users (id int PRIMARY KEY, name text, born date)",
	"CREATE TABLE inventory (id int PRIMARY KEY, n int NOT NULL, tags text[])",
}

// TestOtherForm: the example in the other form runs as it is written against real
// servers, is killed in the middle, and its target is as the source in the end, but for
// the rows that are dead letters; those are in their topic, counted, and gone when they
// are replayed.
func TestOtherForm(t *testing.T) {
	t.Parallel()
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, append(shopTables, "CREATE TABLE others (id int PRIMARY KEY)", "INSERT INTO orders SELECT i, i FROM generate_series(1, 300) i",
		"INSERT INTO users SELECT i, 'u' || i, '2000-01-01' FROM generate_series(1, 50) i")...)
	pgtest.Exec(t, target, append(shopTables, "ALTER TABLE inventory ADD CONSTRAINT unlucky CHECK (n <> 13)")...)
	broker, schemas := kafkatest.Start(t).Addr(), registrytest.Start(t).URL()
	file, metrics := otherForm(t, map[string]string{
		"SOURCE_URL": pgtest.SourceURL(source), "SINK_URL": pgtest.TargetURL(target), "STREAM_URL": "kafka://" + broker,
		"REGISTRY_URL": schemas, "REDIS_URL": "redis://" + redistest.Start(t).Addr(),
	})
	check := launch(t, "check", file.path)
	if check.exitWithin(t, patience, exitOK); !check.stdout.has("deduplication_pattern") {
		t.Errorf("check says nothing of the pattern of keys: %s", &check.stdout)
	}
	program := supervise(t, file)
	file.until(t, "streaming", streaming)
	formLoad(t, rng, source, program)
	last := pgtest.QueryOne(t, source, "SELECT pg_current_wal_insert_lsn()")
	pgtest.Eventually(t, 2*patience, "everything is in the topic, and delivered or parked", func() bool {
		return pgtest.QueryOne(t, source, "SELECT confirmed_flush_lsn >= '"+last+"' FROM pg_replication_slots") == "t" && groupIsThere(t, broker)
	})
	refused, letters := listed(t, file)
	if refused == 0 {
		t.Error("no row was refused")
	}
	formTopics(t, broker, schemas, letters)
	text := fetch(t, metrics)
	for _, want := range []string{"\nsync_lag_seconds{", "\nsync_duplicate_rate{", "\nsync_applied_events_total{", "\nsync_captured_events_total{",
		`sync_alert_threshold{alert="lag_critical",pipeline="sync-pipeline"} 30`, `sync_alert_threshold{alert="deadletter_critical",pipeline="sync-pipeline"} 100`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if n := sumOf(t, text, "sync_deadletter_count"); n != letters {
		t.Errorf("sync_deadletter_count is %d, and there are %d", n, letters)
	}
	pgtest.Exec(t, target, "ALTER TABLE inventory DROP CONSTRAINT unlucky")
	replay(t, file, exitOK, "0 are left")
	for _, table := range []string{"orders", "users", "inventory"} {
		same(t, source, target, "SELECT string_agg(x::text, ' ' ORDER BY x.id) FROM "+table+" x")
	}
	if last := program.terminate(t); strings.Count(last.stderr.String(), "deduplication is not used") != 1 {
		t.Errorf("it was not said once that the sink needs no deduplication: %s", tail(last.stderr.String(), 2000))
	}
	if text := program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
}

// groupIsThere reports whether the group that the example names has everything that the
// topic has, but for the mark of a transaction's end.
func groupIsThere(t *testing.T, broker string) bool {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	groups, err := kadm.NewClient(client).Lag(t.Context(), "sync-workers")
	if err != nil {
		t.Fatal(err)
	}
	partitions := groups["sync-workers"].Lag["db-changes"]
	for _, p := range partitions {
		if p.Lag > 1 || p.Err != nil {
			return false
		}
	}
	return len(partitions) == 6
}

// same compares what a query returns at both ends.
func same(t *testing.T, source, target, sql string) {
	t.Helper()
	want, err := query(t.Context(), source, sql)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query(t.Context(), target, sql)
	if err != nil || got[0][0] != want[0][0] {
		t.Errorf("%s: the target has %.2000v (%v), the source %.2000v", sql, got, err, want)
	}
}

// formLoad changes rows of the three tables, of which the target refuses some, and kills
// the program in the middle.
func formLoad(t *testing.T, rng *rand.Rand, source string, program *supervisor) {
	t.Helper()
	writer := pgtest.Connect(t, source)
	for i := range 300 {
		id := rng.IntN(400)
		sql := []string{
			fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, %d.5) ON CONFLICT (id) DO UPDATE SET total = excluded.total, at = excluded.at", id, id%50, i),
			fmt.Sprintf("UPDATE users SET name = 'n%d' WHERE id = %d", i, id%60),
			fmt.Sprintf("INSERT INTO inventory VALUES (%d, %d, '{a,b}') ON CONFLICT (id) DO UPDATE SET n = excluded.n", id, rng.IntN(40)),
			fmt.Sprintf("DELETE FROM inventory WHERE id = %d", id),
			fmt.Sprintf("INSERT INTO others VALUES (%d)", i),
		}[i%5]
		if _, err := writer.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
		if i == 100 || i == 200 {
			program.kill(t)
		}
	}
	pgtest.Exec(t, source, "INSERT INTO inventory VALUES (9999, 13)", "INSERT INTO orders VALUES (99999, 1)")
}

// formTopics looks into the topics: the stream's records lead to a schema, and the dead
// letters are in theirs.
func formTopics(t *testing.T, broker, schemas string, letters int) {
	t.Helper()
	var records, kept int
	ids := map[string]bool{}
	for _, r := range topicRecords(t, broker, "db-changes") {
		records++
		for _, h := range r.Headers {
			if h.Key == "entrain-schema-id" {
				ids[string(h.Value)] = true
			}
		}
		if !json.Valid(r.Value) {
			t.Errorf("a record is no JSON: %s", r.Value)
		}
	}
	if records < 300 || len(ids) < 3 {
		t.Errorf("%d records of %d schemas", records, len(ids))
	}
	for id := range ids {
		if schema := fetch(t, schemas+"/schemas/ids/"+id); !strings.Contains(schema, "JSON") {
			t.Errorf("schema %s is %s", id, schema)
		}
	}
	latest := map[string]bool{}
	for _, r := range topicRecords(t, broker, "db-changes.dlq") {
		latest[string(r.Key)] = r.Value != nil
	}
	for _, there := range latest {
		if there {
			kept++
		}
	}
	if kept != letters {
		t.Errorf("the topic has %d dead letters, and %d are listed", kept, letters)
	}
}

// topicRecords reads all that a topic has.
func topicRecords(t *testing.T, broker, topic string) (all []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]bool{}
	ends.Each(func(o kadm.ListedOffset) { left[o.Partition] = o.Offset > 0 })
	for slices.Contains(slices.Collect(maps.Values(left)), true) {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset >= end.Offset-1 {
				left[r.Partition] = false
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	return all
}

// fetch is what is answered at an address.
func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sumOf adds a metric up over its labels.
func sumOf(t *testing.T, text, name string) (sum int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+"{") {
			var n int
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
