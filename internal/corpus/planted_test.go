package corpus

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// planted is a wrong conversion: the encoded value of a cell is altered before it is read.
type planted struct {
	name, format string
	// typ and value are those of the corpus, as it writes them.
	typ, value string
	path       int
	alter      func(data []byte) []byte
	// says is what the report has to contain besides format, type, value and path.
	says string
}

func replaced(old, with string) func([]byte) []byte {
	return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(with), 1) }
}

// julian moves a number of days as a calendar without the Gregorian reform has it.
func julian(data []byte) []byte {
	return regexp.MustCompile(`"v":-?\d+`).ReplaceAllFunc(data, func(found []byte) []byte {
		n, _ := strconv.Atoi(string(found[len(`"v":`):]))
		return fmt.Appendf(nil, `"v":%d`, n+10)
	})
}

var plantedCases = []planted{
	{"a double loses its last digit", "native", "double precision", "0.30000000000000004", pathStream, replaced("0.30000000000000004", "0.3"), `"0.3"`},
	{"combining marks are composed", "flat", "text", `E'e\u0301\u0323 A\u030A'`, pathUpdate, replaced("A\u030A", "\u00C5"), "A\u030A"},
	{"zeros at the end are lost", "cloudevents", "jsonb", "'1.50'", pathSnapshot, replaced(`"1.50"`, `"1.5"`), `"1.5"`},
	{"white space is lost", "native", "json", "'  [ 1 , 2 ]  '", pathStream, replaced("  [ 1 , 2 ]  ", "[1,2]"), `"[1,2]"`},
	{"another calendar", "debezium", "date", "'1582-10-10'", pathStream, julian, `"1582-10-20"`},
	{"another zone", "debezium text", "timestamp with time zone", "'2026-01-01 00:00:00 Asia/Kathmandu'", pathSnapshot, replaced("T18:15:00", "T18:30:00"), "18:30:00"},
	{"a cent is missing", "avro", "numeric(10,2)", "99999999.99", pathUpdate, replaced("\x02\x54\x0b\xe3\xff", "\x02\x54\x0b\xe3\xfe"), "99999999.98"},
	{"bytes are taken for text", "protobuf", "bytea", `'\x27225c0a0d09'`, pathSnapshot, replaced("\n\r", "\r\n"), "0d0a"},
	{"a value is left out", "native", "uuid", "'00000000-0000-0000-0000-000000000000'", pathStream, replaced(`,"v":`, `,"w":`), "left out"},
	{"an event is lost", "flat", "money", "'0.01'", pathSnapshot, nil, "did not come"},
}

// cellOf is where the corpus has the value.
func (p *planted) cell(t *testing.T, e *ends) cell {
	t.Helper()
	for _, k := range e.kinds {
		for i, v := range k.values {
			if k.name == p.typ && v.sql == p.value {
				return cell{k.table, p.path*pathStep + firstID + i, "v"}
			}
		}
	}
	t.Fatalf("%s: the corpus has no %s of type %s", p.name, p.value, p.typ)
	return cell{}
}

// plant alters one record of the output and checks that the report says what differs, and
// nothing else. There is a record for each row of one table.
func (p *planted) plant(t *testing.T, r *report, o output, records []record) {
	t.Helper()
	where, did := p.cell(t, r.ends), false
	var all []seen
	for _, rec := range records {
		some, err := o.read(r.ends, o.format, rec)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) > 0 && some[0].cell.id == where.id && some[0].read == (p.path == pathSnapshot) {
			some, did = p.altered(t, r.ends, o, rec), true
		}
		all = append(all, some...)
	}
	r.compare(p.format, all, pathSnapshot, pathStream, pathUpdate)
	told := strings.Join(r.complaints, "\n")
	for _, word := range []string{p.format + ": ", "type " + p.typ + ",", "value " + p.value, "path " + paths[p.path], p.says} {
		if !did || r.differ == 0 || r.differ > 2 || !strings.Contains(told, word) {
			t.Errorf("%s (altered: %t): the report does not say %q: %d differ\n%s", p.name, did, word, r.differ, told)
		}
	}
}

func (p *planted) altered(t *testing.T, e *ends, o output, rec record) []seen {
	t.Helper()
	if p.alter == nil {
		return nil
	}
	data := p.alter(bytes.Clone(rec.data))
	if bytes.Equal(data, rec.data) {
		t.Errorf("%s: nothing to alter in %.300q", p.name, data)
	}
	rec.data = data
	some, err := o.read(e, o.format, rec)
	if err != nil {
		t.Fatal(err)
	}
	return some
}

// plantAtTarget alters a row of the target, which only the bits of a number tell.
func plantAtTarget(t *testing.T, r *report) {
	t.Helper()
	p := planted{format: "postgres", typ: "real", value: "'-0'", path: pathTip}
	where := p.cell(t, r.ends)
	pgtest.Exec(t, r.ends.target, fmt.Sprintf("UPDATE public.%s SET v = 0 WHERE id = %d", where.table, where.id))
	r.compare(p.format, r.ends.rows(t), pathSnapshot, pathStream, pathUpdate, pathTip)
	if want := `postgres: type real, value '-0', path tip is "0", want "-0"`; r.differ != 1 || r.complaints[0] != want {
		t.Errorf("the report says %q, want %q", r.complaints, want)
	}
}
