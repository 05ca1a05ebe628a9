package campaign

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSE05LoginTakenAway: who may no longer log in says so. What another try may
// mend is tried again by the one process, anything else is a named stop; nothing
// is missing afterwards (P1, P5, P9).
func TestSE05LoginTakenAway(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			l := newLeast(t, major)
			p := launch(t, "run", l.file.path)
			l.file.until(t, "streaming", streaming)
			id := 1
			for role, url := range map[string]string{"entrain_capture": l.adminSource, "entrain_apply": l.adminSink} {
				for _, c := range []struct{ take, give, sign string }{
					{"ALTER ROLE " + role + " NOLOGIN", "ALTER ROLE " + role + " LOGIN", "28000"},
					{"ALTER ROLE " + role + " RENAME TO other", "ALTER ROLE other RENAME TO " + role, role},
				} {
					began := len(p.stderr.String())
					l.cut(t, url, c.take)
					addOrders(t, l.adminSource, id, id+9)
					pgtest.Eventually(t, patience, c.take+" is said", func() bool {
						return strings.Contains(p.stderr.String()[began:], c.sign)
					})
					pgtest.Exec(t, url, c.give)
					l.arrived(t, id+9)
					id += 10
				}
			}
			p.signal(t, syscall.SIGTERM)
			p.exit(t, exitOK)
			for role, url := range map[string]string{"entrain_capture": l.adminSource, "entrain_apply": l.adminSink} {
				l.connectRight(t, role, url)
			}
			l.ownPublication(t)
			l.dbasSlot(t)
		})
	}
}

// cut runs SQL and ends the sessions of both roles.
func (l *least) cut(t *testing.T, url, sql string) {
	t.Helper()
	pgtest.Exec(t, url, sql, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'entrain%'")
}

func (l *least) arrived(t *testing.T, id int) {
	t.Helper()
	pgtest.Eventually(t, patience, "the last order has arrived", func() bool {
		return pgtest.QueryOne(t, l.adminSink, fmt.Sprint("SELECT count(*) FROM orders WHERE id = ", id)) == "1"
	})
}

// connectRight takes CONNECT away: a named stop, whose SQL works.
func (l *least) connectRight(t *testing.T, role, url string) {
	t.Helper()
	p := launch(t, "run", l.file.path)
	l.file.until(t, "streaming", streaming)
	l.cut(t, url, fmt.Sprintf("REVOKE CONNECT ON DATABASE %s FROM %s", databaseOf(t, url), role))
	pgtest.Exec(t, l.adminSource, "UPDATE orders SET note = 'unseen by "+role+"'")
	p.exit(t, exitEnvironment)
	said := p.stderr.String()
	sql := grantSQL.FindAllString(said, -1)
	if !strings.Contains(said, "no_connect_right") || len(sql) == 0 {
		t.Fatalf("without CONNECT: %s", tail(said, 600))
	}
	pgtest.Exec(t, url, sql...)
	launch(t, "run", "--until", "now", l.file.path).exit(t, exitOK)
	l.sameOrders(t)
}

func (l *least) sameOrders(t *testing.T) {
	t.Helper()
	const all = "SELECT coalesce(string_agg(o::text, ',' ORDER BY id), '') FROM orders o"
	if source, target := pgtest.QueryOne(t, l.adminSource, all), pgtest.QueryOne(t, l.adminSink, all); source != target || source == "" {
		t.Errorf("source %s, target %s", source, target)
	}
}

// ownPublication has entrain make the publication, with the rights that the page
// prints for it, and remove it.
func (l *least) ownPublication(t *testing.T) {
	t.Helper()
	for sql := range strings.SplitSeq(strings.TrimSpace(indented(t, "```sql\n  -- source, as a superuser, instead of CREATE PUBLICATION\n")), "\n") {
		pgtest.Exec(t, l.adminSource, strings.ReplaceAll(sql, "DATABASE app", "DATABASE "+databaseOf(t, l.adminSource)))
	}
	lines := filepath.Join(t.TempDir(), "lines.jsonl")
	file := writePipeline(t, "own", fromPostgres(l.source), intoFile(lines))
	launch(t, "check", file.path).exit(t, exitOK)
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	pgtest.Exec(t, l.adminSource, "UPDATE orders SET note = 'by our own'")
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	if n := strings.Count(readText(t, lines), "by our own"); fmt.Sprint(n) != pgtest.QueryOne(t, l.adminSource, "SELECT count(*) FROM orders") {
		t.Errorf("%d updates in the file", n)
	}
	launch(t, "teardown", "--yes", file.path).exit(t, exitOK)
	if n := pgtest.QueryOne(t, l.adminSource, "SELECT count(*) FROM pg_publication WHERE pubname = 'entrain_own'"); n != "0" {
		t.Error("the publication is left")
	}
	pgtest.Exec(t, l.adminSource, "REVOKE shop_owner FROM entrain_capture")
}

// dbasSlot reads from a slot that somebody else made, without source.create.
func (l *least) dbasSlot(t *testing.T) {
	t.Helper()
	pgtest.Exec(t, l.adminSource, "SELECT pg_create_logical_replication_slot('dbas', 'pgoutput')")
	lines := filepath.Join(t.TempDir(), "lines.jsonl")
	file := writePipeline(t, "dba", fmt.Sprintf("{type: postgres, url: %q, slot: dbas, publication: entrain_shop, heartbeat: 1s}", l.source), intoFile(lines))
	launch(t, "check", file.path).exit(t, exitOK)
	pgtest.Exec(t, l.adminSource, "UPDATE orders SET note = 'by the DBA'")
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	if !strings.Contains(readText(t, lines), "by the DBA") {
		t.Error("nothing came through the slot")
	}
}

// indented returns what follows the opening in the page, up to the block's end.
func indented(t *testing.T, opening string) string {
	t.Helper()
	page := readText(t, filepath.Join("..", "..", "docs", "postgres.md"))
	_, rest, found := strings.Cut(page, opening)
	block, _, closed := strings.Cut(rest, "  ```\n")
	if !found || !closed {
		t.Fatalf("the page has no block that begins with %q", opening)
	}
	return block
}

// TestSE05BaseBackup holds the page to what it says of REPLICATION: with its
// lines of pg_hba.conf we work, physical replication is refused to the role, and
// so are other databases; the command alone cannot be.
func TestSE05BaseBackup(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			l := newLeast(t, major)
			admin := l.srv.SocketURL("postgres")
			pgtest.Exec(t, admin, "ALTER ROLE entrain_capture PASSWORD 'x'")
			lines := strings.ReplaceAll(indented(t, "```\n  # TYPE"), "    app    ", "    "+databaseOf(t, l.source)+"    ")
			hba := "#" + lines + "local all all trust\nhost all all all trust\n"
			if err := os.WriteFile(filepath.Join(l.srv.Dir(), "data", "pg_hba.conf"), []byte(hba), 0o644); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, admin, "SELECT pg_reload_conf()")
			source := strings.Replace(l.source, "entrain_capture@", "entrain_capture:x@", 1)
			pgtest.Eventually(t, patience, "a password is asked for", func() bool { return command(t, l.source, "SELECT 1") != nil })
			for name, url := range map[string]string{
				"physical replication": source + "?replication=true",
				"another database":     strings.Replace(source, "/"+databaseOf(t, source), "/postgres", 1),
			} {
				if err := command(t, url, baseBackup(major)); err == nil || !strings.Contains(err.Error(), "28000") {
					t.Errorf("%s: %v; want a refusal by pg_hba.conf", name, err)
				}
			}
			if err := command(t, source+"?replication=database", baseBackup(major)); err != nil {
				t.Errorf("the page says that the command is taken: %v", err)
			}
			if err := command(t, l.target+"?replication=database", baseBackup(major)); err == nil {
				t.Error("the role that applies takes a backup")
			}
			file := writePipeline(t, l.name, fromPostgres(source), intoPostgres(l.target))
			launch(t, "check", file.path).exit(t, exitOK)
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			addOrders(t, l.adminSource, 1, 10)
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			l.sameOrders(t)
		})
	}
}

// baseBackup is the command in the version's syntax. It waits neither for a
// checkpoint nor for the archive.
func baseBackup(major int) string {
	if major < 15 {
		return "BASE_BACKUP FAST NOWAIT"
	}
	return "BASE_BACKUP (CHECKPOINT 'fast', WAIT false)"
}

// command runs one command in a session of its own.
func command(t *testing.T, url, text string) error {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	return conn.Exec(t.Context(), text).Close()
}
