package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const valueTypes = `CREATE SCHEMA x;
CREATE TYPE x.mood AS ENUM ('sad', 'very "happy"', 'it''s \ ok');
CREATE DOMAIN x.short AS varchar(8) CHECK (value <> 'never');
CREATE DOMAIN x.shorter AS x.short CHECK (length(value) < 7);
CREATE TYPE x.pair AS (a int4, b text, c x.mood);
CREATE EXTENSION citext SCHEMA x; CREATE EXTENSION hstore SCHEMA x`

// valueCases are types and SQL expressions of values that are easy to break.
var valueCases = []struct {
	typ    string
	values []string
}{
	{"text", []string{`''`, `E'\\N'`, `E'\\\\'`, `E'a\tb\nc\rd\be\ff\vg'`, `E'\\.'`, `E'\\x41'`, `'"quoted"'`, `'{}'`, `'NULL'`, `'snowman ☃ 🎉'`, `repeat('long ☃ \', 20000)`}},
	{"varchar(5)", []string{`''`, `'five5'`, `'a  '`, `'☃☃☃☃☃'`}},
	{"char(5)", []string{`'ab'`, `''`, `'12345'`}},
	// Before version 15 half a character is what the server writes for it, which it does not read.
	{`"char"`, []string{`'a'`, `CASE WHEN current_setting('server_version_num')::int >= 150000 THEN 'é'::"char" ELSE 'e' END`, `''`}},
	{"name", []string{`'n'`}},
	{"int2", []string{`-32768`}}, {"int8", []string{`9223372036854775807`, `-9223372036854775808`}},
	{"numeric", []string{`'NaN'`, `'Infinity'`, `'-Infinity'`, `1.000`, `-0.0000000000000000000000000001`, `repeat('9', 1000)::numeric`}},
	{"numeric(10,2)", []string{`1.50`, `-99999999.99`, `'NaN'`}},
	{"float4", []string{`'NaN'`, `'-Infinity'`, `-0.0::float4`, `1.1::float4`, `'3.4e38'`}},
	{"float8", []string{`'NaN'`, `'Infinity'`, `'-0'`, `0.1::float8 + 0.2::float8`, `5e-324`}},
	{"bool", []string{`true`, `false`}},
	{"bytea", []string{`''`, `'\x00ff5c0a09'`, `'\x5c4e'`}},
	{"date", []string{`'infinity'`, `'-infinity'`, `'0044-03-15 BC'`, `'10000-01-01'`}},
	{"time", []string{`'24:00:00'`, `'00:00:00.000001'`}}, {"time(2)", []string{`'10:00:00.25'`}},
	{"timetz", []string{`'24:00:00-12'`, `'01:02:03.4+05:30'`}},
	{"timestamp", []string{`'infinity'`, `'4713-01-01 00:00:00 BC'`, `'294276-12-31 23:59:59.999999'`}},
	{"timestamptz(3)", []string{`'-infinity'`, `'2026-11-22 20:00:00.123+05:45'`, `'0001-01-01 00:00:00 BC'`}},
	{"interval", []string{`'1 mon -30 days 24:00:00.000001'`, `'-178000000 years'`, `'0'`}},
	{"interval day to second(2)", []string{`'1 2:03:04.25'`}},
	{"bit", []string{`B'1'`}}, {"bit(3)", []string{`B'101'`, `B'000'`}}, {"bit varying(9)", []string{`B''`, `B'10101'`}}, {"bit varying", []string{`B'1111000011110000'`}},
	{"uuid", []string{`'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'`}},
	{"json", []string{`E'{"a" : 1,\n\t"a": "\\\\n\\u0000\\\\ \\"" }'`, `'null'`, `'[]'`}},
	{"jsonb", []string{`'{"b": [1, 2.50, null, "☃\\\""]}'`, `'"s"'`}},
	{"xml", []string{`'<a b="c">&amp;</a>'`, `'text <b/>'`}},
	{"int4[]", []string{`'{}'`, `'{{1,2},{3,NULL}}'`, `'[2:3][-1:0]={{1,2},{3,4}}'`}},
	{"text[]", []string{`'{}'`, `ARRAY['', 'NULL', NULL, 'a,b', '"', E'\\', E'\n', '{}']`, `ARRAY[[['a'],['b']],[['c'],['d']]]`}},
	{"varchar(3)[]", []string{`'{abc,NULL,""}'`}}, {"bit(2)[]", []string{`'{01,10}'`}}, {"numeric(5,1)[]", []string{`'{1.0,NaN}'`}},
	{"x.mood", []string{`'very "happy"'`, `'it''s \ ok'`}}, {"x.mood[]", []string{`'{sad,"very \"happy\"","it''s \\ ok"}'`}},
	{"x.short", []string{`'eight888'`, `''`}}, {"x.shorter", []string{`'six666'`}}, {"x.short[]", []string{`'{a,NULL}'`}},
	{"x.pair", []string{`ROW(1, E'a"\\,()\n', 'sad')`, `ROW(NULL, '', NULL)`}},
	{"x.pair[]", []string{`ARRAY[ROW(1,'a','sad')::x.pair, NULL]`}},
	{"x.citext", []string{`'MiXed'`}}, {"x.hstore", []string{`'"a\"b"=>"c\\d", n=>NULL'`}},
	{"inet", []string{`'10.0.0.1/8'`, `'::1'`}}, {"cidr", []string{`'10.0.0.0/8'`}}, {"macaddr", []string{`'08:00:2b:01:02:03'`}},
	{"point", []string{`'(1.5,-0)'`}}, {"polygon", []string{`'((0,0),(1,1),(1,0))'`}}, {"box", []string{`'(2,2),(1,1)'`}},
	{"int4range", []string{`'empty'`, `'(,5)'`, `'[1,)'`}}, {"tstzrange", []string{`'["2026-01-01 00:00:00+00",infinity)'`}},
	{"int4multirange", []string{`'{[1,3),[5,7)}'`}},
	{"tsvector", []string{`'''it''''s'':1A fat:2,3'`}}, {"tsquery", []string{`'a & !(b | c:*)'`}},
	{"money", []string{`-1234.56`}}, {"oid", []string{`4294967295`}}, {"pg_lsn", []string{`'FF/10'`}}, {"regclass", []string{`'pg_class'`, `0`, `4294967295::oid`}},
	{"xid8", []string{`'18446744073709551615'`}}, {"jsonpath", []string{`'$."a"[*] ? (@ > 1)'`}},
}

// TestSinkValues proves P1 for values: what the source writes as canonical text is
// the same value at the target, bit by bit, on every path that a row can take.
func TestSinkValues(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, valueTypes)
		conn := sessionAt(t, url)
		for i, c := range valueCases {
			table := fmt.Sprintf("v%d", i)
			pgtest.Exec(t, url, fmt.Sprintf(`CREATE SCHEMA IF NOT EXISTS origin;
				CREATE TABLE origin.%[1]s (id int8 PRIMARY KEY, v %[2]s); CREATE TABLE %[1]s (LIKE origin.%[1]s INCLUDING ALL)`, table, c.typ))
			var inserts strings.Builder
			for id, v := range append(c.values, "NULL") {
				fmt.Fprintf(&inserts, `INSERT INTO origin.%s VALUES (%d, %s);`, table, id, v)
			}
			pgtest.Exec(t, url, inserts.String())
			vt := describe(t, url, "public", table)
			texts, err := dial.QueryRows(t.Context(), conn, `SELECT o.id::text, v IS NULL, v FROM origin.`+table+` o ORDER BY o.id`)
			if err != nil {
				t.Fatal(err)
			}
			checkValues(t, url, vt, texts)
		}
	})
}

// sessionAt is a session with the settings under which a source writes text.
func sessionAt(t *testing.T, url string) *pgconn.PgConn {
	t.Helper()
	s := testSink(t, url)
	conn, err := dial.Connect(t.Context(), s.conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dial.Close(t.Context(), conn) })
	return conn
}

// checkValues brings the values to the target in each way there is.
func checkValues(t *testing.T, url string, vt *entrain.Table, texts [][]string) {
	t.Helper()
	f := newFeed(t, url)
	defer func() { f.w.Close() }()
	compare := func(way string) {
		t.Helper()
		wantRows(t, url, fmt.Sprintf(`SELECT %s || ': ' || id || ': ' || coalesce(a.v::text, '∅') || ' is not ' || coalesce(b.v::text, '∅')
			FROM origin.%[2]s a FULL JOIN public.%[2]s b USING (id) WHERE a IS NULL OR b IS NULL OR NOT a *= b`, sqltext.Literal(way), vt.Name), "")
	}
	cell := func(i int) entraintest.Cell {
		if row := texts[i%len(texts)]; row[1] != "t" {
			return entraintest.Text(row[2])
		}
		return entraintest.Null
	}
	rows := func(make func(id int) entrain.Event) [][]entrain.Event {
		var out [][]entrain.Event
		for id := range max(len(texts), smallSet+1) {
			out = append(out, tx(make(id)))
		}
		return out
	}
	id := func(i int) entraintest.Cell { return entraintest.Text(fmt.Sprint(i)) }
	inserts := rows(func(i int) entrain.Event { return entraintest.Insert(vt, id(i), cell(i)) })
	updates := rows(func(i int) entrain.Event { return entraintest.Update(vt, id(i), cell(i)) })
	nulls := rows(func(i int) entrain.Event { return entraintest.Update(vt, id(i), entraintest.Null) })
	pgtest.Exec(t, url, fmt.Sprintf(`INSERT INTO origin.%[1]s SELECT i, (SELECT v FROM origin.%[1]s WHERE id = i %% %[2]d)
		FROM generate_series(%[2]d, %[3]d) i`, vt.Name, len(texts), len(inserts)-1))
	f.write(inserts...)
	compare("row insert")
	f.write(append(nulls, updates...)...)
	compare("row update")
	f.write(tx(truncate(vt)))
	f.bulk(inserts...)
	compare("copy")
	f.bulk(nulls...)
	f.bulk(updates...)
	compare("set update")
	if n := f.w.Counts()["stepdowns"] + f.w.Counts()["missing"]; n != 0 {
		t.Errorf("%s: %d step-downs or missing rows", vt.Columns[1].Type, n)
	}
	any := keyless(vt)
	f.write(rows(func(i int) entrain.Event {
		e := entraintest.Update(any, id(i), entraintest.Null)
		e.Before = entraintest.Row(any, id(i), cell(i))
		return e
	})...)
	f.write(updates...)
	pgtest.Exec(t, url, fmt.Sprintf(`ALTER TABLE %s DROP CONSTRAINT %[1]s_pkey`, vt.Name))
	f.open()
	f.write(rows(func(i int) entrain.Event {
		return entrain.Event{Op: entrain.OpDelete, Table: any, Before: entraintest.Row(any, id(i), cell(i))}
	})...)
	wantRows(t, url, `SELECT count(*) FROM public.`+vt.Name, "0")
}

// TestSinkNothingIsCutShort proves P1: a value that the target's column cannot
// hold is refused by name, on every path, and never shortened.
func TestSinkNothingIsCutShort(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, valueTypes)
		for i, c := range []struct{ typ, good, bad string }{
			{"varchar(3)", "abc", "abcd"}, {"char(3)", "abc", "abcd"}, {"bit(3)", "101", "1011"}, {"bit varying(3)", "101", "1011"},
			{"varchar(3)[]", "{abc}", "{abc,abcd}"}, {"x.short", "eight888", "nine99999"}, {"x.shorter", "six666", "eight888"},
			{"numeric(3,1)", "12.3", "123.4"}, {"int4", "7", "7.5"}, {"bit", "1", "10"}, {"x.short[]", "{a}", "{nine99999}"},
		} {
			table := fmt.Sprintf("s%d", i)
			pgtest.Exec(t, url, fmt.Sprintf(`CREATE TABLE %s (id int8 PRIMARY KEY, v %s)`, table, c.typ))
			vt := describe(t, url, "public", table)
			var inserts, updates [][]entrain.Event
			for id := range 20 {
				inserts = append(inserts, tx(ins(vt, fmt.Sprint(id), c.good)))
				updates = append(updates, tx(upd(vt, fmt.Sprint(id), c.good)))
			}
			f := newFeed(t, url)
			f.bulk(inserts...)
			refused := func(transactions ...[]entrain.Event) {
				t.Helper()
				f.open()
				b := f.batch(transactions...)
				wantRefused(t, f.w.Write(t.Context(), b), b.Events[len(b.Events)-1].ID())
				f.open()
				wantRefused(t, f.bulkErr(t.Context(), transactions...), fmt.Sprintf("source/i1/%d/0", f.seq))
			}
			refused(tx(ins(vt, "99", c.bad)))
			refused(tx(upd(vt, "1", c.bad)))
			updates[19] = tx(upd(vt, "19", c.bad))
			refused(updates...)
			wantRows(t, url, `SELECT count(*) FILTER (WHERE v::text = `+sqltext.Literal(c.good)+`), count(*) FROM `+table, "20|20")
		}
	})
}

// TestSinkCopyNoticesNewTypes proves P1: a column whose type changes to one with
// a binary form of the same length, while a session is open, gets the values
// and not their bytes.
func TestSinkCopyNoticesNewTypes(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE pun (id int8 PRIMARY KEY, n int4, big int8)`)
		vt := describe(t, url, "public", "pun")
		f := newFeed(t, url)
		rows := func(from int) (out [][]entrain.Event) {
			for id := from; id < from+20; id++ {
				out = append(out, tx(ins(vt, fmt.Sprint(id), fmt.Sprint(id), fmt.Sprint(id))))
			}
			return out
		}
		f.bulk(rows(0)...)
		for i, change := range []string{
			`ALTER COLUMN n TYPE real, ALTER COLUMN big TYPE float8`, `ALTER COLUMN n TYPE oid USING n::int4::oid, ALTER COLUMN big TYPE numeric`,
			`ALTER COLUMN n TYPE text, ALTER COLUMN big TYPE int8`,
		} {
			pgtest.Exec(t, url, `ALTER TABLE pun `+change)
			f.bulk(rows(100 * (i + 1))...)
			wantRows(t, url, `SELECT count(*) FROM pun WHERE n::text <> id::text OR big::text <> id::text`, "0")
		}
		wantRows(t, url, `SELECT count(*) FROM pun`, "80")
		if n := f.w.Counts()["stepdowns"]; n != 0 {
			t.Errorf("%d step-downs", n)
		}
	})
}

// TestSinkIdentifiers proves SE-01 for the sink: no name breaks out of its quotes.
func TestSinkIdentifiers(t *testing.T) {
	names := []string{`select`, `UPPER lower`, `do.ts`, `quo"te`, `''; DROP TABLE victim; --`, "new\nline", `back\slash`, `$1`, `%s _`, `🎉`, ` `,
		`"`, strings.Repeat("ä", 31)}
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE victim (id int4)`)
		for _, name := range names {
			q, table := sqltext.Ident(name), "t"+string([]rune(name)[1:])
			pgtest.Exec(t, url, fmt.Sprintf(`CREATE SCHEMA %[1]s; CREATE TYPE %[1]s.%[1]s AS ENUM ('a', 'b');
				CREATE TABLE %[1]s.%[2]s (%[1]s %[1]s.%[1]s PRIMARY KEY, "other" text, "n" int4 UNIQUE DEFERRABLE)`, q, sqltext.Ident(table)))
			vt := describe(t, url, name, table)
			all := fmt.Sprintf(`SELECT * FROM %s.%s ORDER BY 1`, q, sqltext.Ident(table))
			f := newFeed(t, url)
			f.bulk(tx(ins(vt, "a", "x", "1")), tx(rekey(vt, "a", "b", "~", "2"), upd(vt, "b", "y", "~")))
			wantRows(t, url, all, "b|y|2")
			f.write(tx(upd(vt, "b", "z", "~"), truncate(vt), ins(vt, "a", "x", "1")), tx(del(vt, "a")), tx(ins(vt, "b", "last", "5")))
			wantRows(t, url, all, "b|last|5")
			any := keyless(vt)
			pgtest.Exec(t, url, fmt.Sprintf(`ALTER TABLE %s DROP CONSTRAINT %s`, sqltext.Table(vt.Schema, vt.Name),
				sqltext.Ident(rowsOf(t, url, fmt.Sprintf(`SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = %s::regclass`,
					sqltext.Literal(sqltext.Table(vt.Schema, vt.Name)))))))
			f.open()
			f.write(tx(full(upd(any, "b", "kept", "6"), "b", "last", "5")), tx(full(del(any), "b", "kept", "6")))
			wantRows(t, url, all, "")
		}
		wantRows(t, url, `SELECT count(*) FROM victim`, "0")
	})
}

// TestSinkCopyLeavesOddValuesToTheServer proves P1: values that COPY cannot carry in
// the binary form, since they are not as the server writes them, are stored as
// the server reads them, or refused by it.
func TestSinkCopyLeavesOddValuesToTheServer(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE odd (id int8 PRIMARY KEY, n int4, at timestamptz)`)
		vt := describe(t, url, "public", "odd")
		f := newFeed(t, url)
		var rows [][]entrain.Event
		for id := range 20 {
			rows = append(rows, tx(ins(vt, fmt.Sprint(id), fmt.Sprint(id), "2026-11-22 20:00:00.5+00")))
		}
		rows[15] = tx(ins(vt, "15", " 15", "2026-11-22 22:00+02"))
		f.bulk(rows...)
		wantRows(t, url, `SELECT count(*), sum(n), count(DISTINCT at ) FROM odd`, "20|190|2")
		if n := f.w.Counts()["stepdowns"]; n != 0 {
			t.Errorf("%d step-downs", n)
		}
		pgtest.Exec(t, url, `DELETE FROM odd`)
		f.open()
		rows[15] = tx(ins(vt, "15", "fifteen", "∅"))
		wantRefused(t, f.bulkErr(t.Context(), rows...), fmt.Sprintf("source/i1/%d/0", f.seq-4))
		wantRows(t, url, `SELECT count(*) FROM odd`, "0")
	})
}
