package capture

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// typeSamples has SQL expressions for values of every built-in type that a
// column can have.
var typeSamples = map[string][]string{
	"aclitem": {"'postgres=arwdDxt/postgres'", "'=r/postgres'"},
	"bit":     {"B'1'", "B'0'"}, "varbit": {"B''", "B'10110'", "repeat('10', 500)::varbit"},
	"bool": {"true", "false"}, "char": {"'a'", "''", `'\200'`}, "name": {"'x'", "'n \"q\"'", "''"},
	"text":   {"''", `E'\b\f\r\v\x01\x7f'`, `'\N'`, `'\.'`, `E'\t\\N\t'`, `E'tab\tline\nquote"back\\slash'''`, "'ünï🎉'", "repeat('x', 100000)"},
	"bpchar": {"'a  '", "''"}, "varchar": {"'a  '", "repeat('ü', 100)"},
	"bytea": {`''`, `'\x00ff5c22'`, "decode(repeat('00', 5000), 'hex')"},
	"int2":  {"32767", "-32768"}, "int4": {"2147483647", "-2147483648"}, "int8": {"9223372036854775807", "-9223372036854775808"},
	"float4":  {"'NaN'", "'-Infinity'", "1e-45", "3.4028235e38", "0.1", "'-0'"},
	"float8":  {"'NaN'", "'Infinity'", "5e-324", "1.7976931348623157e308", "0.1", "1e21", "'-0'"},
	"numeric": {"'NaN'", "'Infinity'", "'-Infinity'", "1.50", "0.000", "repeat('9', 1000)::numeric", "('1e-' || 1000)::numeric", "('-1e' || 131071)::numeric"},
	"money":   {"'92233720368547758.07'", "'-92233720368547758.08'"}, "oid": {"0", "4294967295"},
	"xid": {"'0'", "'4294967295'"}, "xid8": {"'18446744073709551615'"}, "cid": {"'4294967295'"}, "tid": {"'(4294967295,65535)'"},
	"pg_lsn": {"'0/0'", "'FFFFFFFF/FFFFFFFF'"}, "txid_snapshot": {"'10:20:10,14,15'"}, "pg_snapshot": {"'10:20:10,14,15'"},
	"date":        {"'infinity'", "'-infinity'", "'4714-11-24 BC'", "'5874897-12-31'", "'2026-02-28'"},
	"time":        {"'24:00:00'", "'00:00:00.000001'", "'23:59:59.999999'"},
	"timetz":      {"'24:00:00-15:59:59'", "'00:00:00+15:59:59'", "'12:00+05:30'"},
	"timestamp":   {"'infinity'", "'-infinity'", "'4714-11-24 00:00:00 BC'", "'294276-12-31 23:59:59.999999'", "'0044-03-15 12:00 BC'"},
	"timestamptz": {"'infinity'", "'-infinity'", "'4714-11-24 00:00:00+00 BC'", "'10000-01-01 00:00+02'", "'2026-03-29 02:30 Europe/Berlin'"},
	"interval":    {"'178000000 years'", "'-178000000 years'", "'1 year 2 mons -3 days 04:05:06.789'", "'0'"},
	"uuid":        {"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"}, "xml": {`'<a b="c">ü<!-- c --></a>'`, "''", "'no tags'"},
	"json": {`'{ "a" : 1, "a":2, "b":"\u00e9" }'`, "'null'"}, "jsonb": {`'{"b": [1, 2.50, 1e3, null], "big": 12345678901234567890.0123456789}'`, "'null'"},
	"jsonpath": {"'strict $.a[*] ? (@.b > 1)'"}, "tsvector": {"'a fat ''c''''at'':3A,4B'", "''"}, "tsquery": {"'fat & !cat:AB | (a <2> b)'", "''"},
	"inet": {"'192.168.0.1'", "'192.168.0.1/24'", "'::1/64'"}, "cidr": {"'10.0.0.0/8'", "'2001:db8::/32'"},
	"macaddr": {"'08:00:2b:01:02:03'"}, "macaddr8": {"'08:00:2b:01:02:03:04:05'"},
	"point": {"'(1.5,-2e10)'", "'(Infinity,NaN)'"}, "line": {"'{1,-1,0}'"}, "lseg": {"'[(0.1,0.2),(1,1)]'"}, "box": {"'(3,4),(1,2)'"},
	"path": {"'[(0,0),(1,1)]'", "'((0,0),(1,1))'"}, "polygon": {"'((0,0),(1,1),(2,0))'"}, "circle": {"'<(1,2),3>'"},
	"int4range": {"'[1,5)'", "'empty'", "'(,)'"}, "int8range": {"'[1,9223372036854775807)'"}, "numrange": {"'(,1.50]'"},
	"daterange": {"'[2026-01-01,infinity)'"}, "tsrange": {`'["2026-01-01 00:00",infinity]'`}, "tstzrange": {`'["2026-01-01 00:00+02",)'`},
	"int4multirange": {"'{}'", "'{[1,3),[5,7)}'"}, "int8multirange": {"'{(,)}'"}, "nummultirange": {"'{[1.50,2.0],(3,4)}'"},
	"datemultirange": {"'{[2026-01-01,2026-02-01)}'"}, "tsmultirange": {`'{["2026-01-01 00:00","2026-01-02 00:00")}'`},
	"tstzmultirange": {`'{["2026-01-01 00:00+02",infinity]}'`},
	"regclass":       {"'pg_class'", "'t_text'", "0::regclass"}, "regtype": {"'timestamptz'", "'int4[]'"}, "regproc": {"'now'", "0::regproc"},
	"regprocedure": {"'abs(int4)'"}, "regoper": {"'pg_catalog.||/'"}, "regoperator": {"'+(int4,int4)'"}, "regrole": {"'postgres'"},
	"regnamespace": {"'pg_catalog'"}, "regconfig": {"'english'"}, "regdictionary": {"'simple'"}, "regcollation": {`'"C"'`},
	"int2vector": {"'1 2 3'", "''"}, "oidvector": {"'1 4294967295'"}, "refcursor": {"'cursor \"q\"'"},
	"pg_node_tree": {"(SELECT adbin FROM pg_attrdef LIMIT 1)"}, "pg_ndistinct": {"(SELECT stxdndistinct FROM pg_statistic_ext_data)"},
	"pg_dependencies": {"(SELECT stxddependencies FROM pg_statistic_ext_data)"}, "pg_mcv_list": {"(SELECT stxdmcv FROM pg_statistic_ext_data)"},
	// These have no values that SQL can write.
	"gtsvector": {"NULL"}, "pg_brin_bloom_summary": {"NULL"}, "pg_brin_minmax_multi_summary": {"NULL"},
}

// TestEveryType: PG-31, P1. A value of every built-in type of the server, and an
// array of it, has the type's name and the text that the server itself prints, as
// it comes in the stream and as it is copied.
func TestEveryType(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE s (a int DEFAULT 1, b int)", "INSERT INTO s SELECT i % 3, i % 3 FROM generate_series(1, 100) i",
			"CREATE STATISTICS st ON a, b FROM s", "ANALYZE s", "CREATE PUBLICATION pub FOR ALL TABLES")
		types := pgtest.Query(t, url, `SELECT t.typname, coalesce(a.typname, '') FROM pg_type t LEFT JOIN pg_type a ON a.oid = t.typarray
			WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm', 'e') AND t.typrelid = 0
			AND t.typname !~ '^_' AND t.typisdefined ORDER BY t.typname = 'text' DESC, 1`)
		arrays := map[string]string{}
		src := newTestSource(t, url)
		from := createSlot(t, src)
		var fill, expect []string
		for _, row := range types {
			name, array := row[0], row[1]
			if typeSamples[name] == nil {
				t.Errorf("type %s has no sample", name)
				continue
			}
			arrays[name] = array
			create, insert, query := typeTable(name, array, typeSamples[name])
			pgtest.Exec(t, url, create)
			fill, expect = append(fill, insert...), append(expect, query)
		}
		pgtest.Exec(t, url, fill...)
		want := map[string]string{}
		for _, row := range pgtest.Query(t, url, asSessions()+strings.Join(expect, " UNION ALL ")) {
			want[row[0]] = row[1] + " " + row[2]
		}
		checkCopied(t, src, typed{want, arrays})
		checkChunked(t, src, typed{want, arrays})
		checkTyped(t, src, from, typed{want, arrays})
	})
}

// typeTable returns the SQL for a type's table, its rows and their texts by the
// type's own output function. Not every type has arrays.
func typeTable(name, array string, samples []string) (create string, insert []string, query string) {
	quoted := `pg_catalog."` + name + `"`
	create = fmt.Sprintf("CREATE TABLE t_%s (id int PRIMARY KEY, v %s", name, quoted)
	row, texts := "INSERT INTO t_%[1]s VALUES (%[2]d, %[3]s)", "format('%s', v), ''"
	if array != "" {
		create += ", a " + quoted + "[]"
		row = "INSERT INTO t_%[1]s VALUES (%[2]d, %[3]s, ARRAY[%[3]s, NULL, %[3]s]::%[4]s[])"
		texts = "format('%s', v), format('%s', a)"
	}
	for i, sample := range samples {
		insert = append(insert, fmt.Sprintf(row+"%.0[4]s", name, i, sample, quoted))
	}
	return create + ")", insert, "SELECT 't_" + name + " ' || id, " + texts + " FROM public.t_" + name
}

// asSessions makes the session print values as those of sources do.
func asSessions() string {
	var sql strings.Builder
	for name, value := range dial.SessionSettings() {
		fmt.Fprintf(&sql, "SET %s = '%s'; ", name, value)
	}
	return sql.String()
}

// typed is what checkTyped expects: the texts by table and id, and the names of
// the array types.
type typed struct{ want, arrays map[string]string }

func checkTyped(t *testing.T, src *Source, from entrain.Position, w typed) {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	r := openReader(t, bounded, from)
	for {
		b, err := readOrError(t, r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Events {
			w.check(t, &b.Events[i])
		}
	}
	for row := range w.want {
		t.Errorf("%s did not come", row)
	}
}

func (w typed) check(t *testing.T, e *entrain.Event) {
	t.Helper()
	n := len(e.Table.Columns)
	var texts [3]string
	for i := range n {
		v, _ := e.After.Column(i, n)
		texts[i] = string(v)
	}
	row := e.Table.Name + " " + texts[0]
	if got := texts[1] + " " + texts[2]; got != w.want[row] {
		t.Errorf("%s is %.200q, want %.200q", row, got, w.want[row])
	}
	delete(w.want, row)
	name := strings.TrimPrefix(e.Table.Name, "t_")
	if e.Table.Columns[1].Type != name || n > 2 && e.Table.Columns[2].Type != w.arrays[name] {
		t.Errorf("%s has the columns %+v", e.Table, e.Table.Columns)
	}
}
