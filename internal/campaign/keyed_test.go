package campaign

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestKeyComesLater: a table without a key gets one at the source, of values that the
// target's rows lack. The stop's SQL, run as it is printed, is all that is needed: the
// next run has every row once (P1, P2, P5).
func TestKeyComesLater(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	const audit = "CREATE TABLE audit (what text)"
	pgtest.Exec(t, s.source, audit, "ALTER TABLE audit REPLICA IDENTITY FULL", "INSERT INTO audit SELECT 'old ' || i FROM generate_series(1, 50) i")
	pgtest.Exec(t, s.target, audit)
	file := writeSnapshotPipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	p := launch(t, "run", file.path)
	file.until(t, "streaming", streaming)
	pgtest.Exec(t, s.source, `BEGIN; ALTER TABLE audit ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;
		ALTER TABLE audit REPLICA IDENTITY DEFAULT; COMMIT`, "INSERT INTO audit (what) VALUES ('new')", "UPDATE audit SET what = 'changed' WHERE what = 'old 7'")
	p.exit(t, exitEnvironment)
	said, printed, _ := strings.Cut(p.stderr.String(), "stopped (key_index_missing)")
	if strings.Contains(said, "changed a table of the target") || strings.Contains(said, "for each row: \n") || !strings.Contains(said, "column id is generated") {
		t.Errorf("before the stop the log says\n%s", tail(said, 2000))
	}
	_, sql, found := strings.Cut(printed, "next: ")
	if !found {
		t.Fatalf("no advice: %s", tail(p.stderr.String(), 2000))
	}
	pgtest.Exec(t, s.target, sql)
	p = launch(t, "run", file.path)
	const sum = "SELECT count(*) || ' ' || sum(hashtextextended(what || coalesce(id::text, '?'), 0)::numeric) FROM audit"
	want := pgtest.QueryOne(t, s.source, sum)
	pgtest.Eventually(t, patience, "every row is there once, with its key", func() bool { return pgtest.QueryOne(t, s.target, sum) == want })
	if !p.running() {
		t.Errorf("ended: %s", tail(p.stderr.String(), 2000))
	}
}
