package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// parked is a pipeline into a PostgreSQL sink that keeps dead letters.
type parked struct {
	*process
	t                    *testing.T
	file, source, target string
}

func newParked(t *testing.T, tables string) *parked {
	t.Helper()
	w := &parked{t: t, source: shop(t), target: shop(t)}
	pgtest.Exec(t, w.source, tables)
	pgtest.Exec(t, w.target, tables)
	w.file = writeFile(t, strings.Replace(retrying, "dead_letter: {}", "dead_letter: {unit: event}", 1))
	w.process = launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(w.source), "TARGET_URL=" + pgtest.TargetURL(w.target)}, "run", w.file)
	w.until(t, w.file, "streaming", streams)
	return w
}

// eventually waits until a query at the target says so.
func (w *parked) eventually(query, want string) {
	w.t.Helper()
	pgtest.Eventually(w.t, patience, query, func() bool { return pgtest.QueryOne(w.t, w.target, query) == want })
}

func (w *parked) replay() {
	w.t.Helper()
	if o := invoke(w.t, nil, "dlq", "replay", "shop", "--all", "--state-dir", strings.TrimSuffix(w.file, "shop.yaml")+"state"); o.code != 0 || !strings.Contains(o.stderr, " 0 are left") {
		w.t.Errorf("replay: %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

func (w *parked) end() {
	w.signal(w.t, syscall.SIGTERM)
	w.exit(w.t, exitOK)
}

// TestLettersOfEqualKeys: a row that is inserted anew, its key written in another way, is
// not deleted by the letters of the one before.
func TestLettersOfEqualKeys(t *testing.T) {
	w := newParked(t, `CREATE TABLE n (k numeric PRIMARY KEY, v text)`)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1.0, 'bad')`)
	pgtest.Exec(t, w.source, `DELETE FROM n`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1.00, 'good')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (2, 'last')`)
	w.eventually(`SELECT count(*) FROM n WHERE k = 2`, "1")
	pgtest.Exec(t, w.target, `ALTER TABLE n DROP CONSTRAINT lucky`)
	w.replay()
	w.eventually(`SELECT string_agg(k || v, ',' ORDER BY k) FROM n`, "1.00good,2last")
	w.end()
}

// TestLettersOfATargetThatCannot: a target that is read-only for a while, or whose table of
// letters somebody changed, holds all up; no row is refused by that or lost, and it goes
// on by itself.
func TestLettersOfATargetThatCannot(t *testing.T) {
	w := newParked(t, `CREATE TABLE n (k int8 PRIMARY KEY, v text)`)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1, 'bad'), (2, 'good')`)
	w.until(t, w.file, "a letter", func(r admin.Report) bool { return r.Status.DeadLetters == 1 })

	database := pgtest.QueryOne(t, w.target, `SELECT current_database()`)
	pgtest.Exec(t, w.target, `ALTER DATABASE `+database+` SET default_transaction_read_only = on;
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (3, 'good')`)
	w.until(t, w.file, "it was refused twice", func(r admin.Report) bool {
		return r.Status.Circuit.Opened > 0 || strings.Count(w.stderr.String(), "read-only") > 1
	})
	pgtest.Exec(t, w.target, `BEGIN READ WRITE; ALTER DATABASE `+database+` RESET default_transaction_read_only; COMMIT`)
	w.eventually(`SELECT count(*) FROM n WHERE k = 3`, "1")

	pgtest.Exec(t, w.target, `ALTER TABLE entrain.dead_letter RENAME COLUMN behind TO before`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (4, 'bad'), (5, 'good')`)
	pgtest.Eventually(t, patience, "it says that letters cannot be kept", func() bool { return strings.Contains(w.stderr.String(), "store 1 dead letters") })
	pgtest.Exec(t, w.target, `ALTER TABLE entrain.dead_letter RENAME COLUMN before TO behind`)
	w.eventually(`SELECT count(*) FROM n WHERE k = 5`, "1")

	pgtest.Exec(t, w.target, `ALTER TABLE n DROP CONSTRAINT lucky`)
	w.replay()
	w.eventually(`SELECT string_agg(k || v, ',' ORDER BY k) FROM n`, "1bad,2good,3good,4bad,5good")
	w.end()
}

// TestLettersThatAreLeft: a file whose dead_letter section was taken out, or moved, while
// there are letters, is a stop: what comes behind them would overtake them. The way out
// that is printed works.
func TestLettersThatAreLeft(t *testing.T) {
	w := newParked(t, `CREATE TABLE n (k int8 PRIMARY KEY, v text)`)
	pgtest.Exec(t, w.target, `ALTER TABLE n ADD CONSTRAINT lucky CHECK (v <> 'bad')`)
	pgtest.Exec(t, w.source, `INSERT INTO n VALUES (1, 'old')`)
	pgtest.Exec(t, w.source, `UPDATE n SET v = 'bad'`)
	w.until(t, w.file, "a letter", func(r admin.Report) bool { return r.Status.DeadLetters == 1 })
	w.end()
	pgtest.Exec(t, w.source, `UPDATE n SET v = 'new'`)
	text, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	run := func(section string) *process {
		if err := os.WriteFile(w.file, []byte(strings.Replace(string(text), "dead_letter: {unit: event}", section, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(w.source), "TARGET_URL=" + pgtest.TargetURL(w.target)}, "run", w.file)
	}
	for _, section := range []string{"", "dead_letter: {file: DIR/letters.jsonl}"} {
		p := run(strings.Replace(section, "DIR", filepath.Dir(w.file), 1))
		p.exit(t, exitEnvironment)
		if !strings.Contains(p.stderr.String(), "dead_letters_left") {
			t.Errorf("%q: %s", section, p.stderr.String())
		}
	}
	w.process = run("dead_letter: {unit: event}")
	w.until(t, w.file, "two letters", func(r admin.Report) bool { return r.Status.DeadLetters == 2 })
	pgtest.Exec(t, w.target, `ALTER TABLE n DROP CONSTRAINT lucky`)
	w.replay()
	w.eventually(`SELECT v FROM n`, "new")
	w.end()
	w.process = run("")
	w.until(t, w.file, "streaming without letters", streams)
	w.end()
}
