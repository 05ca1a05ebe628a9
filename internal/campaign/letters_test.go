package campaign

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestDeadLetters: bad rows never stop the others. While entrain is killed again and
// again, the target refuses some rows; they are parked with their transactions and
// what comes behind them. In the end, the target mended and the letters replayed, it
// is as the source (P1, P3, P4).
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"direct, table": {"dead_letter: {unit: transaction}"},
		"direct, file":  {"dead_letter: {file: '%s/letters.jsonl', unit: event}", "retry: {max_attempts: 2, backoff_base_ms: 20, backoff_max_ms: 50}"},
		"stream":        {"dead_letter: {alert_threshold: 3}", "stream: {type: embedded}"},
		"kafka, topic":  {"dead_letter: {topic: 'letters.%b'}", "stream: {type: kafka, brokers: ['%k']}", "retry: {backoff_base_ms: 20, backoff_max_ms: 50}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lettersCase(t, lines)
		})
	}
}

func lettersCase(t *testing.T, lines []string) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	const table = "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
	pgtest.Exec(t, source, table)
	pgtest.Exec(t, target, table, "ALTER TABLE item ADD CONSTRAINT unlucky CHECK (n <> 13)")
	dir, name := t.TempDir(), pgtest.Name(t)
	sections := []string{"source: " + fromPostgres(source), "snapshot: {mode: never}", "sink: " + intoPostgres(target)}
	var broker *kafkaserver.Server // killed, too, if there is one
	for _, l := range lines {
		if strings.Contains(l, "%k") {
			broker = kafkatest.StartOwn(t, kafkaserver.Config{})
			l = strings.Replace(l, "%k", broker.Addr(), 1)
		}
		sections = append(sections, strings.NewReplacer("%s", dir, "%b", name).Replace(l))
	}
	file := writeSections(t, name, sections...)
	program := supervise(t, file)
	file.until(t, "streaming", streaming)
	unluckyLoad(t, rand.New(rand.NewPCG(seed, 5)), source, func(i int) {
		if i%100 == 50 {
			program.kill(t)
		}
		if i%100 == 75 && broker != nil {
			if err := errors.Join(broker.Kill(t.Context()), broker.Start(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
	})
	file.until(t, "the others flow", func(admin.Report) bool {
		rows, err := query(t.Context(), target, "SELECT 1 FROM item WHERE id = 9999")
		return err == nil && len(rows) == 1
	})
	if refused, all := listed(t, file); refused < 3 || refused == all {
		t.Errorf("%d letters, %d of them refused", all, refused)
	}
	replay(t, file, exitRuntime, "unlucky") // what comes before is delivered
	editLetter(t, source, target, file)
	pgtest.Exec(t, target, "ALTER TABLE item DROP CONSTRAINT unlucky")
	file.until(t, "streaming again", streaming)
	_, letters := listed(t, file)
	replay(t, file, exitOK, fmt.Sprintf("replayed %d dead letters, 0 are left", letters))
	const all = "SELECT string_agg(concat_ws(' ', id, n, at), ',' ORDER BY id) FROM item"
	want, err := query(t.Context(), source, all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query(t.Context(), target, all)
	if err != nil || got[0][0] != want[0][0] {
		t.Errorf("the target has %v (%v), the source %v", got, err, want)
	}
	program.terminate(t)
	if text := program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
}

// unluckyLoad writes rows of which the target refuses some, with faults in between.
func unluckyLoad(t *testing.T, rng *rand.Rand, source string, fault func(i int)) {
	t.Helper()
	writer := pgtest.Connect(t, source)
	for i := range 400 {
		var tx strings.Builder
		for range 1 + rng.IntN(2) {
			id, n := rng.IntN(800), rng.IntN(30)
			if rng.IntN(6) == 0 {
				fmt.Fprintf(&tx, "DELETE FROM item WHERE id = %d;", id)
			} else {
				fmt.Fprintf(&tx, "INSERT INTO item VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET n = excluded.n, at = excluded.at;", id, n)
			}
		}
		if _, err := writer.Exec(t.Context(), tx.String()).ReadAll(); err != nil {
			t.Fatal(err)
		}
		fault(i)
	}
	pgtest.Exec(t, source, "INSERT INTO item VALUES (9999, 1)")
}

// listed counts the letters: some were refused, others wait behind those.
func listed(t *testing.T, file pipelineFile) (refused, all int) {
	t.Helper()
	var letters []struct{ ID, Reason, Behind string }
	p := launch(t, "dlq", "list", "-o", "json", file.path)
	p.exit(t, exitOK)
	if err := json.Unmarshal([]byte(p.stdout.String()), &letters); err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		if strings.Contains(l.Reason, "unlucky") {
			refused++
		}
	}
	t.Logf("%d dead letters, %d of them refused", len(letters), refused)
	return refused, len(letters)
}

// editLetter adds a row that the target refuses, alone in its transaction, and delivers
// it with another value.
func editLetter(t *testing.T, source, target string, file pipelineFile) {
	t.Helper()
	pgtest.Exec(t, source, "INSERT INTO item VALUES (77777, 13)")
	var id string
	pgtest.Eventually(t, patience, "the letter", func() bool {
		p := launch(t, "dlq", "list", "-o", "json", file.path)
		p.exit(t, exitOK)
		var letters []struct {
			ID    string
			Event struct{ After map[string]any }
		}
		if err := json.Unmarshal([]byte(p.stdout.String()), &letters); err != nil {
			t.Fatal(err)
		}
		for _, l := range letters {
			if l.Event.After["id"] == 77777.0 {
				id = l.ID
			}
		}
		return id != ""
	})
	launch(t, "dlq", "edit", file.path, id, "--set", "id=5").exit(t, exitUsage) // a key
	launch(t, "dlq", "edit", file.path, id, "--set", "n=14").exit(t, exitOK)
	if got := pgtest.QueryOne(t, target, "SELECT n FROM item WHERE id = 77777"); got != "14" {
		t.Errorf("the edited row has n = %s", got)
	}
	records, err := filepath.Glob(filepath.Join(file.dir, "state", "*", "audit.jsonl"))
	more, err2 := filepath.Glob(filepath.Join(file.dir, "state", "*", "sinks", "*", "audit.jsonl"))
	if records = append(records, more...); err != nil || err2 != nil || len(records) != 1 || !strings.Contains(readText(t, records[0]), `"column":"n","from":"13","to":"14"`) {
		t.Errorf("records %v, %v, %v", records, err, err2)
	}
	pgtest.Exec(t, source, "DELETE FROM item WHERE id = 77777")
}

// replay replays all letters and expects the end and what is said.
func replay(t *testing.T, file pipelineFile, code int, says string) {
	t.Helper()
	p := launch(t, "dlq", "replay", file.path, "--all")
	p.exit(t, code)
	if text := p.stderr.String(); !strings.Contains(text, says) {
		t.Errorf("the replay said %s, want %s", text, says)
	}
}

// TestLettersByHand: an export has a line for each letter, a replay that is refused
// names the command that repeats it, and letters are dropped only if somebody says so.
func TestLettersByHand(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	file := writeSections(t, s.name, "source: "+fromPostgres(s.source), "snapshot: {mode: never}", "sink: "+intoPostgres(s.target), "dead_letter: {unit: event}")
	pgtest.Exec(t, s.target, "ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (id <> 13 AND id <> 14)")
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	addOrders(t, s.source, 1, 20)
	pgtest.Eventually(t, patience, "the others are there", func() bool {
		return pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders") == "18"
	})
	export := launch(t, "dlq", "export", file.path, "-")
	export.exit(t, exitOK)
	lines := strings.Split(strings.TrimSuffix(export.stdout.String(), "\n"), "\n")
	for _, line := range lines {
		var letter struct{ ID string }
		if err := json.Unmarshal([]byte(line), &letter); err != nil || letter.ID == "" {
			t.Errorf("a line of the export is %s: %v", line, err)
		}
	}
	if len(lines) != 2 {
		t.Errorf("%d lines for 2 letters", len(lines))
	}
	refused := launch(t, "dlq", "replay", file.path, "--all")
	refused.exit(t, exitRuntime)
	if text := refused.stderr.String(); !strings.Contains(text, "then: entrain dlq replay "+file.path+" --all") || strings.Contains(text, "entrain run") {
		t.Errorf("a replay that is refused says %s", text)
	}
	file.until(t, "streaming again", streaming)
	drop := launch(t, "dlq", "drop", file.path, "--all")
	drop.exit(t, exitUsage)
	if _, all := listed(t, file); all != 2 || !drop.stderr.has("--yes") {
		t.Errorf("without an answer %d letters are left: %s", all, drop.stderr.String())
	}
	drop = launch(t, "dlq", "drop", file.path, "--all", "--yes")
	drop.exit(t, exitOK)
	if !drop.stderr.has("dropped 2 dead letters, 0 are left") {
		t.Errorf("it says %s", drop.stderr.String())
	}
	p.logs(t, "unlucky")
}
