package pgoutput

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/entrainsync/entrain"
)

// TestParseCutShort: no beginning of a message is a message, and none panics.
func TestParseCutShort(t *testing.T) {
	raw, want := goldenMessages(t)
	var m Message
	for i, data := range raw {
		for n := range data {
			if err := Parse(data[:n:n], &m); !errors.Is(err, errShort) {
				t.Fatalf("%d of %d bytes of %.60s: %v, want errShort", n, len(data), want[i], err)
			}
		}
		if err := Parse(append(data[:len(data):len(data)], 0), &m); !errors.Is(err, errTrailing) {
			t.Fatalf("%.60s and a byte more: %v, want errTrailing", want[i], err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	cases := map[string]string{
		"":                                    "too early",
		"?":                                   "unknown message",
		"S":                                   "unknown message", // streaming needs protocol 2
		"I\x00\x00\x00\x01K\x00\x00":          "unknown tuple",
		"I\x00\x00\x00\x01X\x00\x00":          "unknown tuple",
		"D\x00\x00\x00\x01N\x00\x00":          "unknown tuple",
		"U\x00\x00\x00\x01K\x00\x00O\x00\x00": "unknown tuple",
		"I\x00\x00\x00\x01N\x00\x01b\x00\x00\x00\x00":                 "unknown column kind", // binary was not asked for
		"I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xff":                 "too early",
		"T\xff\xff\xff\xff\x00":                                       "too early",
		"M\x00\x00\x00\x00\x00\x00\x00\x00\x00p\x00\xff\xff\xff\xffx": "too early",
	}
	var m Message
	for data, want := range cases {
		if err := Parse([]byte(data), &m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", data, err, want)
		}
	}
	if err := Parse([]byte("A\x00\x00\x00\x01\x00\x00\x00\x02"), &m); err != nil || m.Kind != StreamAbort {
		t.Errorf("stream abort, which version 18 can send: %v", err)
	}
}

// TestParseForgets: nothing of the message before shows in the next one.
func TestParseForgets(t *testing.T) {
	raw, want := goldenMessages(t)
	var used Message
	for range 2 {
		for i := range raw {
			if err := Parse(raw[i], &used); err != nil || show(&used) != want[i] {
				t.Fatalf("%s after another message: %s, %v", want[i], show(&used), err)
			}
		}
	}
}

// TestRowAllocations: a row message is decoded without an allocation (P6).
func TestRowAllocations(t *testing.T) {
	raw, want := goldenMessages(t)
	var m Message
	buf := make([]byte, 0, 64<<10)
	key := []bool{true, false, false, false}
	for i, data := range raw {
		if kind := Kind(data[0]); kind != Insert && kind != Update && kind != Delete {
			continue
		}
		allocs := testing.AllocsPerRun(100, func() {
			if err := Parse(data, &m); err != nil {
				t.Fatal(err)
			}
			old, rest := m.Old.AppendRow(buf, nil)
			_, rest = m.Old.AppendKey(rest, key)
			m.New.AppendRow(rest, old)
		})
		if allocs != 0 {
			t.Errorf("%v allocations for %.60s", allocs, want[i])
		}
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 7, 8, 9, 10, 11, 123456000, time.UTC)
	if got := Time(Timestamp(at)); !got.Equal(at) {
		t.Errorf("%s became %s", at, got)
	}
	if got := Time(0); got.Format(time.RFC3339) != "2000-01-01T00:00:00Z" {
		t.Errorf("the server's epoch is %s", got)
	}
}

// FuzzParse: whatever the bytes are, Parse does not panic and takes no memory
// out of proportion; what it accepts can be read, and its rows hold what the
// tuple did.
func FuzzParse(f *testing.F) {
	raw, _ := goldenMessages(f)
	for _, data := range raw {
		f.Add(data)
	}
	f.Add([]byte("T\xff\xff\xff\xff\x03"))
	f.Add([]byte("R\x00\x00\x00\x01a\x00b\x00d\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Message
		err := Parse(data, &m)
		if taken := cap(m.Columns)*int(unsafe.Sizeof(Column{})) + 4*cap(m.OIDs); taken > 256+16*len(data) {
			t.Errorf("%d bytes took %d bytes of memory", len(data), taken)
		}
		if err != nil {
			return
		}
		_ = show(&m)
		checkRow(t, m.Old)
		checkRow(t, m.New)
	})
}

// checkRow compares a tuple with the row that is made of it.
func checkRow(t *testing.T, tuple Tuple) {
	t.Helper()
	row, buf := tuple.AppendRow([]byte("before"), nil)
	if len(row) > tuple.Size() || string(buf[:6]) != "before" {
		t.Fatalf("a row of %d bytes, at most %d were announced", len(row), tuple.Size())
	}
	states := map[byte]entrain.State{'t': entrain.Present, 'n': entrain.Null, 'u': entrain.Unchanged}
	rest := tuple.data
	for i := range tuple.Len() {
		var kind byte
		var text []byte
		kind, text, rest = column(rest)
		value, state := row.Column(i, tuple.Len())
		if state != states[kind] || string(value) != string(text) {
			t.Fatalf("column %d is %q (%v), want %c %q", i, value, state, kind, text)
		}
	}
}
