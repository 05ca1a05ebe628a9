package snapshot

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
)

// TestCuts: parts begin at page 0, are in order, not too many, and about as large
// as was asked for.
func TestCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pages := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, 1<<32)).Draw(t, "pages")
		rows := rapid.OneOf(rapid.Int64Range(0, 100_000), rapid.Int64Range(0, pages*300)).Draw(t, "rows")
		each := rapid.Int64Range(1, 1_000_000).Draw(t, "part")
		got := cuts(pages, rows, each)
		if got[0] != 0 || len(got) > maxParts/2+1 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || got[len(got)-1] > max(pages-1, 0) {
			t.Fatalf("%d pages, %d rows, parts of %d: %d parts, the last at %d", pages, rows, each, len(got), got[len(got)-1])
		}
		if want := rows/each + 1; int64(len(got)) > 2*want+1 {
			t.Fatalf("%d pages, %d rows, parts of %d: %d parts", pages, rows, each, len(got))
		}
	})
}

func TestEstimate(t *testing.T) {
	for _, c := range []struct {
		pages int64
		d     density
		want  int64
	}{{10, density{500, 5}, 1000}, {10, density{0, 5}, 0}, {0, density{-1, 0}, 0}, {10, density{-1, 0}, 1360}, {10, density{0, 0}, 1360}} {
		if got := estimate(c.pages, c.d, 32, 8192); got != c.want {
			t.Errorf("%d pages, %v: %d rows, want %d", c.pages, c.d, got, c.want)
		}
	}
}

// TestOrder: what is referred to comes first, circles are begun somewhere, and
// names decide the rest.
func TestOrder(t *testing.T) {
	var tables []*table
	for _, name := range []string{"d", "a", "c", "b", "e", "f"} {
		tables = append(tables, &table{oid: name, shape: &entrain.Table{Schema: "s", Name: name}})
	}
	edges := []edge{{"a", "b"}, {"b", "c"}, {"c", "c"}, {"d", "gone"}, {"gone", "a"}, {"e", "f"}, {"f", "e"}, {"a", "b"}}
	text := ""
	for _, t := range order(tables, edges) {
		text += t.oid
	}
	if text != "cbadef" {
		t.Errorf("order %s", text)
	}
}

// TestOrdinals are apart for all tables, parts and rows.
func TestOrdinals(t *testing.T) {
	seen := map[uint64]entrain.SnapshotPart{}
	for i := range 9 {
		p := entrain.SnapshotPart{Table: []int{0, 1, maxTables - 1}[i/3], Number: []int{0, 1, maxParts - 1}[i%3]}
		for _, row := range []uint64{0, maxRows - 1} {
			o := firstOrdinal(p) + row
			if other, taken := seen[o]; o>>63 != 1 || taken {
				t.Errorf("row %d of %+v has the ordinal %x of %+v", row, p, o, other)
			}
			seen[o] = p
		}
	}
}

// Tables that references tie together, directly or not, have one group; others
// have none.
func TestTie(t *testing.T) {
	var tables []*table
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		tables = append(tables, &table{oid: name, shape: &entrain.Table{Schema: "s", Name: name}})
	}
	tie(tables, []edge{{"a", "b"}, {"d", "e"}, {"c", "b"}, {"f", "f"}, {"x", "a"}})
	got := make([]int, len(tables))
	for i, table := range tables {
		got[i] = table.group
	}
	a, d := got[0], got[3]
	if want := []int{a, a, a, d, d, 0}; a == 0 || d == 0 || a == d || !slices.Equal(got, want) {
		t.Errorf("groups %v", got)
	}
}
