package capture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// ddlTables are tables of which the triggers tell.
const ddlTables = `CREATE TABLE t (id int PRIMARY KEY, a text, b text);
CREATE TABLE "Parted" (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF "Parted" FOR VALUES FROM (0) TO (100);
CREATE TABLE unpublished (id int PRIMARY KEY, a text);`

// toldAbout reads what was told until a message "end" comes.
func toldAbout(t *testing.T, url string, r *reader) []string {
	t.Helper()
	pgtest.Exec(t, url, "SELECT pg_logical_emit_message(true, 'test', 'end')")
	var lines []string
	for {
		b := read(t, r)
		for _, e := range b.Events {
			switch {
			case e.Op == entrain.OpMessage && string(e.Message.Content) == "end":
				return lines
			case e.Op == entrain.OpSchema && e.Table == nil:
				lines = append(lines, describeDDL(e.Schema.DDL[0]))
			default:
				lines = append(lines, e.Op.String())
			}
		}
		if b.Free != nil {
			b.Free()
		}
	}
}

func describeDDL(d entrain.DDL) string {
	text := fmt.Sprintf("%s %s.%s (%s)", d.Tag, d.Schema, d.Table, d.Object)
	for _, name := range d.Dropped {
		text += " -" + name
	}
	for _, c := range d.Columns {
		text += fmt.Sprintf(" %d:%s", c.ID, c.Name)
		if c.ID == d.Renamed {
			text += "<"
		}
		if c.Default != "" {
			text += "=" + c.Default
		}
		for flag, set := range map[string]bool{"!c": c.Constant, "!v": c.Volatile} {
			if set {
				text += flag
			}
		}
		if c.Fill != nil {
			text += "[" + *c.Fill + "]"
		}
	}
	return text
}

var ddlCases = []struct {
	sql  string
	want []string
}{
	{`ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 7`, []string{"ALTER TABLE public.t (public.t) 1:id 2:a 3:b 4:c=7!c[7]"}},
	{`ALTER TABLE t RENAME COLUMN a TO "A b"`, []string{`ALTER TABLE public.t (public.t."A b") 1:id 2:A b< 3:b 4:c=7!c[7]`}},
	{`ALTER TABLE t DROP COLUMN b, ADD COLUMN d text DEFAULT 'it''s'`, []string{
		"ALTER TABLE public.t (public.t.b) -b 1:id 2:A b 4:c=7!c[7] 5:d='it''s'::text!c[it's]",
		"ALTER TABLE public.t (public.t) 1:id 2:A b 4:c=7!c[7] 5:d='it''s'::text!c[it's]"}},
	{`ALTER TABLE t DROP COLUMN c, DROP COLUMN d`, []string{
		"ALTER TABLE public.t (public.t.c) -c -d 1:id 2:A b", "ALTER TABLE public.t (public.t) 1:id 2:A b"}},
	{`ALTER TABLE t ADD COLUMN e uuid DEFAULT gen_random_uuid()`, []string{"ALTER TABLE public.t (public.t) 1:id 2:A b 6:e=gen_random_uuid()!v"}},
	{`ALTER TABLE t DROP COLUMN e, ADD COLUMN g int GENERATED ALWAYS AS IDENTITY`, []string{
		"ALTER TABLE public.t (public.t.e) -e 1:id 2:A b 7:g!v", "ALTER TABLE public.t (public.t) 1:id 2:A b 7:g!v"}},
	{`ALTER TABLE "Parted" ADD COLUMN w date DEFAULT '2020-01-02'`, []string{
		`ALTER TABLE public.part (public."Parted") 1:id 2:v 3:w='2020-01-02'::date!c[2020-01-02]`}},
	{`ALTER TABLE "Parted" RENAME v TO x`, []string{
		`ALTER TABLE public.part (public."Parted".x) 1:id 2:x< 3:w='2020-01-02'::date!c[2020-01-02]`}},
	{`ALTER TABLE unpublished ADD COLUMN z int; CREATE TABLE other (id int); CREATE TEMP TABLE s (id int); ALTER TABLE s ADD COLUMN z int; DROP TABLE s`, nil},
	{`BEGIN; ALTER TABLE t ADD COLUMN gone int; ROLLBACK`, nil},
	{`DROP TABLE t`, []string{"DROP TABLE public.t (public.t)"}},
}

// TestDDLScript: run twice, the script makes the source tell of each kind of
// statement, in order; taken away, it leaves nothing that does.
func TestDDLScript(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ddlTables, "CREATE PUBLICATION pub FOR TABLE t, \"Parted\", part")
		src := newTestSource(t, url)
		pgtest.Exec(t, url, src.DDLScript(), src.DDLScript())
		r := openReader(t, src, entrain.Position{})
		for _, c := range ddlCases {
			pgtest.Exec(t, url, "SET datestyle = 'German'; SET search_path = pg_temp, public; "+c.sql)
			if got := toldAbout(t, url, r); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%s\ngot  %s\nwant %s", c.sql, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
			}
		}
		_, removal, _ := strings.Cut(src.DDLScript(), "-- To take it away again")
		_, removal, _ = strings.Cut(removal, "\n")
		pgtest.Exec(t, url, strings.ReplaceAll(removal, "-- ", ""), `ALTER TABLE "Parted" ADD COLUMN last int`)
		if got := toldAbout(t, url, r); len(got) > 0 {
			t.Errorf("taken away, it tells %q", got)
		}
		if left := pgtest.Query(t, url, `SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'entrain%'
			UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'entrain'::regnamespace`); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}

// TestDDLScriptBreaksNothing: a statement works, whatever becomes of telling, for
// a role that may do nothing else; the role cannot make the functions do more.
func TestDDLScriptBreaksNothing(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ddlTables, "CREATE PUBLICATION pub FOR TABLE t")
		src := newTestSource(t, url)
		role := pgtest.Name(t)
		pgtest.Exec(t, url, src.DDLScript(), "CREATE ROLE "+role, "GRANT CREATE, USAGE ON SCHEMA public TO "+role, "ALTER TABLE t OWNER TO "+role)
		r := openReader(t, src, entrain.Position{})
		pgtest.Exec(t, url, "SET ROLE "+role+`; CREATE FUNCTION public.pg_logical_emit_message(bool, text, text) RETURNS pg_lsn LANGUAGE sql AS 'SELECT pg_lsn ''0/0'' + 1/0';
			SET search_path = public, pg_catalog; ALTER TABLE t ADD COLUMN c int`)
		if got := toldAbout(t, url, r); len(got) != 1 || got[0] != "ALTER TABLE public.t (public.t) 1:id 2:a 3:b 4:c" {
			t.Errorf("told %q", got)
		}
		pgtest.Exec(t, url, "CREATE OR REPLACE FUNCTION entrain.tell_ddl() RETURNS event_trigger LANGUAGE plpgsql AS "+
			strings.Replace(body(ddlScript), "pg_logical_emit_message(", "1/0, pg_logical_emit_message(", 1), "ALTER TABLE t ADD COLUMN d int")
		if got := toldAbout(t, url, r); len(got) > 0 {
			t.Errorf("told %q", got)
		}
		if n := pgtest.Query(t, url, "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attname IN ('c', 'd')"); len(n) != 2 {
			t.Errorf("columns %v", n)
		}
	})
}

// body is the text of the first function of a script, with its quotes.
func body(script string) string {
	_, after, _ := strings.Cut(script, "$entrain$")
	inner, _, _ := strings.Cut(after, "$entrain$")
	return "$entrain$" + inner + "$entrain$"
}

// TestForgedDDL: a message that only looks like one of the triggers is an
// application's.
func TestForgedDDL(t *testing.T) {
	for content, want := range map[string]bool{
		`{"schema":"public","table":"t","oid":7,"tag":"ALTER TABLE"}`: true,
		`{"schema":"public","table":"t","tag":"ALTER TABLE"}`:         false,
		`{"schema":1}`: false, `hello`: false, ``: false, `null`: false,
	} {
		if _, told := toldDDL([]byte(ddlPrefix), []byte(content)); told != want {
			t.Errorf("%s: %t", content, told)
		}
	}
	if _, told := toldDDL([]byte("other"), []byte(`{"schema":"public","table":"t","oid":7,"tag":"ALTER TABLE"}`)); told {
		t.Error("a message with another prefix")
	}
}

// TestDescribe: facts about columns as the catalog has them now, in the form in
// which the log has values.
func TestDescribe(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ddlTables, `ALTER TABLE t ADD COLUMN c timestamptz NOT NULL DEFAULT '2020-01-01 00:00+02', ADD COLUMN d int[] DEFAULT '{1,NULL}',
			ADD COLUMN e bytea DEFAULT '\x00ff', ADD COLUMN f timestamptz DEFAULT now(), ADD COLUMN g text DEFAULT 'x' || 'y'`,
			"ALTER TABLE t ALTER COLUMN g DROP DEFAULT")
		facts, err := newTestSource(t, url).Describe(t.Context(), &entrain.Table{Schema: "public", Name: "t"})
		if err != nil || len(facts) != 8 {
			t.Fatalf("%+v, %v", facts, err)
		}
		for i, want := range map[int]string{3: "2019-12-31 22:00:00+00", 4: "{1,NULL}", 5: `\x00ff`, 7: "xy"} {
			if f := facts[i]; f.Fill == nil || *f.Fill != want {
				t.Errorf("%+v, want %s", f, want)
			}
		}
		if f := facts[6]; f.Constant || f.Volatile || f.Fill == nil || f.Default != "now()" {
			t.Errorf("%+v", f)
		}
		if !facts[3].NotNull || !facts[3].Constant || facts[7].Default != "" || facts[0].Default != "" || facts[0].Fill != nil {
			t.Errorf("%+v", facts)
		}
		if facts, err := newTestSource(t, url).Describe(t.Context(), &entrain.Table{Schema: "public", Name: "gone"}); err != nil || facts != nil {
			t.Errorf("of no table: %v, %v", facts, err)
		}
	})
}
