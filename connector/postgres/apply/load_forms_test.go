package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgbinary"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// formSamples are types with texts of values, edges among them. The target's
// column may have another modifier.
var formSamples = []struct {
	typ, target string
	values      []string
}{
	{"bool", "", []string{"t", "f"}},
	{"bytea", "", []string{`\x`, `\x00ff5c0a09`}},
	{"name", "", []string{"", "☃"}},
	{"int8", "", []string{"-9223372036854775808", "9223372036854775807", "0"}},
	{"int2", "", []string{"-32768", "32767"}},
	{"int4", "", []string{"-2147483648", "2147483647"}},
	{"text", "", []string{"", "\t\\N\n\r\b\v\f", `\.`, "☃", `{"x",NULL}`}},
	{"oid", "", []string{"0", "4294967295"}},
	{"json", "", []string{`{"a" : 1, "a": [null]}`, `"\u00e9 ☃"`}},
	{"jsonb", "", []string{`{"b": [1, 2.50, null, "☃"]}`, "1e400"}},
	{"point", "", []string{"(1.1,-0)", "(NaN,Infinity)"}},
	{"lseg", "", []string{"[(0,0),(1e-300,1)]"}},
	{"path", "", []string{"((0,0),(1,1),(2,0))", "[(0,0),(1,1)]"}},
	{"box", "", []string{"(1,2),(-1,-2)"}},
	{"polygon", "", []string{"((0,0),(1,1),(2,0))"}},
	{"line", "", []string{"{1,-1,0.1}"}},
	{"circle", "", []string{"<(1,2),3.3>"}},
	{"cidr", "", []string{"10.0.0.0/8", "2001:db8::/32"}},
	{"inet", "", []string{"10.1.2.3/8", "::ffff:1.2.3.4", "0.0.0.0/0"}},
	{"macaddr", "", []string{"08:00:2b:01:02:03"}},
	{"macaddr8", "", []string{"08:00:2b:01:02:03:04:05"}},
	{"float4", "", []string{"NaN", "-Infinity", "-0", "1e-45", "3.4028235e38"}},
	{"float8", "", []string{"NaN", "Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1"}},
	{"varchar(5)", "varchar(7)", []string{"", "é☃ab ", "     "}},
	{"bpchar(5)", "bpchar(9)", []string{"", "ab", "☃"}},
	{"date", "", []string{"infinity", "4714-11-24 BC", "5874897-12-31", "2000-01-01"}},
	{"time(6)", "time(2)", []string{"24:00", "23:59:59.995", "00:00:00.000001"}},
	{"timetz", "timetz(1)", []string{"23:59:59.96+15:59", "00:00-15:59:59"}},
	{"timestamp", "timestamp(0)", []string{"-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.4", "2000-01-01 00:00:00.5", "1999-12-31 23:59:59.5"}},
	{"timestamptz", "timestamptz(3)", []string{"infinity", "0001-01-01 00:00:00+00 BC", "2026-11-22 01:02:03.4565+02"}},
	{"interval", "", []string{"-178000000 years", "1 mon -2 days +03:04:05.000006", "00:00:00"}},
	{"interval", "interval day to minute", []string{"1 mon 2 days 03:04:05.6"}},
	{"bit(3)", "", []string{"101"}},
	{"varbit", "varbit(70)", []string{"", "1", strings.Repeat("10", 35)}},
	{"numeric", "", []string{"NaN", "-Infinity", "0.000", "-0.00010", "1e500", "99999999", strings.Repeat("9", 1001), "1e-1000"}},
	{"numeric(9,4)", "numeric(7,2)", []string{"12345.6750", "-0.0050", "NaN"}},
	{"uuid", "", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
	{"pg_lsn", "", []string{"0/0", "FFFFFFFF/FFFFFFFF"}},
	{"tsvector", "", []string{"", "'a b':1A,2 'it''s':16383D '☃'"}},
	{"int4range", "", []string{"empty", "(,)", "[1,5)"}},
	{"int8range", "", []string{"[-9223372036854775808,)"}},
	{"numrange", "", []string{"(1.50,NaN)", "[,3]"}},
	{"tsrange", "", []string{"[2026-01-01,infinity)"}},
	{"tstzrange", "", []string{"[2026-01-01 00:00:00+00,]"}},
	{"daterange", "", []string{"[2026-01-01,2026-01-01]"}},
	{"int4multirange", "", []string{"{}", "{[1,2),[5,)}"}},
	{"int8multirange", "", []string{"{(,)}"}},
	{"nummultirange", "", []string{"{[1.10,2.2]}"}},
	{"tsmultirange", "", []string{"{[2026-01-01,2026-01-02)}"}},
	{"tstzmultirange", "", []string{"{(,2026-01-01 00:00:00+00)}"}},
	{"datemultirange", "", []string{"{[2026-01-01,2026-02-01),[2027-01-01,)}"}},
}

// formSource makes a table of one type's values at the source, with nulls and
// arrays of every shape, and returns a query for it.
func formSource(t *testing.T, url, typ string, values []string) string {
	t.Helper()
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = sqltext.Literal(v)
	}
	pgtest.Exec(t, url, "DROP TABLE IF EXISTS s", fmt.Sprintf("CREATE TABLE s (id int4, v %[1]s, a %[1]s[])", typ),
		fmt.Sprintf(`INSERT INTO s SELECT n, v::%[1]s, ARRAY[v, NULL, v]::%[1]s[] FROM unnest(ARRAY[%[2]s]::text[]) WITH ORDINALITY u(v, n)`, typ, strings.Join(quoted, ", ")),
		"INSERT INTO s VALUES (-1, NULL, NULL), (-2, NULL, '{}')",
		"INSERT INTO s SELECT -3, v, array_fill(v, ARRAY[2,1], ARRAY[-2,7]) FROM s WHERE id = 1")
	return "SELECT * FROM public.s ORDER BY id"
}

// utf8 opens a session as a reader of rows has it: values come in UTF-8.
func utf8(t *testing.T, url, sql string) serverRows {
	t.Helper()
	cfg, err := dial.ParseURL(connector.Secret(url), "forms")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dial.Close(t.Context(), conn) })
	return serverRows{conn: conn, sql: sql}
}

// loadForms loads the query's rows twice, into b in the binary form and into x as
// text, and returns the errors.
func loadForms(t *testing.T, lt *loadTest, rows serverRows) (binary, text error) {
	t.Helper()
	b := describe(t, lt.url, "public", "b")
	r := &serverBinary{serverRows: rows, types: formTypes(t, lt.url)}
	_, binary = lt.load(b).Part(t.Context(), r)
	if r.forms != 1 {
		t.Errorf("taken %d times in the binary form", r.forms)
	}
	_, text = lt.load(describe(t, lt.url, "public", "x")).Part(t.Context(), &rows)
	return binary, text
}

// formTypes are those of the table b.
func formTypes(t *testing.T, url string) []uint32 {
	t.Helper()
	var oids []uint32
	for _, row := range pgtest.Query(t, url, "SELECT atttypid FROM pg_attribute WHERE attrelid = 'b'::regclass AND attnum > 0 ORDER BY attnum") {
		oids = append(oids, parseOID(row[0]))
	}
	return oids
}

// makeForms makes the tables b and x of the columns.
func makeForms(t *testing.T, url, columns string) {
	t.Helper()
	for _, name := range []string{"b", "x"} {
		pgtest.Exec(t, url, "DROP TABLE IF EXISTS "+name, "CREATE TABLE "+name+" ("+columns+")")
	}
}

// wantAlike loads the query's rows and fails unless b and x have the same. It
// returns them as a query for its columns shows them.
func wantAlike(t *testing.T, lt *loadTest, rows serverRows, columns string) string {
	t.Helper()
	if binary, text := loadForms(t, lt, rows); binary != nil || text != nil {
		t.Fatalf("%s: binary: %v; text: %v", rows.sql, binary, text)
	}
	sql := "SELECT " + columns + " FROM %s ORDER BY id"
	b, x := rowsOf(t, lt.url, fmt.Sprintf(sql, "b")), rowsOf(t, lt.url, fmt.Sprintf(sql, "x"))
	if b != x || b == "" {
		t.Errorf("%s: binary:\n%s\ntext:\n%s", rows.sql, b, x)
	}
	return b
}

// TestFormsAreEqual proves P1 for copied values: what comes in the binary form is
// what would have come as text, from servers of other versions, too.
func TestFormsAreEqual(t *testing.T) {
	majors := pgtest.Majors(t)
	for _, from := range []int{majors[0], majors[len(majors)-1]} {
		source := pgtest.CreateDatabase(t, pgtest.Shared(t, from))
		t.Run(fmt.Sprintf("from%d", from), func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) { formsAreEqual(t, source, url) })
		})
	}
}

func formsAreEqual(t *testing.T, source, url string) {
	covered := map[uint32]bool{}
	lt := newLoadTest(t, url)
	for _, s := range formSamples {
		if s.target == "" {
			s.target = s.typ
		}
		makeForms(t, url, fmt.Sprintf("id int4, v %[1]s, a %[1]s[]", s.target))
		wantAlike(t, lt, utf8(t, source, formSource(t, source, s.typ, s.values)), "id, v::text, a::text, array_dims(a)")
		for _, oid := range formTypes(t, url) {
			covered[oid] = true
		}
	}
	allCovered(t, url, covered)
}

// allCovered fails if there is a type, of those that go in the binary form,
// without samples.
func allCovered(t *testing.T, url string, covered map[uint32]bool) {
	t.Helper()
	fixed := 0
	for _, row := range pgtest.Query(t, url, "SELECT oid, typname FROM pg_type WHERE oid < 16384") {
		if oid := parseOID(row[0]); pgbinary.Fixed(oid) {
			fixed++
			if !covered[oid] {
				t.Errorf("type %s has no samples", row[1])
			}
		}
	}
	if fixed != len(covered) {
		t.Errorf("%d types go in the binary form, %d have samples", fixed, len(covered))
	}
}

// TestFormsAreRefusedAlike: a row that the target does not take is the same stop
// in either form.
func TestFormsAreRefusedAlike(t *testing.T) {
	cases := []struct{ typ, target, value string }{
		{"varchar(9)", "varchar(3)", "abcd"},
		{"bpchar(9)", "bpchar(3)", "abcd"},
		{"numeric", "numeric(3,1)", "1234"},
		{"bit(4)", "bit(3)", "1011"},
		{"varbit", "varbit(3)", "1011"},
		{"text", "text CHECK (v <> 'no')", "no"},
		{"int4", "int4 UNIQUE", "7"},
	}
	onMajors(t, func(t *testing.T, url string) {
		lt := newLoadTest(t, url)
		for _, c := range cases {
			makeForms(t, url, "id int4, v "+c.target)
			sql := fmt.Sprintf("SELECT 1, NULL::%[1]s UNION ALL SELECT 2, %[2]s::%[1]s UNION ALL SELECT 3, %[2]s::%[1]s", c.typ, sqltext.Literal(c.value))
			binary, text := loadForms(t, lt, utf8(t, url, sql))
			got := strings.NewReplacer("public.b", "public.x", `"b"`, `"x"`, `"b_v_`, `"x_v_`).Replace(stopText(t, binary))
			if want := stopText(t, text); got != want {
				t.Errorf("%s: binary:\n%s\ntext:\n%s", c.target, got, want)
			}
		}
	})
}

func stopText(t *testing.T, err error) string {
	t.Helper()
	stop := wantStop(t, err, "row_refused")
	return strings.Join([]string{stop.What, stop.Why, stop.Next}, "\n")
}

// TestFormsOfOtherEncodings proves P1 for databases in other encodings, at either
// end: values go in UTF-8 in both forms.
func TestFormsOfOtherEncodings(t *testing.T) {
	pgtest.AsOwner(t)
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Shared(t, major)
		url, latin := pgtest.CreateDatabase(t, srv), pgtest.Name(t)
		pgtest.Exec(t, url, "CREATE DATABASE "+latin+" ENCODING LATIN1 TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
		other := srv.URL(latin) + "?client_encoding=UTF8"
		formsAreCoded(t, other, url)
		formsAreCoded(t, url, other)
	}
}

func formsAreCoded(t *testing.T, source, target string) {
	lt := newLoadTest(t, target)
	for _, typ := range []string{"text", "varchar(20)", "name", "bpchar(20)", "json", "jsonb", "tsvector"} {
		makeForms(t, target, fmt.Sprintf("id int4, v %[1]s, a %[1]s[]", typ))
		rows := utf8(t, source, formSource(t, source, typ, []string{`"Ünï"`}))
		if got := wantAlike(t, lt, rows, "id, v, a"); strings.Count(got, "Ünï") != 6 {
			t.Errorf("%s: %s", typ, got)
		}
	}
}
