package pgbinary

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// samples are SQL sets of values of one column v, by type and the name of its
// send function.
var samples = []struct{ typ, send, values string }{
	{"bool", "boolsend", `VALUES (true), (false)`},
	{"int2", "int2send", `SELECT generate_series(-32768, 32767, 771)`},
	{"int4", "int4send", `SELECT (random() * 4294967295 - 2147483648)::int8 FROM generate_series(1, 500) UNION VALUES (-2147483648), (2147483647), (0)`},
	{"int8", "int8send", `SELECT ((random() - 0.5) * 2.0::float8 ^ (i % 64))::int8 FROM generate_series(1, 500) i
		UNION VALUES (-9223372036854775808), (9223372036854775807), (999999999999999999), (-1000000000000000000)`},
	{"oid", "oidsend", `VALUES (0), (4294967295), (2147483648)`},
	{"float4", "float4send", `SELECT (random() - 0.5) * 10.0 ^ (i % 60 - 30) FROM generate_series(1, 500) i
		UNION ALL VALUES ('NaN'::float8), ('Infinity'), ('-Infinity'), ('-0'), (1e-45), (3.4028235e38)`},
	{"float8", "float8send", `SELECT (random() - 0.5) * 10.0 ^ (i % 600 - 300) FROM generate_series(1, 700) i
		UNION ALL VALUES ('NaN'::float8), ('Infinity'), ('-Infinity'), ('-0'), (5e-324), (1.7976931348623157e308)`},
	{"numeric", "numeric_send", `SELECT round((random()::numeric - 0.5) * 10::numeric ^ (i % 90 - 40), i % 37) FROM generate_series(1, 1500) i
		UNION ALL VALUES ('NaN'::numeric), ('Infinity'), ('-Infinity'), (0), (0.000), (-0.00010), (10000), (100000000), (99999999), (1e500), (-1e-500),
		(repeat('9', 1001)::numeric), (('0.' || repeat('0', 16000) || '1')::numeric), (1e130000)`},
	{"date", "date_send", `SELECT '4713-01-01 BC'::date + i * 977 FROM generate_series(0, 7000) i UNION SELECT date '2000-01-01' + i FROM generate_series(-800, 1600) i
		UNION VALUES ('infinity'::date), ('-infinity'), ('5874897-12-31'), ('4714-11-24 BC'), ('0001-01-01'), ('0001-12-31 BC')`},
	{"time", "time_send", `SELECT time '00:00' + i * interval '171.123456 s' FROM generate_series(0, 500) i UNION VALUES (time '24:00'), ('23:59:59.999999')`},
	{"timestamp", "timestamp_send", `SELECT timestamp '4713-01-01 BC' + i * interval '11111 h 3 s 17 us' FROM generate_series(0, 5000) i
		UNION VALUES (timestamp 'infinity'), ('-infinity'), ('294276-12-31 23:59:59.999999'), ('4714-11-24 00:00:00 BC'), ('10000-02-29 12:00'), ('2026-11-22 01:02:03.4')`},
	{"timestamptz", "timestamptz_send", `SELECT timestamptz '4713-01-01 BC' + i * interval '11111 h 3 s 17 us' FROM generate_series(0, 5000) i
		UNION VALUES (timestamptz 'infinity'), ('-infinity'), ('294276-12-31 23:59:59.999999'), ('0001-01-01 00:00:00 BC')`},
	{"uuid", "uuid_send", `SELECT gen_random_uuid() FROM generate_series(1, 20)`},
	{"bytea", "byteasend", `VALUES (''::bytea), ('\x00ff5c0a09'), (decode(repeat('5c78', 5000), 'hex'))`},
	{"text", "textsend", `VALUES (''), (E'a\tb\\n'), ('snowman ☃')`},
	{"varchar", "varcharsend", `VALUES (''), ('é')`},
	{"bpchar(5)", "bpcharsend", `VALUES (''), ('ab')`},
	{"name", "namesend", `VALUES ('n'), ('☃')`},
	{"json", "json_send", `VALUES ('{"a" : [1, null]}'), ('"☃"')`},
	{"jsonb", "jsonb_send", `VALUES ('{"b": [1, 2.50, null, "☃"]}'::jsonb), ('"s"')`},
}

// TestFormsEqualTheServers proves P1 for values: the form of every text that the
// server writes is, byte for byte, what the server itself sends.
func TestFormsEqualTheServers(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
		covered := map[uint32]bool{}
		for _, s := range samples {
			rows := pgtest.Query(t, url, fmt.Sprintf(`SELECT '%[1]s'::regtype::oid::text, concat(v), encode(%[2]s(v), 'hex')
				FROM (SELECT v::%[1]s AS v FROM (%[3]s) t(v)) t`, s.typ, s.send, s.values))
			if len(rows) == 0 {
				t.Fatalf("no samples of %s", s.typ)
			}
			covered[checkForms(t, s.typ, rows)] = true
		}
		for oid := range forms {
			if !covered[oid] {
				t.Errorf("the form of type %d has no samples", oid)
			}
		}
	}
}

// checkForms compares the forms of one type's samples and returns its oid.
func checkForms(t *testing.T, typ string, rows [][]string) uint32 {
	t.Helper()
	left := 0 // to the server
	var oid uint32
	for _, row := range rows {
		if _, err := fmt.Sscan(row[0], &oid); err != nil {
			t.Fatal(err)
		}
		form := Of(oid)
		if form == nil {
			t.Fatalf("%s (%d) has no form", typ, oid)
		}
		got, ok := form([]byte("before"), []byte(row[1]))
		switch {
		case !ok && string(got) == "before":
			left++
		case !ok || string(got[:6]) != "before" || hex.EncodeToString(got[6:]) != row[2]:
			t.Errorf("%s %.80q: %x, %v; the server sends %s", typ, row[1], got, ok, row[2])
		}
	}
	if left > 2 {
		t.Errorf("%s: %d of %d samples have no form", typ, left, len(rows))
	}
	return oid
}

// TestOtherTextsAreLeftToTheServer proves P1: what the server would not write is
// not guessed at.
func TestOtherTextsAreLeftToTheServer(t *testing.T) {
	for oid, texts := range map[uint32][]string{
		16: {"", "true", "T", "yes"},
		17: {"", "abc", `\x0`, `\xzz`, `x00`},
		20: {"", "-", "+1", " 1", "1 ", "1_000", "9223372036854775808", "+99999999999999999999", "12a", "0x10", "--1", "000000000000000000000000000x"},
		21: {"32768", "-32769"},
		23: {"2147483648", "1.0"},
		26: {"-1", "4294967296"},
		700: {"", "inf", "0x1p3", "1e999", "nan", "1_0", "1e39",
			"1e-50", "-2.5e-300", "1e-46", "0.000" + strings.Repeat("0", 60) + "1"},
		701:  {"", "Inf", "1e999", "+Infinity", "NAN", " 1", "1e-400", "-0." + strings.Repeat("0", 400) + "70"},
		1082: {"", "2026-1-01", "2026-13-01", "2026-02-29", "2026-11-31", "0000-01-01", "20261-01", "1/2/2026", "2026-01-01 AD", "-2026-01-01", "99999999-01-01"},
		1083: {"", "24:00:00.000001", "12:60:00", "12:00:60", "1:00:00", "12:00", "12:00:00.", "12:00:00.1234567", "12:00:00+00"},
		1114: {"", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 24:00:00", "294277-01-01 00:00:00", "2026-01-01 00:00:00+00"},
		1184: {"", "2026-01-01 00:00:00", "2026-01-01 00:00:00+01", "now", "2026-01-01 00:00:00Z"},
		1700: {"", "-", ".", "1.", ".5", "1e5", "nan", "NaN ", "--1", "1.2.3", "+1", "Infinit"},
		2950: {"", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"},
	} {
		for _, text := range texts {
			if got, ok := Of(oid)([]byte("before"), []byte(text)); ok || string(got) != "before" {
				t.Errorf("type %d: %q was read as %x, %v", oid, text, got, ok)
			}
		}
	}
	if Of(600) != nil {
		t.Error("point has a form")
	}
}

// TestFloatsOfWiderTypes proves P1 where the source's type is wider than the
// target's: a text is stored as the server would store it, or left to it.
func TestFloatsOfWiderTypes(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
		for oid, typ := range map[uint32]string{700: "float4", 701: "float8"} {
			pgtest.Exec(t, url, fmt.Sprintf(`CREATE FUNCTION stored_%[1]s(v text) RETURNS text LANGUAGE plpgsql AS $$
				BEGIN RETURN encode(%[1]ssend(v::%[1]s), 'hex'); EXCEPTION WHEN numeric_value_out_of_range THEN RETURN 'refused'; END $$`, typ))
			checkStored(t, Of(oid), pgtest.Query(t, url, `SELECT v, stored_`+typ+`(v) FROM (
				SELECT (s * 1.7::float8 * 10.0::float8 ^ e)::text FROM generate_series(-320, 300, 3) e, (VALUES (1), (-1)) s(s)
				UNION ALL SELECT (s * 1.7 * 10::numeric ^ e)::numeric(1000, 500)::text FROM generate_series(-420, 420, 7) e, (VALUES (1), (-1)) s(s)
				UNION ALL VALUES ('0'), ('-0'), ('0.000'), ('1e-45'), ('7e-46'), ('7.1e-46'), ('5e-324'), ('2e-324')) t(v)`))
		}
	}
}

// checkStored compares the forms of texts with what the server stores for them.
func checkStored(t *testing.T, form Form, rows [][]string) {
	t.Helper()
	stored, refused := 0, 0
	for _, row := range rows {
		got, ok := form(nil, []byte(row[0]))
		if ok && hex.EncodeToString(got) != row[1] {
			t.Errorf("%s: %x; the server: %s", row[0], got, row[1])
		}
		if ok {
			stored++
		}
		if row[1] == "refused" {
			refused++
		}
	}
	if stored < 50 || refused < 10 {
		t.Errorf("%d stored, %d refused: nothing is compared", stored, refused)
	}
}

// FuzzForms looks for texts that make a form panic or lose what was before.
func FuzzForms(f *testing.F) {
	for _, text := range []string{"", "-", "12.50", "2026-11-22 20:00:00.5+00 BC", "-infinity", "NaN", `\x00`, "0001-01-01"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for oid, form := range forms {
			got, ok := form([]byte("before"), text)
			if len(got) < 6 || string(got[:6]) != "before" || !ok && len(got) != 6 {
				t.Errorf("type %d: %q became %x, %v", oid, text, got, ok)
			}
		}
	})
}
