package encoding

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDebeziumEdges has values that the comparison with the real one cannot
// show, since it has them wrong or not at all.
func TestDebeziumEdges(t *testing.T) {
	nanos := DebeziumOptions{TimePrecisionMode: "nanoseconds"}
	iso := DebeziumOptions{TimePrecisionMode: "isostring", IntervalHandlingMode: "string"}
	for _, c := range []struct {
		o          DebeziumOptions
		typ        string
		modifier   int32
		text, want string
	}{
		{typ: "numeric", modifier: 4<<16 | 0x7fe + 4, text: "1200", want: `"DA=="`}, // numeric(4,-2)
		{typ: "numeric", modifier: 4<<16 | 0x7fe + 4, text: "0", want: `"AA=="`},
		{typ: "timestamp", modifier: -1, text: "294247-01-10 04:00:54.775807", want: "9223372036854775807"},
		{typ: "timestamp", modifier: -1, text: "294247-01-10 04:00:54.775808", want: "null"},
		{typ: "timestamp", modifier: 3, text: "294276-12-31 23:59:59.999", want: "9224318015999999"},
		{typ: "timestamp", modifier: -1, text: "4714-11-24 00:00:00 BC", want: "-210866803200000000"},
		{o: nanos, typ: "timestamp", modifier: -1, text: "1677-09-21 00:12:43.145225", want: "-9223372036854775000"},
		{o: nanos, typ: "timestamp", modifier: -1, text: "1677-09-21 00:12:43.145224", want: "null"},
		{typ: "timestamptz", modifier: -1, text: "2026-01-01 00:30:00.5+05:45", want: `"2025-12-31T18:45:00.500000Z"`},
		{typ: "timestamptz", modifier: 1, text: "2026-01-01 00:30:00.5-00:00:28", want: `"2026-01-01T00:30:28.5Z"`},
		{o: iso, typ: "time", modifier: -1, text: "24:00:00", want: `"00:00:00Z"`},
		{o: iso, typ: "interval", modifier: -1, text: "-00:00:06.5", want: `"P0Y0M0DT0H0M-6.5S"`},
		{o: iso, typ: "interval", modifier: -1, text: "infinity", want: `"infinity"`},
		{typ: "interval", modifier: -1, text: "-infinity", want: "-9223372036854775808"},
		{typ: "interval", modifier: -1, text: "2562047788:00:54.775807", want: "9223372036854775807"},
		{typ: "interval", modifier: -1, text: "2562047788:00:54.7757", want: "9223372036854775700"},
		{typ: "interval", modifier: -1, text: "-2562047788:00:54.775807", want: "-9223372036854775807"},
		{typ: "interval", modifier: -1, text: "-2562047788:00:54.775808", want: "-9223372036854775808"},
		{typ: "interval", modifier: -1, text: "1 day 2562047788:00:54", want: "9223372036854775807"},
		{typ: "interval", modifier: -1, text: "-1 days -2562047788:00:54", want: "-9223372036854775808"},
		{typ: "interval", modifier: -1, text: "292277 years -1 days", want: "9223372036854775807"},
		{typ: "interval", modifier: -1, text: "292271 years -1 days -00:00:00.000001", want: "9223371223199999999"},
		{typ: "_timetz", modifier: -1, text: "{12:34:56.5+02}", want: `["10:34:56.5Z"]`},
		{typ: "_int4", modifier: -1, text: "[0:1][2:3]={{1,NULL},{3,4}}", want: "[[1,null],[3,4]]"},
		{typ: "public._mood", modifier: -1, text: `{sad,NULL,"o\"k",""}`, want: `["sad",null,"o\"k",""]`},
		{typ: "_box", modifier: -1, text: "{(3,4),(1,2);NULL;(0,0),(-1,-1)}", want: `["KDMsNCksKDEsMik=",null,"KDAsMCksKC0xLC0xKQ=="]`},
		{typ: "_box", modifier: -1, text: "{{(3,4),(1,2)};{NULL}}", want: `[["KDMsNCksKDEsMik="],[null]]`},
		{typ: "public._geometry", modifier: -1, text: "{0101:NULL:0102}", want: `["0101",null,"0102"]`},
		{typ: "_bit", modifier: 3, text: "{101,000}", want: `["BQ==",""]`},
		{typ: "public.hstore", modifier: -1, text: `"a"=>"1", "b"=>NULL, "c"=>"NULL"`, want: `"{\"a\":\"1\",\"b\":null,\"c\":\"NULL\"}"`},
	} {
		o, err := c.o.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := o.typeOf(c.typ, c.modifier).write(nil, []byte(c.text))
		if !ok || string(got) != c.want {
			t.Errorf("%s(%d) %s is %s (%v), want %s", c.typ, c.modifier, c.text, got, ok, c.want)
		}
	}
}

// TestDatesAsInTheStandardLibrary compares the calendar with package time's.
func TestDatesAsInTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.Int64Range(-5_000_000, 110_000_000).Draw(t, "days")
		micros := rapid.Int64Range(0, microsPerDay-1).Draw(t, "micros")
		want := time.Unix(days*86_400, micros*1000).UTC()
		year, month, day := dateOf(days)
		if wy, wm, wd := want.Date(); int64(wy) != year || int64(wm) != month || int64(wd) != day {
			t.Fatalf("day %d is %d-%d-%d, want %v", days, year, month, day, want)
		}
		if back := daysOf(year, month, day); back != days {
			t.Fatalf("day %d comes back as %d", days, back)
		}
		if year < 1 || year > 9999 {
			return
		}
		text := want.Format("2006-01-02 15:04:05.999999")
		if m, ok := parseMoment([]byte(text)); !ok || m != (moment{days, micros}) {
			t.Fatalf("%s is %v", text, m)
		}
		if got := string(appendMoment(nil, moment{days, micros}, 6)); got != want.Format(`"2006-01-02T15:04:05.000000Z"`) {
			t.Fatalf("%v is written as %s", want, got)
		}
	})
}

// TestDecimalsAsInTheStandardLibrary compares the binary form with math/big's.
func TestDecimalsAsInTheStandardLibrary(t *testing.T) {
	var n integers
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,60}(\.[0-9]{1,40})?`).Draw(t, "text")
		d, ok := parseDecimal([]byte(text))
		if !ok {
			t.Fatalf("%s was not read", text)
		}
		raw, err := base64.StdEncoding.DecodeString(string(n.appendBase64(nil, d)))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := new(big.Int).SetString(strings.Replace(text, ".", "", 1), 10)
		if got := twosComplement(raw); got.Cmp(want) != 0 {
			t.Fatalf("%s became %v", text, got)
		}
		if len(raw) > 1 && (raw[0] == 0 && raw[1] < 0x80 || raw[0] == 0xff && raw[1] >= 0x80) {
			t.Fatalf("%s has a byte too many: %x", text, raw)
		}
	})
}

func twosComplement(raw []byte) *big.Int {
	n := new(big.Int).SetBytes(raw)
	if raw[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
	}
	return n
}

// FuzzDebeziumValue feeds every text to every type: nothing panics, and what is
// taken for a value is JSON.
func FuzzDebeziumValue(f *testing.F) {
	types := []string{"bool", "int4", "float8", "numeric", "money", "text", "bytea", "bit", "date", "time", "timetz",
		"timestamp", "timestamptz", "interval", "point", "public.hstore", "line", "_text", "_numeric", "_timestamp", "_bytea"}
	for i := range types {
		for _, s := range []string{"", "1", "-12.50", "t", "NaN", "$1,234.56", `\x00ff`, "101", "2026-11-22", "12:34:56.5+02", "infinity",
			"0044-03-15 12:00:00 BC", "1 year -2 mons 03:04:05", "(1,2)", `"a"=>"b", "c"=>NULL`, `{1,NULL,"a\"b"}`, "[0:1]={{1},{2}}", "{", `"`, "\xff"} {
			f.Add(uint8(i), int32(-1), s)
			f.Add(uint8(i), int32(5<<16|6), s)
		}
	}
	modes := []DebeziumOptions{{}, {DecimalHandlingMode: "double", TimePrecisionMode: "isostring", IntervalHandlingMode: "string", HstoreHandlingMode: "map"}}
	f.Fuzz(func(t *testing.T, typ uint8, modifier int32, text string) {
		for _, o := range modes {
			o, err := o.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			name := types[int(typ)%len(types)]
			out, ok := o.typeOf(name, modifier).write(nil, []byte(text))
			if ok && !json.Valid(out) {
				t.Errorf("%q as %s(%d) became %s", text, name, modifier, out)
			}
		}
	})
}
