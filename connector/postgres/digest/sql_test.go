package digest

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// What the server writes for a record, with every character that it escapes, is
// read back, and finds the row.
func TestRecordsAreReadAsTheServerWritesThem(t *testing.T) {
	values := []string{"", "a", `"`, `\`, ",", "(", ")", " ", "a b", `x"y\z,(é)`, "\n", "NULL", `\\""`, "{}", "∅"}
	for _, major := range pgtest.Majors(t) {
		url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
		for _, v := range values {
			text := pgtest.QueryOne(t, url, "SELECT ROW(1, "+literal(v)+", 'end')::text")
			got, ok := parseRecord(text)
			if want := []string{"1", v, "end"}; !ok || !slices.Equal(got, want) {
				t.Errorf("%s: %q, %v, want %q", text, got, ok, want)
			}
			if got := pgtest.QueryOne(t, url, "SELECT ("+literal(array([]string{"0", v}))+"::text[])[2]"); got != v {
				t.Errorf("%q comes out of the array as %q", v, got)
			}
		}
	}
	for _, text := range []string{"(1,)", "(,1)", "()", "", "(", "(1", `("1)`, `(1\`, "(1)x", "1,2"} {
		if got, ok := parseRecord(text); ok {
			t.Errorf("%q was read as %q", text, got)
		}
	}
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}

func FuzzParseRecord(f *testing.F) {
	for i, seed := range []string{`(1,"a""b",c)`, `("\\",)`, "()"} {
		f.Add(seed + strconv.Itoa(i))
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, ok := parseRecord(text)
		if ok && len(values) == 0 {
			t.Errorf("%q has no values", text)
		}
	})
}
