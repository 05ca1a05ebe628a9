package preflight_test

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// copying has existing rows copied, after what else is to be done.
func copying(do ...func(l *lab)) func(l *lab) {
	return func(l *lab) {
		for _, f := range do {
			f(l)
		}
		l.copies = true
	}
}

// deny takes a right of the source's role away.
func deny(right, on string) func(l *lab) {
	return func(l *lab) { l.asKeeper(l.source, "REVOKE "+right+" ON "+on+" FROM "+l.q(l.capture)) }
}

var (
	parted = sqltext.Table(oddSchema, `pa"rted`)
	leaf   = sqltext.Table(`o"ther`, `le"af`)
	// family is a partitioned table with a partition in another schema.
	family = []string{
		"CREATE SCHEMA " + sqltext.Ident(`o"ther`),
		"CREATE TABLE " + parted + " (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
		"CREATE TABLE " + leaf + " PARTITION OF " + parted + " FOR VALUES FROM (0) TO (9)",
		"ALTER PUBLICATION pub SET (publish_via_partition_root = true)", "ALTER PUBLICATION pub ADD TABLE " + parted,
	}
)

// someView is one that the file names.
var (
	someView = sqltext.Table(oddSchema, `vi"ew`)
	makeView = []string{"CREATE VIEW " + someView + " AS SELECT * FROM " + oddTable}
)

// nameView has the source take the view beside the table. The role may read it.
func nameView(l *lab) {
	l.asKeeper(l.source, l.grants(l.capture, "SELECT"))
	l.file.Source.Tables.Include = []string{"*.*", connector.TablePattern(oddSchema, `vi"ew`)}
}

func copySourceTrials() []trial {
	grantRoot := func(l *lab) { l.asKeeper(l.source, l.grants(l.capture, "SELECT")) }
	return []trial{
		{code: "select_right", status: fails, do: copying(deny("SELECT", oddTable), func(l *lab) {
			l.asKeeper(l.source, "GRANT SELECT (id, "+oddColumn+") ON "+oddTable+" TO "+l.q(l.capture)) // does not suffice
		})},
		{code: "select_right", status: fails, do: copying(deny("USAGE", "SCHEMA "+sqltext.Ident(oddSchema)))},
		{code: "select_right", status: fails, source: family, do: copying(grantRoot)},
		{code: "select_right", status: fails, source: family, do: copying()},
		{code: "source_row_security", status: fails, source: []string{"ALTER TABLE " + oddTable + " ENABLE ROW LEVEL SECURITY"}, do: copying()},
		{code: "source_row_security", status: fails, source: append(family, "ALTER TABLE "+leaf+" ENABLE ROW LEVEL SECURITY"), do: copying()},
		{code: "free_slots", status: fails, settings: map[string]string{"max_replication_slots": "1"}, by: byRestart, do: copying(makeSlot, func(l *lab) {
			l.afterwards("SELECT pg_drop_replication_slot('" + l.file.Source.Slot + "')")
		})},
		{code: "free_slots", status: fails, settings: map[string]string{"max_replication_slots": "1"}, by: byRestart, do: copying()},
		{code: "view_copied_once", status: warns, unfixable: true, source: makeView, do: copying(nameView)},
		{code: "view_copied_once", status: fails, unfixable: true, source: makeView, do: func(l *lab) {
			nameView(l)
			l.file.Source.Never = true
		}},
		{code: "select_right", status: fails, source: makeView, do: copying(nameView, deny("SELECT", someView))},
		{code: "table_missing", status: fails, source: makeView, do: copying(nameView)},
		{code: "not_copied", status: warns, source: append(family, "ALTER TABLE "+leaf+" SET UNLOGGED"), do: copying()},
		{code: "not_copied", status: warns, source: []string{
			"CREATE TABLE " + parted + " (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
			"CREATE UNLOGGED TABLE " + sqltext.Table(oddSchema, `le"af`) + " PARTITION OF " + parted + " FOR VALUES FROM (0) TO (9)",
			"ALTER PUBLICATION pub ADD TABLE " + parted}, do: copying()},
		{code: "not_copied", status: warns, unfixable: true, source: []string{
			"CREATE TABLE " + parted + " (id int, v text) PARTITION BY RANGE (id)", "ALTER TABLE " + parted + " REPLICA IDENTITY FULL",
			"ALTER PUBLICATION pub SET (publish_via_partition_root = true)", "ALTER PUBLICATION pub ADD TABLE " + parted},
			do: copying(func(l *lab) {
				pgtest.Exec(l.t, l.source, "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w",
					"CREATE FOREIGN TABLE "+sqltext.Table(oddSchema, `le"af`)+" PARTITION OF "+parted+" FOR VALUES FROM (0) TO (9) SERVER s")
			})},
		{code: "column_list_conflict", status: fails, since: 15, unfixable: true, source: []string{"CREATE PUBLICATION other FOR TABLE " + oddTable + " (id)"},
			do: func(l *lab) { l.file.Source.Publications = []string{"pub", "other"} }},
	}
}

// limitEntrain lets the role of the target use the tables in the schema entrain,
// but make none.
func limitEntrain(l *lab, tables ...string) {
	l.asKeeper(l.target, append([]string{"CREATE SCHEMA entrain", "CREATE TABLE entrain.position (pipeline text, source text, partition int, position text)",
		"GRANT USAGE ON SCHEMA entrain TO " + l.q(l.apply), "GRANT ALL ON entrain.position TO " + l.q(l.apply)}, tables...)...)
}

const someLoad = "CREATE TABLE entrain.load (pipeline text, schema_name text, table_name text)"

// keyless makes the lab's table one without a key, with a row at the target.
func keyless() (source, target []string) {
	drop := "ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey")
	return []string{drop, "ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL"}, []string{drop, "INSERT INTO " + oddTable + " VALUES (1)"}
}

func copyTargetTrials() []trial {
	child := sqltext.Table(oddSchema, `chi"ld`)
	makeChild := "CREATE TABLE " + child + " (id int PRIMARY KEY, p int REFERENCES " + oddTable + ")"
	publishChild := "ALTER PUBLICATION pub ADD TABLE " + child
	many := sqltext.Table(`new "schema"`, "many")
	makeMany := []string{"CREATE SCHEMA " + sqltext.Ident(`new "schema"`), "CREATE TABLE " + many + " (id int PRIMARY KEY)",
		"ALTER PUBLICATION pub ADD TABLE " + many}
	mood := sqltext.Table(`new "schema"`, "mood")
	makeMood := []string{"CREATE SCHEMA " + sqltext.Ident(`new "schema"`), "CREATE TYPE " + mood + " AS ENUM ('up')",
		"ALTER TABLE " + oddTable + " ADD m " + mood}
	addStore := "ALTER TABLE " + oddTable + " ADD h " + sqltext.Table(`new "schema"`, "hstore") + "[]"
	inStore := func(l *lab) {
		pgtest.Exec(l.t, l.source, "CREATE SCHEMA "+sqltext.Ident(`new "schema"`), "CREATE EXTENSION hstore SCHEMA "+sqltext.Ident(`new "schema"`),
			"GRANT USAGE ON SCHEMA "+sqltext.Ident(`new "schema"`)+" TO "+l.q(l.keeper))
		l.asKeeper(l.source, addStore)
		l.asKeeper(l.target, "CREATE SCHEMA "+sqltext.Ident(`new "schema"`),
			"GRANT USAGE, CREATE ON SCHEMA "+sqltext.Ident(oddSchema)+", "+sqltext.Ident(`new "schema"`)+" TO "+l.q(l.apply))
	}
	create := func(l *lab) { l.file.Sink.CreateTables = true }
	noDatabase := func(l *lab) {
		limitEntrain(l, "GRANT CREATE ON SCHEMA entrain TO "+l.q(l.apply), "REVOKE CREATE ON DATABASE "+databaseOf(l.target)+" FROM "+l.q(l.apply))
	}
	keylessSource, keylessTarget := keyless()
	return []trial{
		{code: "table_missing", status: fails, target: []string{"DROP TABLE " + oddTable}, do: copying()},
		{code: "table_missing", status: fails, source: makeMood, target: []string{"DROP TABLE " + oddTable}, do: copying()}, // a type lacks, too
		{code: "create_right", status: fails, target: []string{"DROP TABLE " + oddTable}, do: copying(create)},
		{code: "create_right", status: fails, source: makeMany, do: copying(create, noDatabase)},
		{code: "create_right", status: fails, source: makeMood, target: []string{"DROP TABLE " + oddTable}, do: copying(create, noDatabase)},
		{code: "create_right", status: fails, target: []string{"DROP TABLE " + oddTable}, do: copying(create, noDatabase, inStore)},
		{code: "load_not_empty", status: fails, source: keylessSource, target: keylessTarget, do: copying()},
		{code: "load_rights", status: fails, do: copying(func(l *lab) { limitEntrain(l) })},
		{code: "load_rights", status: fails, do: copying(func(l *lab) { limitEntrain(l, someLoad, "GRANT CREATE ON SCHEMA entrain TO "+l.q(l.apply)) })},
		{code: "load_rights", status: warns, do: copying(func(l *lab) { limitEntrain(l, someLoad, "GRANT ALL ON entrain.load TO "+l.q(l.apply)) })},
		{code: "load_rights", status: fails, source: []string{makeChild, publishChild}, target: []string{makeChild},
			do: copying(func(l *lab) { limitEntrain(l, someLoad, "GRANT ALL ON entrain.load TO "+l.q(l.apply)) })},
		{code: "load_staged", status: warns, unfixable: true, source: []string{makeChild, publishChild}, target: []string{makeChild}, do: copying()},
	}
}

// TestCopyIsOver: what was copied, and what is being copied by the pipeline
// itself, is no finding.
func TestCopyIsOver(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	source, target := keyless()
	l.asKeeper(l.source, source...)
	l.asKeeper(l.target, target...)
	l.copies = true
	limitEntrain(l, someLoad, "GRANT ALL ON entrain.load TO "+l.q(l.apply))
	want := func(code string, n int) {
		t.Helper()
		if found := l.findings(code); len(found) != n {
			t.Errorf("%s: found %+v", code, found)
		}
	}
	want("load_not_empty", 1)
	l.asKeeper(l.target, "INSERT INTO entrain.load VALUES ("+sqltext.Literal(l.file.Sink.Pipeline)+", "+sqltext.Literal(oddSchema)+", "+sqltext.Literal(oddName)+")")
	want("load_not_empty", 0)
	want("load_rights", 1)
	l.asKeeper(l.target, "DELETE FROM entrain.load", "INSERT INTO entrain.position VALUES ("+sqltext.Literal(l.file.Sink.Pipeline)+", 'source', 0, '0/1')")
	want("load_not_empty", 0)
	want("load_rights", 0)
	l.asKeeper(l.source, "REVOKE SELECT ON "+oddTable+" FROM "+l.q(l.capture))
	if found := l.findings("select_right"); len(found) != 1 || found[0].Status != fails {
		t.Errorf("found %+v", found)
	}
	makeSlot(l)
	stream(l, "entrain_"+l.file.Source.Pipeline)
	if found := l.findings("select_right"); len(found) != 1 || found[0].Status != warns {
		t.Errorf("while it streams: found %+v", found)
	}
}

// TestCopyOfLockedTable: a table that somebody has locked holds nothing up.
func TestCopyOfLockedTable(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	source, target := keyless()
	l.asKeeper(l.source, source...)
	l.asKeeper(l.target, target...)
	l.copies = true
	conn := pgtest.Connect(t, l.target)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE "+oddTable).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if found := l.findings("load_not_empty"); len(found) != 0 {
		t.Errorf("found %+v", found)
	}
}

// TestCopyOfShapedTable: create_tables makes no table that the rules have
// changed, so that such a one is missing.
func TestCopyOfShapedTable(t *testing.T) {
	major := pgtest.Majors(t)[0]
	l := newLab(t, pgtest.Shared(t, major), major)
	l.copies, l.file.Sink.CreateTables = true, true
	source, _ := l.check()
	shaped := *source.Tables[0]
	shaped.Name = "other"
	source.Tables = []*entrain.Table{&shaped}
	source.Copies[0].Table, source.Copies[0].Defined = &shaped, false
	report, err := mustSink(t, l).Check(t.Context(), &source)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		missing := f.Code == "table_missing"
		if missing != (f.Status != entrain.FindingOK) || missing && (len(f.Fix) == 0 || strings.Contains(f.Fix[len(f.Fix)-1].Config, "create")) {
			t.Errorf("%+v", f)
		}
	}
}
