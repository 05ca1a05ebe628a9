package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// addSQL is the SQL of a stop of AddTable, without what is said behind it.
func addSQL(stop *entrain.Stop) string {
	sql, _, _ := strings.Cut(stop.Next, " -- ")
	return sql
}

func member(t *testing.T, url, table string) bool {
	t.Helper()
	return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_publication_rel WHERE prrelid = '"+table+"'::regclass") == "1"
}

// TestAddTable: a table is captured from then on by the readers that there are, as
// complete as one that was there from the start; one that is captured is left as
// it is.
func TestAddTable(t *testing.T) {
	pgtest.AsOwner(t)
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION pub FOR TABLE t")
		src := newTestSource(t, url)
		from := createSlot(t, src)
		r := openReader(t, src, from)
		pgtest.Exec(t, url, `CREATE SCHEMA "S x"`, `CREATE TABLE "S x"."T ""y" (id int PRIMARY KEY)`, `INSERT INTO "S x"."T ""y" VALUES (1)`)
		for range 2 {
			if err := src.AddTable(t.Context(), "S x", `T "y`); err != nil {
				t.Fatal(err)
			}
			if err := src.AddTable(t.Context(), "public", "t"); err != nil {
				t.Error(err)
			}
		}
		pgtest.Exec(t, url, `INSERT INTO "S x"."T ""y" VALUES (2)`, "INSERT INTO t VALUES (1, 'x')")
		c := captureLines(t, r, 2)
		if len(c.lines) != 2 || !strings.Contains(c.lines[0], `"id":2`) {
			t.Errorf("%q", c.lines)
		}
		closeReader(t, r)
	})
}

// TestAddTablePublishedByItself: what a publication of all tables or of a schema
// has needs no adding.
func TestAddTablePublishedByItself(t *testing.T) {
	pgtest.AsOwner(t)
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE bare (id int)", "CREATE PUBLICATION pub FOR ALL TABLES",
			"CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE m_1 PARTITION OF m DEFAULT")
		for _, table := range []string{"t", "bare", "m", "m_1"} {
			if err := newTestSource(t, url).AddTable(t.Context(), "public", table); err != nil {
				t.Error(err)
			}
		}
		if pgtest.QueryOne(t, url, "SHOW server_version_num") < "150000" {
			return
		}
		pgtest.Exec(t, url, "DROP PUBLICATION pub", "CREATE PUBLICATION pub FOR TABLES IN SCHEMA public", "CREATE SCHEMA s", "CREATE TABLE s.t (id int PRIMARY KEY)")
		for _, schema := range []string{"public", "s"} {
			if err := newTestSource(t, url).AddTable(t.Context(), schema, "t"); err != nil {
				t.Error(err)
			}
		}
		if member(t, url, "t") || !member(t, url, "s.t") {
			t.Error("not what the publication lacked was added")
		}
	})
}

// TestAddTableExcluded: the file decides, and the stop says which of its keys.
func TestAddTableExcluded(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE u (id int PRIMARY KEY)", "CREATE SCHEMA entrain", "CREATE TABLE entrain.position (id int PRIMARY KEY)", "CREATE PUBLICATION pub")
		cfg := sourceConfig(t, url)
		cfg.Tables = Tables{Include: []string{"public.*"}, Exclude: []string{"public.u"}}
		src := mustSource(t, cfg)
		for _, c := range []struct{ schema, name, says string }{
			{"public", "u", "source.tables.exclude"}, {"s", "u", "source.tables.include"}, {"entrain", "position", "entrain's own"},
		} {
			stop := expectStop(t, src.AddTable(t.Context(), c.schema, c.name), "table_excluded")
			if !strings.Contains(stop.What, c.says) {
				t.Errorf("%+v", stop)
			}
		}
		if member(t, url, "u") {
			t.Error("it was added")
		}
	})
}

// TestAddTableUnknown: what cannot be captured is not added.
func TestAddTableUnknown(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE VIEW v AS SELECT * FROM t", "CREATE UNLOGGED TABLE u (id int PRIMARY KEY)", "CREATE PUBLICATION pub")
		src := newTestSource(t, url)
		for _, name := range []string{"v", "u", "T", "none"} {
			stop := expectStop(t, src.AddTable(t.Context(), "public", name), "table_unknown")
			if rows := pgtest.Query(t, url, addSQL(stop)); len(rows) == 0 {
				t.Error("the list is empty")
			}
		}
		pgtest.Exec(t, url, "DROP PUBLICATION pub")
		expectStop(t, src.AddTable(t.Context(), "public", "t"), "publication_missing")
	})
}

// TestAddTableWithoutIdentity: PG-9. What would make UPDATE fail at the source is
// not added before it is mended by the stop's SQL.
func TestAddTableWithoutIdentity(t *testing.T) {
	pgtest.AsOwner(t)
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE bare (id int)", "CREATE TABLE nothing (id int PRIMARY KEY)", "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
			"CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE m_1 PARTITION OF m DEFAULT", "ALTER TABLE m_1 REPLICA IDENTITY NOTHING",
			"CREATE TABLE x (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE x_1 PARTITION OF x DEFAULT", "ALTER TABLE x_1 REPLICA IDENTITY FULL",
			"CREATE TABLE gen (a int NOT NULL, id int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY)", "CREATE PUBLICATION pub WITH (publish_via_partition_root = true)")
		src := newTestSource(t, url)
		for _, c := range []struct{ table, code string }{
			{"bare", "no_replica_identity"}, {"nothing", "no_replica_identity"}, {"m", "no_replica_identity"}, {"x", "partition_identity"}, {"gen", "generated_identity"},
		} {
			stop := expectStop(t, src.AddTable(t.Context(), "public", c.table), c.code)
			if member(t, url, c.table) {
				t.Fatalf("%s was added", c.table)
			}
			pgtest.Exec(t, url, addSQL(stop))
			if err := src.AddTable(t.Context(), "public", c.table); err != nil {
				t.Errorf("mended: %v", err)
			}
			column := map[string]string{"gen": "a"}[c.table]
			if column == "" {
				column = "id"
			}
			pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO %[1]s (%[2]s) VALUES (1); UPDATE %[1]s SET %[2]s = 2; DELETE FROM %[1]s", c.table, column))
		}
	})
}

// TestAddPartitions: a partition is added as its partitioned table, and one of
// which a part is left out only where the publication sends it as itself.
func TestAddPartitions(t *testing.T) {
	pgtest.AsOwner(t)
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (10)",
			"CREATE TABLE m_2 PARTITION OF m DEFAULT", "CREATE PUBLICATION pub WITH (publish_via_partition_root = true)", "CREATE PUBLICATION leaves")
		src := newTestSource(t, url)
		if stop := expectStop(t, src.AddTable(t.Context(), "public", "m_1"), "table_is_partition"); !strings.Contains(stop.Next, "public.m ") {
			t.Errorf("%+v", stop)
		}
		if err := src.AddTable(t.Context(), "public", "m"); err != nil || !member(t, url, "m") {
			t.Errorf("the partitioned table: %v", err)
		}
		pgtest.Exec(t, url, "DROP PUBLICATION pub")
		cfg := sourceConfig(t, url)
		cfg.Publication = "leaves"
		cfg.Tables.Exclude = []string{"public.m_2"}
		src = mustSource(t, cfg)
		if err := src.AddTable(t.Context(), "public", "m_1"); err != nil || !member(t, url, "m_1") {
			t.Errorf("a partition of its own: %v", err)
		}
		stop := expectStop(t, src.AddTable(t.Context(), "public", "m"), "table_sent_as_partitions")
		if member(t, url, "m") {
			t.Error("it was added")
		}
		for _, sql := range strings.SplitAfter(addSQL(stop), ";") {
			pgtest.Exec(t, url, sql)
		}
		if err := src.AddTable(t.Context(), "public", "m"); err != nil || !member(t, url, "m") {
			t.Errorf("behind its SQL: %v", err)
		}
	})
}

// TestAddTableRights: a role that owns not both is told the SQL for one that does.
// A table that is locked is tried again.
func TestAddTableRights(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, oneTable, "CREATE TABLE u (id int PRIMARY KEY)", "CREATE TABLE v (id int PRIMARY KEY)", "CREATE PUBLICATION pub", "CREATE ROLE "+role+" LOGIN")
		cfg := sourceConfig(t, url)
		cfg.URL = connector.Secret(strings.Replace(url, "postgres@", role+"@", 1))
		src := mustSource(t, cfg)
		refused := func(table string) *entrain.Stop {
			t.Helper()
			return expectStop(t, src.AddTable(t.Context(), "public", table), "table_not_added")
		}
		stop := refused("t")
		pgtest.Exec(t, url, addSQL(stop))
		if err := src.AddTable(t.Context(), "public", "t"); err != nil {
			t.Errorf("behind its SQL: %v", err)
		}
		pgtest.Exec(t, url, "ALTER TABLE u OWNER TO "+role)
		if stop := refused("u"); !strings.Contains(stop.Why, `the publication is role "postgres"'s, the table role "`+role) {
			t.Errorf("%+v", stop)
		}
		pgtest.Exec(t, url, "ALTER TABLE u OWNER TO postgres", "GRANT CREATE ON DATABASE "+pgtest.QueryOne(t, url, "SELECT current_database()")+" TO "+role, "ALTER PUBLICATION pub OWNER TO "+role)
		refused("u")
		pgtest.Exec(t, url, "ALTER TABLE u OWNER TO "+role)
		if err := src.AddTable(t.Context(), "public", "u"); err != nil || !member(t, url, "u") {
			t.Errorf("owner of both: %v", err)
		}
		pgtest.Exec(t, url, "ALTER TABLE v OWNER TO "+role)
		locked := pgtest.Connect(t, url)
		if _, err := locked.Exec(t.Context(), "BEGIN; LOCK v").ReadAll(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := src.AddTable(ctx, "public", "v"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind a lock: %v", err)
		}
		if err := src.AddTable(t.Context(), "public", "v"); !entrain.IsRetryable(err) {
			t.Errorf("behind a lock: %v", err)
		}
	})
}
