package campaign

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// joined is two databases that are delivered into one, by the files of
// examples/two-sources.
type joined struct {
	north, south, target string
	files                map[string]pipelineFile
}

// joinedSQL makes the rows that a source has before: those of the south begin at 1000.
func joinedSQL(first int) []string {
	return []string{"CREATE TABLE orders (id int PRIMARY KEY, of int NOT NULL, note text)", "CREATE TABLE lines (shop int, what text)",
		"ALTER TABLE lines REPLICA IDENTITY FULL",
		fmt.Sprintf("INSERT INTO orders SELECT i, %[1]d, 'was there' FROM generate_series(%[1]d, %[1]d + 99) i", first),
		fmt.Sprintf("INSERT INTO lines SELECT %d, 'same' FROM generate_series(1, 50)", first)}
}

// join writes the files, in which stream stands in the place of the example's.
func join(t *testing.T, natsURL, stream string) *joined {
	t.Helper()
	srv := pgtest.Start(t, someMajor(t), nil)
	j := &joined{north: pgtest.CreateDatabase(t, srv), south: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), files: map[string]pipelineFile{}}
	pgtest.Exec(t, j.north, joinedSQL(1)...)
	pgtest.Exec(t, j.south, joinedSQL(1000)...)
	prefix := pgtest.Name(t)
	for _, name := range []string{"north", "south", "warehouse"} {
		dir := t.TempDir()
		text := readText(t, filepath.Join("..", "..", "examples", "two-sources", name+".yaml"))
		if stream != "" {
			text = exampleStream(t, text, stream)
		}
		for old, now := range map[string]string{
			"${NORTH_URL}": pgtest.SourceURL(j.north), "${SOUTH_URL}": pgtest.SourceURL(j.south), "${TARGET_URL}": pgtest.TargetURL(j.target), "${NATS_URL}": natsURL,
			"name: " + name: "name: " + prefix + name, ".entrain": filepath.Join(dir, "state"),
		} {
			text = strings.ReplaceAll(text, old, now)
		}
		f := pipelineFile{dir: dir, path: filepath.Join(dir, name+".yaml"), name: prefix + name}
		if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		j.files[name] = f
	}
	return j
}

// exampleStream puts another stream into an example.
func exampleStream(t *testing.T, text, stream string) string {
	t.Helper()
	before, rest, found := strings.Cut(text, "stream:\n")
	_, after, ends := strings.Cut(rest, "\n\n")
	if !found || !ends {
		t.Fatalf("no stream in %s", text)
	}
	return before + stream + "\n\n" + after
}

// change makes some changes of both sources, the n-th time.
func (j *joined) change(t *testing.T, n int) {
	t.Helper()
	for i, url := range []string{j.north, j.south} {
		first := []int{1, 1000}[i]
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO orders SELECT i, %[1]d, 'new %[2]d' FROM generate_series(%[1]d + %[2]d * 100, %[1]d + %[2]d * 100 + 49) i", first, n),
			fmt.Sprintf("UPDATE orders SET note = note || ' %d' WHERE id %% 7 = 0", n), fmt.Sprintf("DELETE FROM orders WHERE id = %d", first+n),
			fmt.Sprintf("INSERT INTO lines SELECT %d, 'same' FROM generate_series(1, 5)", first), "DELETE FROM lines WHERE ctid = (SELECT max(ctid) FROM lines)")
	}
}

// same waits until the target has what both sources have together, each row once.
func (j *joined) same(t *testing.T) {
	t.Helper()
	const sum = "SELECT coalesce(sum(hashtextextended(o::text, 0)::numeric), 0) FROM orders o"
	const counts = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM lines)"
	both := func(sql string) string {
		return pgtest.QueryOne(t, j.target, "SELECT "+pgtest.QueryOne(t, j.north, sql)+"::numeric + "+pgtest.QueryOne(t, j.south, sql)+"::numeric")
	}
	want := both(sum) + " " + both(counts)
	got := ""
	pgtest.Eventually(t, patience, "the target has both sources: "+want, func() bool {
		rows, err := query(t.Context(), j.target, "SELECT ("+sum+"), ("+counts+")")
		if err != nil {
			return false
		}
		got = rows[0][0] + " " + rows[0][1]
		return got == want
	})
}

// run captures both sources and delivers them, all processes killed in between: the target
// has all rows of both, those without a key, too, once.
func (j *joined) run(t *testing.T) {
	t.Helper()
	verbs := map[string]string{"north": "capture", "south": "capture", "warehouse": "deliver"}
	all := map[string]*process{}
	start := func(name string) { all[name] = launch(t, verbs[name], j.files[name].path) }
	for name := range verbs {
		start(name)
	}
	j.same(t)
	for n, name := range []string{"north", "warehouse", "south"} {
		j.change(t, n+1)
		all[name].kill()
		j.change(t, n+5)
		start(name)
		j.same(t)
	}
	for name, p := range all {
		p.signal(t, syscall.SIGTERM)
		if p.exit(t, exitOK); strings.Contains(p.stderr.String(), `"level":"ERROR"`) {
			t.Errorf("%s: %s", name, tail(p.stderr.String(), 2000))
		}
	}
}

// TestTwoSourcesNATS: the databases of two shops, joined in one stream on a NATS server, by
// the files of the example (P1, P2, P4).
func TestTwoSourcesNATS(t *testing.T) {
	t.Parallel()
	o := server.Options{Host: "127.0.0.1", Port: throwaway.RandomPort(), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	srv := startNATS(t, o)
	t.Cleanup(func() { endNATS(srv) })
	join(t, fmt.Sprintf("nats://127.0.0.1:%d", o.Port), "").run(t)
}

// TestTwoSourcesKafka: the same in one topic of Kafka (P1, P2).
func TestTwoSourcesKafka(t *testing.T) {
	t.Parallel()
	if !wide() {
		t.Skip("with ENTRAIN_TEST_WIDE=1: each process waits for the partitions of the one before")
	}
	stream := fmt.Sprintf("stream: {type: kafka, brokers: [%q], topic: %s, session_timeout: %s}", kafkatest.Start(t).Addr(), pgtest.Name(t), sessionTimeout)
	join(t, "", stream).run(t)
}
