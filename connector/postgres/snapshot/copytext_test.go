package snapshot

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
)

const nullMark = "\x00null"

// texts are a row's values, NULL as nullMark.
func texts(row entrain.Row, n int) []string {
	got := make([]string, n)
	for i := range n {
		v, state := row.Column(i, n)
		got[i] = string(v)
		if state == entrain.Null {
			got[i] = nullMark
		}
	}
	return got
}

// escaped is a row as the server writes it (src/backend/commands/copyto.c,
// CopyAttributeOutText).
func escaped(row []string) []byte {
	escapes := strings.NewReplacer("\\", `\\`, "\b", `\b`, "\f", `\f`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\v", `\v`)
	fields := make([]string, len(row))
	for i, v := range row {
		fields[i] = escapes.Replace(v)
		if v == nullMark {
			fields[i] = `\N`
		}
	}
	return []byte(strings.Join(fields, "\t") + "\n")
}

func TestCopyTextRows(t *testing.T) {
	for line, want := range map[string][]string{
		"\n":                                 {""},
		"a\n":                                {"a"},
		"\\N\n":                              {nullMark},
		"\\\\N\n":                            {`\N`},
		"\\.\n":                              {"."},
		"\t\n":                               {"", ""},
		"a\t\\N\tb\n":                        {"a", nullMark, "b"},
		"\\N\t\\N\n":                         {nullMark, nullMark},
		`a\tb\nc\\d\re\bf\fg\v` + "\t\\\\\n": {"a\tb\nc\\d\re\bf\fg\v", `\`},
		"\xff\xfe\tü\n":                      {"\xff\xfe", "ü"},
	} {
		var c copyText
		row, buf, err := c.row([]byte("before"), []byte(line), len(want))
		if err != nil || !slices.Equal(texts(row, len(want)), want) || !bytes.HasPrefix(buf, []byte("before")) {
			t.Errorf("%q is %q, %v; want %q", line, texts(row, len(want)), err, want)
		}
	}
	var c copyText
	if row, _, err := c.row(nil, []byte("\n"), 0); err != nil || row == nil {
		t.Errorf("a row without columns is %v, %v", row, err)
	}
}

func TestCopyTextRefuses(t *testing.T) {
	var c copyText
	for line, n := range map[string]int{
		"": 1, "a": 1, "a\tb\n": 1, "a\n": 2, "a\tb\tc\n": 2, "\\\n": 1, "a\\\n": 1, "\\Nx\n": 1, "x\n": 0, "\\N\t\n": 1, "\\N\t\\\n": 2,
	} {
		if row, buf, err := c.row([]byte("before"), []byte(line), n); err == nil || string(buf) != "before" {
			t.Errorf("%q of %d columns is %q, and the buffer %q", line, n, row, buf)
		}
	}
}

func TestCopyTextRoundTrip(t *testing.T) {
	var c copyText
	var buf []byte
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.Just(nullMark), rapid.StringOf(rapid.SampledFrom([]rune("\\\t\n\rNtb\b\f\v")))), 1, 5).Draw(t, "row")
		row, rest, err := c.row(buf[:0], escaped(want), len(want))
		if buf = rest; err != nil || !slices.Equal(texts(row, len(want)), want) {
			t.Fatalf("%q became %q, %v", want, texts(row, len(want)), err)
		}
	})
}

// FuzzCopyText: whatever bytes come, rows are whole or refused, and what was
// read and is written again is the same.
func FuzzCopyText(f *testing.F) {
	for _, seed := range []string{"\n", "a\tb\n", "\\N\t\\\\\n", "\\", "x\\ty\\N\n", "\\.\n"} {
		f.Add([]byte(seed), uint8(2))
	}
	f.Fuzz(func(t *testing.T, line []byte, columns uint8) {
		n := int(columns)
		var c copyText
		row, _, err := c.row([]byte("xyz"), line, n)
		if err != nil || n == 0 {
			return
		}
		want := texts(row, n)
		again, _, err := c.row(nil, escaped(want), n)
		if err != nil || !slices.Equal(texts(again, n), want) {
			t.Fatalf("%q became %q and then %q, %v", line, want, texts(again, n), err)
		}
	})
}

// A row costs no allocation once the buffers have grown.
func TestCopyTextAllocates(t *testing.T) {
	var c copyText
	buf := make([]byte, 0, 4096)
	line := []byte("1\tsome text\t\\N\twith \\\\ escape\t2026-01-01 00:00:00+00\n")
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := c.row(buf[:0], line, 5); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}
