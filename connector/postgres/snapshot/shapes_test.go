package snapshot_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestShapes: a snapshot describes each table as the stream does, whatever the
// publication makes of it.
func TestShapes(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		version := pgtest.QueryOne(t, url, "SHOW server_version_num")
		pgtest.Exec(t, url, "CREATE SCHEMA \"S \"\"x\"", "CREATE TYPE mood AS ENUM ('ok', 'so')", "CREATE DOMAIN pos AS numeric(10,2) CHECK (VALUE > 0)",
			"CREATE DOMAIN poss AS pos", "CREATE TYPE pair AS (a int, b text)", "CREATE TYPE span AS RANGE (subtype = float8)",
			"CREATE EXTENSION citext", "CREATE EXTENSION hstore",
			`CREATE TABLE types (id int PRIMARY KEY, a numeric(5,2), b varchar(7)[], c mood, d mood[], e pos, f poss, g pair, h span, i citext, j hstore, k timestamptz(3), l bit(4), m "char", n interval day to second (2), o jsonb, p bytea, q poss[])`,
			`INSERT INTO types (id, a) VALUES (1, 1.5)`,
			`CREATE TABLE "S ""x"."T ""\ y" ("Id" int, "a,b" text, PRIMARY KEY ("Id"))`, `INSERT INTO "S ""x"."T ""\ y" VALUES (1, 'x')`,
			"CREATE TABLE full_id (id int, b text)", "ALTER TABLE full_id REPLICA IDENTITY FULL", "INSERT INTO full_id VALUES (1, 'x')",
			"CREATE TABLE by_index (id int NOT NULL, b text NOT NULL, c int, UNIQUE (b, id))", "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b_id_key", "INSERT INTO by_index VALUES (1, 'x', 2)",
			"CREATE TABLE bare (id int, b text)", "INSERT INTO bare VALUES (1, 'x')",
			"CREATE TABLE dropped (x int, id int PRIMARY KEY, y int, z text)", "ALTER TABLE dropped DROP x, DROP y", "INSERT INTO dropped VALUES (1, 'z')",
			"CREATE TABLE gen (id int PRIMARY KEY, b int, c int GENERATED ALWAYS AS (b * 2) STORED)", "INSERT INTO gen VALUES (1, 2)",
			"CREATE TABLE parent (id int PRIMARY KEY, b text)", "CREATE TABLE child (c int) INHERITS (parent)", "ALTER TABLE child ADD PRIMARY KEY (id)",
			"INSERT INTO parent VALUES (1, 'x')", "INSERT INTO child VALUES (1, 'y', 3)",
			"CREATE TABLE m (id int PRIMARY KEY, b text, c int) PARTITION BY RANGE (id)", "CREATE TABLE m_1 (c int, x int, b text, id int NOT NULL)", "ALTER TABLE m_1 DROP x",
			"ALTER TABLE m ATTACH PARTITION m_1 FOR VALUES FROM (0) TO (10)", "CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM (10) TO (20)",
			"INSERT INTO m VALUES (1, 'x', 2), (11, 'y', 3)")
		if version >= "180000" {
			pgtest.Exec(t, url, "CREATE TABLE virt (id int PRIMARY KEY, b int, c int GENERATED ALWAYS AS (b * 2) VIRTUAL, d int GENERATED ALWAYS AS (b * 3) STORED)", "INSERT INTO virt VALUES (1, 2)")
		}
		publications := []string{"FOR ALL TABLES", "FOR ALL TABLES WITH (publish_via_partition_root = true)"}
		if version >= "150000" {
			publications = append(publications, "FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true)",
				"FOR TABLE types (id, c, f), gen (id, b), m (id, c), dropped (z, id), full_id WITH (publish_via_partition_root = true)", "FOR TABLE m_1 (c, id), m_2")
		}
		if version >= "180000" {
			publications = append(publications, "FOR ALL TABLES WITH (publish_generated_columns = stored)", "FOR TABLE gen (id, c), virt (id, d)")
		}
		for _, publication := range publications {
			pgtest.Exec(t, url, "DROP PUBLICATION IF EXISTS pub", "CREATE PUBLICATION pub "+publication)
			checkShapes(t, url)
		}
	})
}

// checkShapes inserts what the tables have once more and compares what comes
// with what the snapshot has.
func checkShapes(t *testing.T, url string) {
	t.Helper()
	src := newSource(t, url)
	s := take(t, src, entrain.SnapshotRequest{})
	rows := map[string][][]string{}
	for i := range s.Tables() {
		if err := readTable(t, s, i, func(e *entrain.Event) {
			rows[e.Table.String()] = append(rows[e.Table.String()], values(e, e.After, nil))
		}); err != nil {
			t.Fatal(err)
		}
	}
	checkChunkShapes(t, src, s, rows)
	for _, table := range pgtest.Query(t, url, "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace >= 16384 OR relkind = 'r' AND relnamespace = 'public'::regnamespace") {
		pgtest.Exec(t, url, "CREATE TEMP TABLE x AS SELECT * FROM ONLY "+table[0]+
			"; "+again(t, url, table[0]))
	}
	seen := map[string]bool{}
	for _, e := range streamed(t, src, s.Point()) {
		if e.Op != entrain.OpInsert {
			continue
		}
		name := e.Table.String()
		i := index(t, s, name)
		if want := s.Tables()[i].Table; !reflect.DeepEqual(e.Table, want) {
			t.Errorf("the stream has\n%+v, the snapshot\n%+v", e.Table, want)
		}
		seen[name] = true
		if got := values(&e, e.After, nil); !slices.ContainsFunc(rows[name], func(r []string) bool { return slices.Equal(r, got) }) {
			t.Errorf("the stream has %q of %s, the snapshot %q", got, name, rows[name])
		}
	}
	for _, st := range s.Tables() {
		if !seen[st.Table.String()] {
			t.Errorf("the stream has no %s", st.Table)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// checkChunkShapes: chunks have the shapes of the snapshot's tables, and the same
// rows.
func checkChunkShapes(t *testing.T, src *postgres.Source, s entrain.Snapshot, rows map[string][][]string) {
	t.Helper()
	session := chunks(t, src)
	tables, err := session.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != len(s.Tables()) {
		t.Errorf("%d tables to read by key, the snapshot has %d", len(tables), len(s.Tables()))
	}
	for _, ct := range tables {
		want := s.Tables()[index(t, s, ct.Table.String())]
		if !reflect.DeepEqual(ct.Table, want.Table) || !reflect.DeepEqual(ct.Definition, want.Definition) {
			t.Errorf("by key\n%+v, the snapshot has\n%+v", ct, want)
		}
		if ct.Refused != "" {
			continue
		}
		if got := byChunks(t, session, ct.Table, 1); !slices.Equal(lines(got), lines(rows[ct.Table.String()])) {
			t.Errorf("chunks of %s have %q, the snapshot %q", ct.Table, got, rows[ct.Table.String()])
		}
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

// again is SQL that deletes a table's rows and inserts them, generated columns
// left out.
func again(t *testing.T, url, table string) string {
	columns := pgtest.QueryOne(t, url, "SELECT string_agg(quote_ident(attname), ',') FROM pg_attribute WHERE attrelid = $x$"+table+"$x$::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''")
	return "BEGIN; TRUNCATE ONLY " + table + "; INSERT INTO " + table + " (" + columns + ") SELECT " + columns + " FROM x; COMMIT"
}
