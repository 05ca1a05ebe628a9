package snapshot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// zoo has what a definition has to tell.
var zoo = []string{
	`CREATE SCHEMA "S ""x"`, "CREATE SCHEMA types", "CREATE SCHEMA ext",
	"CREATE EXTENSION citext", "CREATE EXTENSION hstore WITH SCHEMA ext", "CREATE EXTENSION pg_trgm WITH SCHEMA ext", "CREATE EXTENSION btree_gist",
	`CREATE TYPE types.mood AS ENUM ('ok', 'it''s', 'b\s')`, "ALTER TYPE types.mood ADD VALUE 'first' BEFORE 'ok'",
	"CREATE TYPE types.pair AS (a varchar(3), b types.mood[])",
	`CREATE DOMAIN types.pos AS numeric(10,2) DEFAULT 1.50 NOT NULL CONSTRAINT "P" CHECK (VALUE > 0) CHECK (VALUE < 1000)`,
	`CREATE DOMAIN types.named AS text COLLATE "C" CHECK (VALUE <> '%s')`, "CREATE DOMAIN types.pairs AS types.pair[]",
	"CREATE TYPE types.span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi)",
	"CREATE SEQUENCE shared",
	`CREATE TABLE "S ""x"."T ""\ y" ("Id" bigint GENERATED ALWAYS AS IDENTITY (START WITH 10 INCREMENT BY 5), "a,b" text COLLATE "C" NOT NULL DEFAULT 'it''s \ "', c int DEFAULT nextval('shared'), CONSTRAINT "the key" PRIMARY KEY ("Id"))`,
	`CREATE UNIQUE INDEX "i ""ON "" USING x" ON "S ""x"."T ""\ y" (lower("a,b") DESC, "Id" NULLS FIRST) WHERE "a,b" <> 'x'`,
	`CREATE TABLE plain (id serial PRIMARY KEY, small smallserial, m types.mood DEFAULT 'ok', ms types.mood[], p types.pos, pp types.pairs, sp types.span,
		sps types.span_multirange, n types.named, ci citext NOT NULL, h ext.hstore, ts timestamptz(3) DEFAULT now(), bits bit varying(5), iv interval day to second(2),
		num numeric(5,2) CHECK (num > 0), g int GENERATED ALWAYS AS (later + small) STORED, later int, code text DEFAULT ('x' || nextval('shared')),
		ref bigint REFERENCES "S ""x"."T ""\ y" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, self int REFERENCES plain,
		UNIQUE (ci, small), CONSTRAINT two CHECK (num < later), EXCLUDE USING gist (id WITH =, sp WITH &&))`,
	"CREATE INDEX ON plain USING gin (n ext.gin_trgm_ops)", "CREATE INDEX ON plain (ts) INCLUDE (num) WITH (fillfactor = 70)", "CREATE INDEX ON plain (m, ms)",
	"ALTER TABLE plain ADD CONSTRAINT unproved CHECK (later > 5) NOT VALID",
	"CREATE TABLE by_index (id int NOT NULL, b text NOT NULL)", "CREATE UNIQUE INDEX by_it ON by_index (b, id)", "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_it",
	"CREATE TABLE by_constraint (id int NOT NULL, b text NOT NULL, CONSTRAINT keyed UNIQUE (b))", "ALTER TABLE by_constraint REPLICA IDENTITY USING INDEX keyed",
	"CREATE TABLE keyless (a int, b text)", "ALTER TABLE keyless REPLICA IDENTITY FULL",
	"CREATE TABLE m (id int, b text, plain int REFERENCES plain, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
	"CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (10)", "CREATE INDEX m_b ON m (b)",
	"CREATE TABLE to_m (id int PRIMARY KEY, m int REFERENCES m, m2 int REFERENCES m (id))",
	"CREATE TABLE parent (id int PRIMARY KEY, b text CHECK (b <> ''))", "CREATE TABLE child (c int) INHERITS (parent)", "ALTER TABLE child ADD PRIMARY KEY (id)",
}

// described is what a database's catalog says of its tables, a line a thing.
func described(t *testing.T, url string) []string {
	t.Helper()
	const of = " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
	const tables = " WHERE c.relkind IN ('r', 'p') AND NOT (c.relispartition) AND (n.nspname IN ('public', 'types') OR n.nspname LIKE 'S %') "
	var lines []string
	for _, sql := range []string{
		`SELECT format('%s column %s %s %s %s %s %s', c.oid::regclass, quote_ident(attname), format_type(atttypid, atttypmod), attcollation::regcollation,
			attnotnull, a.attidentity <> '' OR pg_get_expr(adbin, adrelid) LIKE 'nextval(%' AND attnotnull,
			CASE WHEN pg_get_expr(adbin, adrelid) NOT LIKE '%nextval(%' THEN attgenerated::text || pg_get_expr(adbin, adrelid) END)` + of +
			"JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped LEFT JOIN pg_attrdef d ON adrelid = c.oid AND adnum = attnum" + tables,
		`SELECT format('%s constraint %s %s', c.oid::regclass, quote_ident(conname), pg_get_constraintdef(k.oid))` + of +
			"JOIN pg_constraint k ON conrelid = c.oid AND contype <> 'n' AND conparentid = 0" + tables,
		`SELECT format('index %s', replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON '))` + of + "JOIN pg_index i ON indrelid = c.oid" + tables,
		`SELECT format('type %s %s %s %s', t.oid::regtype, typtype, typnotnull, typdefault) || coalesce((SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), '')
			|| coalesce((SELECT string_agg(conname || pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'), '')
			|| format_type(typbasetype, typtypmod) || coalesce(nullif(typcollation, 0)::regcollation::text, '')
			|| coalesce((SELECT string_agg(attname || format_type(atttypid, atttypmod), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = typrelid), '')
			|| coalesce((SELECT rngsubtype::regtype || ' ' || rngsubdiff || ' ' || rngmultitypid::regtype FROM pg_range WHERE rngtypid = t.oid), '')
			FROM pg_type t WHERE typnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'types')`,
	} {
		for _, row := range pgtest.Query(t, url, "SET search_path = pg_catalog; "+sql) {
			lines = append(lines, row[0])
		}
	}
	slices.Sort(lines)
	return lines
}

// restore executes the definitions of a snapshot, as often as that.
func restore(t *testing.T, s entrain.Snapshot, url string, times int) {
	t.Helper()
	for _, step := range []func(d *entrain.Definition) []string{
		func(d *entrain.Definition) []string { return d.Before },
		func(d *entrain.Definition) []string { return d.Indexes },
		func(d *entrain.Definition) []string { return d.After },
		func(d *entrain.Definition) []string { return d.References },
	} {
		var sql []string
		for _, st := range s.Tables() {
			sql = append(sql, step(st.Definition)...)
		}
		for range times {
			pgtest.Exec(t, url, sql...)
		}
	}
}

// TestDefinition: what a definition makes in an empty database is what the
// source has, also if it is executed again; partitions become one table.
func TestDefinition(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, zoo...)
		pgtest.Exec(t, url, "CREATE PUBLICATION pub FOR ALL TABLES WITH (publish_via_partition_root = true)")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{Standalone: true})
		target := pgtest.CreateDatabase(t, pgtest.Shared(t, majorOf(t, url)))
		restore(t, s, target, 2)
		got, want := described(t, target), described(t, url)
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("made: %s", line)
			}
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("not made: %s", line)
			}
		}
		if len(want) < 60 {
			t.Errorf("only %d things described", len(want))
		}
	})
}

// TestDefinitionOfSome: of a table whose columns are not all published, and of
// one whose parent is not wanted, the rest is made.
func TestDefinitionOfSome(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		if pgtest.QueryOne(t, url, "SHOW server_version_num") < "150000" {
			t.Skip("versions before 15 have no column lists")
		}
		pgtest.Exec(t, url, "CREATE TYPE mood AS ENUM ('ok')", "CREATE TABLE parent (id int PRIMARY KEY, other int UNIQUE)",
			"CREATE TABLE t (id int PRIMARY KEY, a int, b int, m mood, p int REFERENCES parent, o int REFERENCES parent (other), g int GENERATED ALWAYS AS (a + 1) STORED, h int GENERATED ALWAYS AS (b + 1) STORED, CHECK (a > b), UNIQUE (a))",
			"CREATE INDEX ON t ((a + b))", "CREATE INDEX t_a ON t (a) WHERE b > 0", "CREATE INDEX t_a2 ON t (a)",
			"CREATE PUBLICATION pub FOR TABLE t (id, a, p, o), parent (id)")
		cfg := sourceConfig(t, url)
		s := take(t, mustSource(t, cfg), entrain.SnapshotRequest{})
		d := s.Tables()[index(t, s, "public.t")].Definition
		all := strings.Join(slices.Concat(d.Before, d.Indexes, d.After, d.References), "\n")
		for _, not := range []string{"mood", "b integer", "(b + 1)", "a > b", "(a + b)", "t_a ", `"m"`, "t_o_fkey"} {
			if strings.Contains(all, not) {
				t.Errorf("%s in\n%s", not, all)
			}
		}
		target := pgtest.CreateDatabase(t, pgtest.Shared(t, majorOf(t, url)))
		restore(t, s, target, 1)
		if got := pgtest.QueryOne(t, target, "SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"); got != "id,a,p,o,g" {
			t.Errorf("columns %s", got)
		}
		if got := pgtest.QueryOne(t, target, "SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype <> 'n'"); got != "t_a_key,t_p_fkey,t_pkey" {
			t.Errorf("constraints %s", got)
		}
		if d.Dialect != "postgres" {
			t.Errorf("dialect %q", d.Dialect)
		}
		some := take(t, mustSource(t, cfg), entrain.SnapshotRequest{Wants: func(_, name string) bool { return name == "t" }})
		if d := some.Tables()[0].Definition; len(some.Tables()) != 1 || len(d.References) != 0 {
			t.Errorf("references %q", d.References)
		}
	})
}

// TestDefinitionInGivenSchema: where the schema is there already, making the
// table takes the right to make tables in it, and none on the database.
func TestDefinitionInGivenSchema(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE SCHEMA "S ""x"`, `CREATE TYPE "S ""x".mood AS ENUM ('ok')`,
			`CREATE TABLE "S ""x".t (id int PRIMARY KEY, m "S ""x".mood)`, "CREATE PUBLICATION pub FOR ALL TABLES")
		s := take(t, newSource(t, url), entrain.SnapshotRequest{Standalone: true})
		target, role := pgtest.CreateDatabase(t, pgtest.Shared(t, majorOf(t, url))), pgtest.Name(t)
		pgtest.Exec(t, target, "CREATE ROLE "+role+" LOGIN", `CREATE SCHEMA "S ""x"`, `GRANT USAGE, CREATE ON SCHEMA "S ""x" TO `+role)
		restore(t, s, strings.Replace(target, "postgres@", role+"@", 1), 2)
	})
}
