package campaign

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const (
	// fileSinkMemory bounds the process when it writes lines, tableSinkMemory
	// when it applies: that keeps a few batches more.
	fileSinkMemory  = 64 << 20
	tableSinkMemory = 128 << 20

	hugeSQL = "CREATE TABLE huge (id bigint PRIMARY KEY, v text NOT NULL, n int NOT NULL)"
)

// peakUntilEnd waits for the end and returns the most memory it saw.
func (p *process) peakUntilEnd(t *testing.T, within time.Duration) int64 {
	t.Helper()
	var most int64
	pgtest.Eventually(t, within, "the program ends", func() bool {
		most = max(most, p.peak())
		return !p.running()
	})
	if p.code() != exitOK {
		t.Fatalf("exit code %d: %s", p.code(), tail(p.stderr.String(), 2000))
	}
	return most
}

// PF-01 HugeTxn: one transaction of a million rows (ten million in the wide
// run) goes through in bounded memory, into a file and into a table (P6).
func TestPF01HugeTxn(t *testing.T) {
	rows := 1_000_000
	if wide() {
		rows = 10_000_000
	}
	for _, major := range newestMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { hugeTransaction(t, major, rows) })
	}
}

func hugeTransaction(t *testing.T, major, rows int) {
	srv := pgtest.Start(t, major, map[string]string{"max_wal_size": "8GB"})
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, hugeSQL)
	pgtest.Exec(t, target, hugeSQL)
	lines := filepath.Join(t.TempDir(), "huge.jsonl")
	toFile := writePipeline(t, "huge_file", fromPostgres(source), intoFile(lines))
	toTable := writePipeline(t, "huge_table", fromPostgres(source), intoPostgres(target))
	for _, f := range []pipelineFile{toFile, toTable} {
		launch(t, "run", "--until", "now", f.path).exit(t, exitOK)
	}
	pgtest.Exec(t, source, fmt.Sprintf("INSERT INTO huge SELECT i, 'value of ' || md5(i::text), 7 FROM generate_series(1, %d) i", rows))
	within := time.Duration(rows/1_000_000+1) * 2 * time.Minute

	peak := launch(t, "run", "--until", "now", toFile.path).peakUntilEnd(t, within)
	t.Logf("into a file: at most %d MB", peak>>20)
	if peak == 0 || peak > fileSinkMemory {
		t.Errorf("into a file: %d MB of memory; want at most %d", peak>>20, fileSinkMemory>>20)
	}
	if n := ascendingLines(t, lines); n != rows {
		t.Errorf("%d lines; want %d", n, rows)
	}
	if err := os.Remove(lines); err != nil {
		t.Fatal(err)
	}

	peak = launch(t, "run", "--until", "now", toTable.path).peakUntilEnd(t, within)
	t.Logf("into a table: at most %d MB", peak>>20)
	if peak == 0 || peak > tableSinkMemory {
		t.Errorf("into a table: %d MB of memory; want at most %d", peak>>20, tableSinkMemory>>20)
	}
	const sum = "SELECT count(*) || ' ' || sum(hashtextextended(h::text, 0)::numeric) FROM huge h"
	if got, want := pgtest.QueryOne(t, target, sum), pgtest.QueryOne(t, source, sum); got != want {
		t.Errorf("the target holds %s; the source %s", got, want)
	}
}

// ascendingLines counts the lines of a file and checks that their rows have the
// keys 1, 2, 3 and so on.
func ascendingLines(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 0
	for lines.Scan() {
		n++
		var event struct {
			Op    string
			After struct{ ID int }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || event.Op != "insert" || event.After.ID != n {
			t.Fatalf("line %d is %.200s (%v)", n, lines.Text(), err)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// A sink that hangs for ten times the server's time-out, while the backlog
// grows, costs neither memory nor the session with the source (P6, P7, P9).
func TestPF03StalledSink(t *testing.T) {
	source := pgtest.StartConfig(t, pgserver.Config{
		Install: pgtest.Install(t, someMajor(t)), Settings: map[string]string{"wal_sender_timeout": "1s"},
	})
	target := pgtest.Start(t, someMajor(t), nil)
	s := site{source: pgtest.CreateDatabase(t, source), target: pgtest.CreateDatabase(t, target), name: "stalled"}
	for _, url := range []string{s.source, s.target} {
		pgtest.Exec(t, url, hugeSQL, "CREATE TABLE marker (id bigint PRIMARY KEY)")
	}
	file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	if err := s.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	before := walsender(t, s.source)
	lock := pgtest.Connect(t, s.target)
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE huge IN EXCLUSIVE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	early := growBacklog(t, s, p, 0)
	file.until(t, "the status says what it waits for", func(r admin.Report) bool {
		return r.Status.Waiting == "sink" && r.Status.WaitingSeconds > 2
	})
	late := growBacklog(t, s, p, 1)
	if after := walsender(t, s.source); after != before {
		t.Errorf("the walsender is process %s; it was %s before", after, before)
	}
	if late > early+16<<20 || late > tableSinkMemory {
		t.Errorf("%d MB after five time-outs, %d MB after ten", early>>20, late>>20)
	}
	t.Logf("%d MB after five time-outs, %d MB after ten", early>>20, late>>20)
	if _, err := lock.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if err := s.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	found, err := differing(t.Context(), s, []string{"huge"})
	if err != nil || len(found) > 0 {
		t.Errorf("%v %v", found, err)
	}
	if after := walsender(t, s.source); after != before {
		t.Errorf("when the sink was back the walsender is process %s; it was %s before", after, before)
	}
}

// growBacklog writes 100,000 rows over five seconds and returns the process's
// peak of memory.
func growBacklog(t *testing.T, s site, p *process, round int) int64 {
	t.Helper()
	for i := range 10 {
		from := (round*10 + i) * 10_000
		pgtest.Exec(t, s.source, fmt.Sprintf("INSERT INTO huge SELECT i, repeat(md5(i::text), 10), 0 FROM generate_series(%d, %d) i", from+1, from+10_000))
		wait(t.Context(), 500*time.Millisecond)
	}
	return p.peak()
}

func walsender(t *testing.T, url string) string {
	t.Helper()
	return pgtest.QueryOne(t, url, "SELECT active_pid FROM pg_replication_slots WHERE database = current_database()")
}
