package campaign

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// viewsSQL has one of each kind that has no changes in the log, over a table with a value of many types.
const viewsSQL = `
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN pct AS numeric(5,2) CHECK (VALUE <= 100);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE base (id int PRIMARY KEY, v varchar(20), n numeric(12,4), f float8, b bytea, ts timestamptz, d date, iv interval, j jsonb, u uuid,
  arr text[], m mood, p pct, r int4range, pr pair, bits bit(5), ch char(4), net inet, x xml, nul text);
INSERT INTO base SELECT i, 'v\t' || i, i / 7.0, 1.0 / (i + 1), decode(lpad(to_hex(i), 8, '0'), 'hex'), timestamptz '2001-02-03 04:05:06.789+00' + i * interval '1 hour',
  date '1999-12-31' + i, i * interval '1 day 2 seconds', jsonb_build_object('k', i, 'l', E'line\nbreak'), md5(i::text)::uuid,
  ARRAY['a,b', NULL, '"' || i], CASE WHEN i % 2 = 0 THEN 'ok'::mood ELSE 'sad' END, i % 100, int4range(i, i + 5), ROW(i, 'x"y')::pair, B'10101', 'c',
  '10.0.0.1/8', '<a/>', NULL FROM generate_series(1, 1500) i;
CREATE VIEW public.v_all AS SELECT *, upper(v) AS computed FROM base;
CREATE VIEW public.v_agg AS SELECT m, count(*) AS n, array_agg(DISTINCT p ORDER BY p) AS ps FROM public.v_all GROUP BY m;
CREATE VIEW public.v_wild AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW public.mv AS SELECT id, n, r FROM base WHERE id <= 700;
CREATE UNIQUE INDEX ON public.mv (id);
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE public.ft_wild (id int) SERVER nowhere;
CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE public.ft (id int NOT NULL, note varchar(9) DEFAULT 'x') SERVER files OPTIONS (program 'printf "1,one\n2,\n3,three\n"', format 'csv');
GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC`

// Views that the file names are copied once, byte by byte, into plain tables, and then left alone; a wildcard takes none.
func TestViewsAreCopiedOnce(t *testing.T) {
	for _, major := range campaignMajors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { copyViews(t, major) })
	}
}

func copyViews(t *testing.T, major int) {
	pgtest.AsOwner(t)
	srv := pgtest.Start(t, major, nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, viewsSQL)
	file := writeSnapshotPipeline(t, pgtest.Name(t),
		strings.Replace(fromPostgres(source), "}", `, tables: {include: ["public.*", public.v_all, public.v_agg, public.mv, public.ft]}}`, 1),
		strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	check := launch(t, "check", file.path)
	<-check.ended
	if text := check.stdout.String(); strings.Count(text, "warning  view_copied_once") != 4 || strings.Contains(text, "wild") {
		t.Errorf("check says %s", text)
	}
	p := launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	same := func(view, order string) {
		t.Helper()
		sql := "SELECT count(*) || ' ' || md5(string_agg(x::text, '|' ORDER BY " + order + ")) FROM " + view + " x"
		if want, got := pgtest.QueryOne(t, source, sql), pgtest.QueryOne(t, target, sql); got != want {
			t.Errorf("%s: %s, want %s", view, got, want)
		}
		types := "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '" + view + "'::regclass AND attnum > 0"
		if want, got := pgtest.QueryOne(t, source, types), pgtest.QueryOne(t, target, types); got != want {
			t.Errorf("types of %s: %s, want %s", view, got, want)
		}
	}
	same("public.v_all", "id")
	same("public.v_agg", "m")
	same("public.mv", "id")
	if got := pgtest.QueryOne(t, target, "SELECT string_agg(x::text, ' ' ORDER BY id) FROM ft x"); got != "(1,one) (2,) (3,three)" {
		t.Errorf("the foreign table has %s", got)
	}
	if got := pgtest.QueryOne(t, target, "SELECT string_agg(relname || relkind::text, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i' AND relkind <> 'c'"); got != "baser ftr mvr v_aggr v_allr" {
		t.Errorf("the target has %s", got)
	}
	pgtest.Exec(t, source, "UPDATE base SET v = 'changed' WHERE id = 1", "REFRESH MATERIALIZED VIEW public.mv")
	pgtest.Eventually(t, patience, "the change is there", func() bool { return pgtest.QueryOne(t, target, "SELECT v FROM base WHERE id = 1") == "changed" })
	if got := pgtest.QueryOne(t, target, "SELECT v FROM v_all WHERE id = 1"); got == "changed" {
		t.Error("the view's copy has changed")
	}
	lives := file.tables(t)
	if st := lives["public.v_all"]; st.State != pipeline.TableCopied || st.Estimate != 1500 || lives["public.base"].State != pipeline.TableStreaming {
		t.Errorf("table list: %+v", lives)
	}
	refused := launch(t, "table", "resync", file.path, "public.mv")
	refused.exit(t, exitEnvironment)
	if !refused.stderr.has("view_copied_once") {
		t.Errorf("a resync: %s", refused.stderr.String())
	}
	verify := launch(t, "verify", file.path)
	verify.exit(t, exitOK)
	if !verify.stdout.has("copied once") {
		t.Errorf("verify says %s", verify.stdout.String())
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
}

// A view over a table that is emptied while the copy runs is read anew, and not taken for empty; with mode never, nothing would ever come.
func TestViewsOverWhatIsRewritten(t *testing.T) {
	pgtest.AsOwner(t)
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, "CREATE TABLE base (id int PRIMARY KEY, body text); INSERT INTO base SELECT i, 'old' FROM generate_series(1, 500) i",
		"CREATE VIEW inner_view AS SELECT id, body FROM base", "CREATE VIEW z_view AS SELECT * FROM inner_view", "GRANT SELECT ON z_view TO PUBLIC")
	pgtest.Exec(t, target, "CREATE TABLE base (id int PRIMARY KEY, body text)", "CREATE TABLE z_view (id int, body text)")
	from := "source: " + strings.Replace(fromPostgres(source), "}", `, tables: {include: [public.base, public.z_view]}}`, 1)
	file := writeSections(t, pgtest.Name(t), from, "snapshot: {mode: initial, parallel: 1}", "sink: "+intoPostgres(target))
	blocker := pgtest.Connect(t, target)
	if _, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE base IN EXCLUSIVE MODE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "run", file.path)
	p.logs(t, "copying existing rows")
	pgtest.Exec(t, source, "BEGIN; CREATE TABLE fresh (id int, body text); INSERT INTO fresh SELECT i, 'new' FROM generate_series(1, 300) i; CREATE OR REPLACE VIEW inner_view AS SELECT id, body FROM fresh; COMMIT")
	if _, err := blocker.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
		t.Fatal(err)
	}
	file.until(t, "it streams", streaming)
	if got := pgtest.QueryOne(t, target, "SELECT count(*) || min(body) || max(body) FROM z_view"); got != "300newnew" || !p.stderr.has("was rewritten since the snapshot") {
		t.Errorf("the view has %s; the program said %s", got, p.stderr.String())
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)

	never := writeSections(t, pgtest.Name(t), from, "snapshot: {mode: never}", "sink: "+intoPostgres(pgtest.CreateDatabase(t, srv)))
	stopped := launch(t, "run", never.path)
	stopped.exit(t, exitEnvironment)
	if !stopped.stderr.has("view_never_copied") {
		t.Errorf("it ended with %s", stopped.stderr.String())
	}
	alone := pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, "CREATE MATERIALIZED VIEW empty AS SELECT 1 AS one WITH NO DATA", "GRANT SELECT ON empty TO PUBLIC")
	only := writeSections(t, pgtest.Name(t), "source: "+strings.Replace(fromPostgres(source), "}", `, tables: {include: [public.empty]}}`, 1),
		"snapshot: {mode: only}", "sink: "+strings.Replace(intoPostgres(alone), "}", ", create_tables: true}", 1))
	stopped = launch(t, "run", only.path)
	stopped.exit(t, exitEnvironment)
	if !stopped.stderr.has("view_not_populated") {
		t.Errorf("it ended with %s", stopped.stderr.String())
	}
	pgtest.Exec(t, source, "REFRESH MATERIALIZED VIEW empty")
	launch(t, "run", only.path).exit(t, exitOK)
	if got := pgtest.QueryOne(t, alone, "SELECT one FROM empty"); got != "1" {
		t.Errorf("the only view has %s", got)
	}
}
