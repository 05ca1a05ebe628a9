package snapshot_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// keyKind is a table with a key of some kind; fill inserts rows by an expression
// over i, or in whatever way.
type keyKind struct{ name, columns, fill string }

var keyKinds = []keyKind{
	{"int4", "id int PRIMARY KEY, v text", "SELECT i - 50, 'x' FROM generate_series(1, 100) i"},
	{"int8", "id bigint PRIMARY KEY", "SELECT 9223372036854775807 - i FROM generate_series(0, 20) i UNION SELECT -9223372036854775808"},
	{"text", "v int, id text PRIMARY KEY", `SELECT i, chr(32 + i) || 'x' FROM generate_series(1, 90) i UNION ALL SELECT 0, '' UNION ALL SELECT 1, E'\t\\N\n''' UNION ALL SELECT 2, 'ä' UNION ALL SELECT 3, '🎉'`},
	{"c_text", `id text COLLATE "C" PRIMARY KEY`, "SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'A' END || i FROM generate_series(1, 30) i"},
	{"icu", `id text COLLATE icu PRIMARY KEY`, "SELECT CASE WHEN i % 2 = 0 THEN 'e-' ELSE 'É ' END || i FROM generate_series(1, 30) i"},
	{"blind", `id text COLLATE blind PRIMARY KEY`, "SELECT CASE WHEN i % 2 = 0 THEN 'e' ELSE 'É' END || i FROM generate_series(1, 30) i"},
	{"unblind", `id text COLLATE blind NOT NULL`, "SELECT CASE WHEN i % 2 = 0 THEN 'e' ELSE 'E' END || i / 2 FROM generate_series(1, 30) i"},
	{"uuid", "id uuid PRIMARY KEY", "SELECT md5(i::text)::uuid FROM generate_series(1, 30) i"},
	{"composite", "a int, b text, c numeric, PRIMARY KEY (c, a, b)", "SELECT i % 3, 'b' || i % 5, i / 15 FROM generate_series(0, 59) i ON CONFLICT DO NOTHING"},
	{"mixed", `a int, b citext, v int, PRIMARY KEY (b, a)`, "SELECT i, CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i % 3, i FROM generate_series(1, 40) i"},
	{"citexts", "id citext PRIMARY KEY", "SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM generate_series(1, 40) i"},
	{"numeric", "id numeric PRIMARY KEY", "SELECT i / 7.0 FROM generate_series(-10, 10) i UNION ALL SELECT 'NaN' UNION ALL SELECT 'Infinity' UNION ALL SELECT '-Infinity' UNION ALL SELECT 2.50 UNION ALL SELECT repeat('9', 300)::numeric"},
	{"timestamptz", "id timestamptz PRIMARY KEY", "SELECT '2026-03-29 00:00 Europe/Berlin'::timestamptz + i * interval '17 min 0.000001 s' FROM generate_series(1, 20) i UNION ALL SELECT 'infinity' UNION ALL SELECT '-infinity' UNION ALL SELECT '0044-03-15 BC'"},
	{"bytea", "id bytea PRIMARY KEY", `SELECT decode(lpad(to_hex(i * 5), 4, '0'), 'hex') FROM generate_series(0, 50) i UNION ALL SELECT '\x' UNION ALL SELECT '\x5c27'`},
	{"enum", "id mood PRIMARY KEY", "SELECT unnest(enum_range(NULL::mood))"},
	{"domain", "id poss PRIMARY KEY", "SELECT i / 4.0 FROM generate_series(1, 30) i"},
	{"row", "id pair PRIMARY KEY", "SELECT ROW(i % 4, chr(34 + i))::pair FROM generate_series(0, 20) i"},
	{"array", "id text[] PRIMARY KEY", "SELECT ARRAY['a' || i % 4, NULL, 'c,' || i] FROM generate_series(1, 20) i UNION ALL SELECT '{}'"},
	{"range", "id int4range PRIMARY KEY", "SELECT int4range(i % 3, i) FROM generate_series(3, 20) i"},
	{"bpchar", "id char(5) PRIMARY KEY", "SELECT i FROM generate_series(1, 30) i"},
	{"varchar", "id varchar(9) PRIMARY KEY", "SELECT 'abcdef' || i FROM generate_series(1, 30) i"},
	{"bit", "id bit(5) PRIMARY KEY", "SELECT i::bit(5) FROM generate_series(0, 31) i"},
	{"varbit", "id varbit PRIMARY KEY", "SELECT repeat('10', i)::varbit FROM generate_series(0, 20) i"},
	{"char1", `id "char" PRIMARY KEY`, `SELECT chr(i)::"char" FROM generate_series(1, 127) i`},
	{"name", "id name PRIMARY KEY", "SELECT 'n' || i FROM generate_series(0, 20) i"},
	{"float", "id float8 PRIMARY KEY", "SELECT i / 3.0 FROM generate_series(-10, 10) i UNION ALL SELECT 'NaN' UNION ALL SELECT '-Infinity' UNION ALL SELECT 5e-324"},
	{"bool", "a bool, b date, PRIMARY KEY (a, b)", "SELECT i % 2 = 0, '2026-01-01'::date + i FROM generate_series(0, 20) i"},
	{"inet", "id inet PRIMARY KEY", "SELECT '10.0.0.0'::inet + i FROM generate_series(0, 20) i UNION ALL SELECT '::1/64'"},
	{"interval", "id interval PRIMARY KEY", "SELECT i * interval '5 days 1 hour' FROM generate_series(0, 20) i"},
	{"jsonb", "id jsonb PRIMARY KEY", `SELECT jsonb_build_object('a''b\', i) FROM generate_series(0, 20) i`},
	{"oid", "id oid PRIMARY KEY", "SELECT i FROM generate_series(0, 10) i UNION ALL SELECT 4294967295"},
	{"hstore", "id ext.hstore PRIMARY KEY", "SELECT ext.hstore('k', i::text) FROM generate_series(0, 20) i"},
	{"descending", "a int NOT NULL, b text NOT NULL", "SELECT i % 5, 'b' || i FROM generate_series(0, 30) i"},
	{"pattern", "id text NOT NULL", "SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'B' END || i FROM generate_series(1, 30) i"},
	{"covering", "id int NOT NULL, v text", "SELECT i, 'x' FROM generate_series(1, 30) i"},
	{`quo"ted\`, `"i d" int, "a,b""" text, PRIMARY KEY ("a,b""", "i d")`, `SELECT i, 'x\''' || i % 3 FROM generate_series(1, 30) i`},
}

var keyTypes = []string{
	"CREATE SCHEMA ext", "CREATE EXTENSION citext", "CREATE EXTENSION hstore SCHEMA ext", "CREATE TYPE mood AS ENUM ('so', 'Ok', '', 'a''b')",
	"CREATE DOMAIN pos AS numeric(10,2) CHECK (VALUE > 0)", "CREATE DOMAIN poss AS pos", "CREATE TYPE pair AS (a int, b text)",
	"CREATE COLLATION icu (provider = icu, locale = 'de-u-ka-shifted')",
	"CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
}

// keyIndexes are those that are no primary keys.
var keyIndexes = []string{
	`CREATE UNIQUE INDEX unblind_key ON unblind (id COLLATE "C")`, "ALTER TABLE unblind REPLICA IDENTITY USING INDEX unblind_key",
	"CREATE UNIQUE INDEX descending_key ON descending (b DESC, a)", "ALTER TABLE descending REPLICA IDENTITY USING INDEX descending_key",
	"CREATE UNIQUE INDEX pattern_key ON pattern (id text_pattern_ops)", "ALTER TABLE pattern REPLICA IDENTITY USING INDEX pattern_key",
	"CREATE UNIQUE INDEX covering_key ON covering (id) INCLUDE (v)", "ALTER TABLE covering REPLICA IDENTITY USING INDEX covering_key",
}

// TestChunkKeys: whatever the key is, chunks of any size have every row once, and
// each row is found by its key.
func TestChunkKeys(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, keyTypes...)
		for _, k := range keyKinds {
			pgtest.Exec(t, url, "CREATE TABLE "+ident(k.name)+" ("+k.columns+")", "INSERT INTO "+ident(k.name)+" "+k.fill)
		}
		pgtest.Exec(t, url, append(keyIndexes, "CREATE PUBLICATION pub FOR ALL TABLES")...)
		s := chunks(t, newSource(t, url))
		for _, k := range keyKinds {
			t.Run(k.name, func(t *testing.T) { checkKeyKind(t, s, url, k.name) })
		}
	})
}

func ident(name string) string { return fmt.Sprintf(`"%s"`, doubled(name)) }

func doubled(name string) string {
	var out []rune
	for _, r := range name {
		if r == '"' {
			out = append(out, r)
		}
		out = append(out, r)
	}
	return string(out)
}

func checkKeyKind(t *testing.T, s entrain.ChunkSession, url, name string) {
	t.Helper()
	ct := chunkTable(t, s, "public."+name)
	if ct.Refused != "" {
		t.Fatal(ct.Refused)
	}
	all := pgtest.Query(t, url, settingsSQL()+"SELECT * FROM public."+ident(name))
	want := lines(all)
	if len(want) < 4 {
		t.Fatalf("%d rows", len(want))
	}
	var whole [][]string
	for _, n := range []int{1000, 1, 2, 7, len(want)} {
		got := byChunks(t, s, ct.Table, n)
		if !slices.Equal(lines(got), want) {
			t.Errorf("by chunks of %d: %q, want %q", n, lines(got), want)
		}
		if whole == nil {
			whole = got
		}
		if !slices.EqualFunc(got, whole, slices.Equal) {
			t.Errorf("chunks of %d have another order", n)
		}
	}
	for _, row := range whole {
		c := readChunk(t, s, entrain.ChunkQuery{Table: ct.Table, Of: keyTexts(ct.Table, row)})
		if len(c.Rows) != 1 || c.More || !slices.Equal(rowTexts(ct.Table, c.Rows[0]), row) || !slices.Equal(c.Last, keyTexts(ct.Table, row)) {
			t.Errorf("of %q: %d rows, last %q", row, len(c.Rows), c.Last)
		}
	}
}

// TestChunkOfNothing: a key that no row has, a table without rows, and what is no
// query.
func TestChunkOfNothing(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (a int, b text, PRIMARY KEY (a, b))", "INSERT INTO t VALUES (1, 'x')", "CREATE TABLE none (id int PRIMARY KEY)",
			"CREATE PUBLICATION pub FOR ALL TABLES")
		s := chunks(t, newSource(t, url))
		table, none := chunkTable(t, s, "public.t").Table, chunkTable(t, s, "public.none").Table
		for _, q := range []entrain.ChunkQuery{
			{Table: table, Of: []string{"1", "y"}}, {Table: table, After: []string{"1", "x"}, Rows: 5}, {Table: none, Rows: 1},
		} {
			if c := readChunk(t, s, q); len(c.Rows) != 0 || c.Last != nil || c.More {
				t.Errorf("%+v: %+v", q, c)
			}
		}
		for _, q := range []entrain.ChunkQuery{{Table: table}, {Table: table, After: []string{"1"}, Rows: 1}, {Table: table, Of: []string{}}} {
			if err := chunkError(t, s, q); entrain.IsRetryable(err) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		if got := byChunks(t, s, table, 1); len(got) != 1 {
			t.Errorf("behind refused queries: %q", got)
		}
	})
}

// TestChunkTables: which tables can be read, how many rows they have about, and
// how they are made elsewhere.
func TestChunkTables(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 5000)", "ANALYZE t",
			"CREATE TABLE whole (id int PRIMARY KEY)", "ALTER TABLE whole REPLICA IDENTITY FULL", "CREATE TABLE bare (id int)",
			"CREATE TABLE nothing (id int PRIMARY KEY)", "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
			"CREATE TABLE late (id int PRIMARY KEY DEFERRABLE)", "CREATE VIEW v AS SELECT * FROM t", "CREATE UNLOGGED TABLE u (id int PRIMARY KEY)",
			"CREATE TABLE gone (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR ALL TABLES")
		cfg := sourceConfig(t, url)
		cfg.Tables.Exclude = []string{"public.gone"}
		s := chunks(t, mustSource(t, cfg))
		tables, err := s.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused := map[string]bool{}
		for _, ct := range tables {
			refused[ct.Table.Name] = ct.Refused != ""
			if ct.Definition == nil || len(ct.Definition.Before) == 0 {
				t.Errorf("%s has no definition", ct.Table)
			}
			if want := map[string]int64{"t": 5000}[ct.Table.Name]; want != 0 && ct.Rows != want || want == 0 && ct.Rows != -1 {
				t.Errorf("%s: %d rows", ct.Table, ct.Rows)
			}
			if ct.Refused != "" {
				if err := chunkError(t, s, entrain.ChunkQuery{Table: ct.Table, Rows: 1}); !entrain.IsRetryable(err) {
					t.Errorf("%s: %v", ct.Table, err)
				}
			}
		}
		want := map[string]bool{"t": false, "whole": true, "bare": true, "nothing": true, "late": true}
		if fmt.Sprint(refused) != fmt.Sprint(want) {
			t.Errorf("refused: %v, want %v", refused, want)
		}
		if err := chunkError(t, s, entrain.ChunkQuery{Table: &entrain.Table{Schema: "public", Name: "gone"}, Rows: 1}); !entrain.IsRetryable(err) {
			t.Errorf("a table that is left out: %v", err)
		}
	})
}

// TestChunksBesideLock: a table that somebody has to himself for long is not in the
// way of chunks of another one. To list the tables waits for it, but not for long.
func TestChunksBesideLock(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root = true)",
			"CREATE TABLE u (id int PRIMARY KEY, b int DEFAULT 7 CHECK (b > 0), UNIQUE (b))", "CREATE INDEX ON u ((b + 1)) WHERE b > 5",
			"CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)", "CREATE TABLE m_1 PARTITION OF m DEFAULT")
		s := chunks(t, newSource(t, url))
		table := chunkTable(t, s, "public.t").Table
		locked := pgtest.Connect(t, url)
		do(t, locked, "BEGIN; LOCK u, m")
		if got := byChunks(t, s, table, 1); len(got) != 1 {
			t.Errorf("%q", got)
		}
		if _, err := s.Tables(t.Context()); err != nil && !entrain.IsRetryable(err) {
			t.Errorf("tables: %v", err)
		}
		if got := byChunks(t, s, table, 1); len(got) != 1 {
			t.Errorf("behind a list that failed: %q", got)
		}
		do(t, locked, "ROLLBACK")
	})
}
