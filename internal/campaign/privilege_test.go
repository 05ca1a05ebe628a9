package campaign

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// sqlBlock is a block of SQL in a page whose first line says where it is run.
var sqlBlock = regexp.MustCompile("(?s)\n```sql\n-- (source|target), as (a superuser|the owner of the tables)[^\n]*\n(.*?)```\n")

// least is a shop whose pipeline has the rights that docs/postgres.md prints.
type least struct {
	site                   // with the roles' URLs
	adminSource, adminSink string
	srv                    *pgserver.Server
	file                   pipelineFile
}

// newLeast makes roles and publication as the page says. The owner of the
// tables is not a superuser.
func newLeast(t *testing.T, major int) *least {
	t.Helper()
	srv := pgtest.Start(t, major, nil)
	l := &least{srv: srv, adminSource: pgtest.CreateDatabase(t, srv), adminSink: pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, l.adminSource, "CREATE ROLE shop_owner LOGIN")
	for _, u := range []string{l.adminSource, l.adminSink} {
		pgtest.Exec(t, u, fmt.Sprintf("GRANT CREATE ON DATABASE %s TO shop_owner; REVOKE ALL ON DATABASE %[1]s FROM PUBLIC; GRANT CONNECT ON DATABASE %[1]s TO shop_owner", databaseOf(t, u)),
			"ALTER SCHEMA public OWNER TO shop_owner", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
		pgtest.Exec(t, as(t, u, "shop_owner"), ordersSQL, "CREATE TABLE customers (id int PRIMARY KEY)")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "postgres.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rights, _ := strings.Cut(string(page), "\n## Rights\n")
	rights, _, _ = strings.Cut(rights, "\n## ")
	blocks := sqlBlock.FindAllStringSubmatch(rights, -1)
	if len(blocks) != 5 {
		t.Fatalf("%d blocks of SQL under Rights; want 5", len(blocks))
	}
	for _, block := range blocks {
		u := map[string]string{"source": l.adminSource, "target": l.adminSink}[block[1]]
		sql := strings.ReplaceAll(block[3], "DATABASE app", "DATABASE "+databaseOf(t, u))
		if block[2] != "a superuser" {
			u = as(t, u, "shop_owner")
		}
		pgtest.Exec(t, u, sql)
	}
	l.site = site{source: as(t, l.adminSource, "entrain_capture"), target: as(t, l.adminSink, "entrain_apply"), name: "shop"}
	l.file = writePipeline(t, l.name, fromPostgres(l.source), intoPostgres(l.target))
	return l
}

// as is the URL for another role.
func as(t *testing.T, raw, role string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

func databaseOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// TestSE05LeastPrivilege: the rights that the page prints are enough for
// everything that a pipeline does, and one that is taken away is a named stop
// with the SQL that gives it back, after which nothing is missing (P1, P5).
func TestSE05LeastPrivilege(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			l := newLeast(t, major)
			launch(t, "check", l.file.path).exit(t, exitOK)
			l.everything(t)
			l.targetRights(t)
			l.sourceRights(t)
			gone := launch(t, "teardown", "--yes", l.file.path)
			gone.exit(t, exitOK)
			if !gone.stderr.has("belongs to another role") {
				t.Errorf("teardown says nothing of the publication: %s", &gone.stderr)
			}
			if n := pgtest.QueryOne(t, l.adminSource, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
				t.Errorf("%s slots are left", n)
			}
		})
	}
}

// everything runs each operation, a kill, and the commands beside.
func (l *least) everything(t *testing.T) {
	t.Helper()
	p := launch(t, "run", l.file.path)
	l.file.until(t, "streaming", streaming)
	addOrders(t, l.adminSource, 1, 3000)
	l.file.until(t, "some are there", func(r admin.Report) bool { return r.Status.Applied > 0 })
	p.kill()
	pgtest.Exec(t, l.adminSource, "UPDATE orders SET note = 'sold' WHERE id % 3 = 0", "DELETE FROM orders WHERE id % 5 = 0",
		"UPDATE orders SET id = id + 100000 WHERE id = 7", "INSERT INTO customers VALUES (1)", "TRUNCATE customers",
		"INSERT INTO customers VALUES (2)")
	launch(t, "run", "--until", "now", l.file.path).exit(t, exitOK)
	l.equal(t)
}

func (l *least) equal(t *testing.T) {
	t.Helper()
	const all = "SELECT md5(string_agg(o::text, ',' ORDER BY id)) || (SELECT string_agg(c::text, ',' ORDER BY id) FROM customers c) FROM orders o"
	if source, target := pgtest.QueryOne(t, l.adminSource, all), pgtest.QueryOne(t, l.adminSink, all); source != target {
		t.Errorf("source %s, target %s", source, target)
	}
}

// grantSQL finds what a stop tells to grant.
var grantSQL = regexp.MustCompile(`(?m)(GRANT .*;|ALTER ROLE \S+ \w+;)`)

// targetRights takes each right at the target away in mid-run.
func (l *least) targetRights(t *testing.T) {
	t.Helper()
	for i, c := range []struct{ revoke, change string }{
		{"INSERT ON public.orders", "INSERT INTO orders SELECT i, 'x' FROM generate_series(200000, 200100) i"},
		{"UPDATE ON public.orders", "UPDATE orders SET note = 'again' WHERE id BETWEEN 200000 AND 200100"},
		{"DELETE ON public.orders", "DELETE FROM orders WHERE id = 200000"},
		{"TRUNCATE ON public.customers", "TRUNCATE customers; INSERT INTO customers VALUES (3)"},
		{"USAGE ON SCHEMA public", "INSERT INTO customers VALUES (4)"},
		{"SELECT ON public.orders", "UPDATE orders SET note = 'once more' WHERE id BETWEEN 200001 AND 200100"},
		{"UPDATE ON entrain.position", "INSERT INTO customers VALUES (6)"},
		{"UPDATE ON entrain.position", "INSERT INTO customers SELECT generate_series(1000, 1200)"}, // in bulk
		{"USAGE ON SCHEMA entrain", "INSERT INTO customers VALUES (7)"},
	} {
		p := launch(t, "run", l.file.path)
		l.file.until(t, "streaming", streaming)
		owner, table := as(t, l.adminSink, "shop_owner"), `"public".`
		if strings.Contains(c.revoke, "entrain") {
			owner, table = l.target, `"entrain"."position"`
		}
		pgtest.Exec(t, owner, "REVOKE "+c.revoke+" FROM entrain_apply")
		pgtest.Exec(t, l.adminSource, c.change)
		p.exit(t, exitEnvironment)
		said := p.stderr.String()
		if !strings.Contains(said, "no_privilege") || !strings.Contains(said, table) {
			t.Errorf("REVOKE %s: %s", c.revoke, tail(said, 600))
		}
		sql := grantSQL.FindAllString(said, -1)
		if len(sql) == 0 {
			t.Fatalf("case %d: no GRANT in %s", i, tail(said, 600))
		}
		pgtest.Exec(t, owner, sql...)
		launch(t, "run", "--until", "now", l.file.path).exit(t, exitOK)
		l.equal(t)
	}
}

// sourceRights takes the right to replicate away while the stream is open. An
// open stream is not asked again; the next one is.
func (l *least) sourceRights(t *testing.T) {
	t.Helper()
	p := launch(t, "run", l.file.path)
	l.file.until(t, "streaming", streaming)
	pgtest.Exec(t, l.adminSource, "ALTER ROLE entrain_capture NOREPLICATION",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
	pgtest.Exec(t, l.adminSource, "INSERT INTO customers VALUES (5)")
	p.exit(t, exitEnvironment)
	said := p.stderr.String()
	sql := grantSQL.FindAllString(said, -1)
	if !strings.Contains(said, "no_replication_right") || len(sql) == 0 {
		t.Fatalf("without REPLICATION: %s", tail(said, 600))
	}
	pgtest.Exec(t, l.adminSource, sql...)
	launch(t, "run", "--until", "now", l.file.path).exit(t, exitOK)
	l.equal(t)
}
