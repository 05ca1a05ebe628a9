package debezium

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// followed checks that the changelog has all of these kinds, retracts only rows
// that are there, in every column, and leaves the rows that the source has. One
// that knows no key does no more.
func (ft *flinkTable) followed(kinds ...string) func(*testing.T, string, changelog, [][]byte) {
	return func(t *testing.T, url string, out changelog, values [][]byte) {
		t.Helper()
		ft.checkWhole(t, url, out, values)
		seen := map[string]bool{}
		for _, row := range out.rows {
			seen[row.Kind] = true
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, slices.Sorted(slices.Values(kinds))) {
			t.Errorf("%s: the changelog has the kinds %v, want %v", ft.name, got, kinds)
		}
		rows, err := applyRows(out.rows, identity)
		if err != nil {
			t.Errorf("%s: %v", ft.name, err)
		}
		ft.compare(t, url, rows)
	}
}

// followedByKey checks inserts and deletes of a table whose identity is its
// key: that is all that a delete has.
func (ft *flinkTable) followedByKey(t *testing.T, url string, out changelog, values [][]byte) {
	t.Helper()
	ft.checkWhole(t, url, out, values)
	inserted := map[string]string{}
	for _, row := range out.rows {
		if row.Kind == "-D" && row.Row["v"] != nil {
			t.Errorf("%s: a delete has more than the key: %s", ft.name, identity(row))
		}
		if row.Kind == "+I" {
			inserted[*row.Row["id"]] = identity(row)
		}
	}
	rows, err := applyRows(out.rows, func(row changedRow) string { return inserted[*row.Row["id"]] })
	if err != nil {
		t.Errorf("%s: %v", ft.name, err)
	}
	ft.compare(t, url, rows)
}

// refused checks that the format stops with this error, and read what comes
// before that.
func refused(why string) func(*testing.T, string, changelog, [][]byte) {
	return func(t *testing.T, _ string, out changelog, _ [][]byte) {
		t.Helper()
		if !strings.Contains(out.refused, why) || len(out.rows) != 2 {
			t.Errorf("the format took %d rows and then said %q, want 2 and %q", len(out.rows), out.refused, why)
		}
	}
}

// kept checks that a truncate passed unseen: the rows before and behind it are
// inserted, and none is taken back.
func kept(t *testing.T, _ string, out changelog, values [][]byte) {
	t.Helper()
	rows, err := applyRows(out.rows, identity)
	if err != nil || out.refused != "" || len(rows) != 3 || len(values) != 3 {
		t.Errorf("%d records make %d rows, %v, %q; want 3 of each", len(values), len(rows), err, out.refused)
	}
}

// checkWhole checks that nothing was refused, that there are tombstones, which
// the format skips, and that the metadata is the source's.
func (ft *flinkTable) checkWhole(t *testing.T, url string, out changelog, values [][]byte) {
	t.Helper()
	if out.refused != "" {
		t.Fatalf("%s: after %d rows the format says %s", ft.name, len(out.rows), out.refused)
	}
	if !slices.ContainsFunc(values, func(v []byte) bool { return v == nil }) {
		t.Errorf("%s: no tombstone in the topic", ft.name)
	}
	database := pgtest.QueryOne(t, url, "SELECT current_database()")
	for _, row := range out.rows {
		m := row.Metadata
		for name, want := range map[string]string{"source.database": database, "source.schema": "public", "source.table": ft.name} {
			if m[name] == nil || *m[name] != want {
				t.Errorf("%s: %s is %s, want %s", ft.name, name, show(m[name]), want)
			}
		}
		if m["source.timestamp"] == nil || m["ingestion-timestamp"] == nil || m["source.properties"] == nil {
			t.Errorf("%s: times or properties are missing: %s", ft.name, show(m))
		}
	}
}

// compare checks rows, with how often they are there, against the source's.
func (ft *flinkTable) compare(t *testing.T, url string, got map[string]int) {
	t.Helper()
	var texts []string
	for _, c := range ft.columns {
		texts = append(texts, c.sql())
	}
	want := map[string]int{}
	for _, row := range pgtest.Query(t, url, "SELECT "+strings.Join(texts, ", ")+" FROM "+ft.name) {
		texts := map[string]*string{}
		for i, c := range ft.columns {
			texts[c.name] = nil
			if row[i] != pgtest.Null {
				texts[c.name] = &row[i]
			}
		}
		want[identity(changedRow{Row: texts})]++
	}
	if len(want) == 0 {
		t.Errorf("%s: the source has no row, which proves nothing", ft.name)
	}
	for row, n := range want {
		if got[row] != n {
			t.Errorf("%s: the source has %d times, Flink %d times: %.1500s", ft.name, n, got[row], row)
		}
	}
	for row, n := range got {
		if want[row] == 0 {
			t.Errorf("%s: only Flink has, %d times: %.1500s", ft.name, n, row)
		}
	}
}

// identity is a row as one text.
func identity(row changedRow) string {
	text, _ := json.Marshal(row.Row) // strings only
	return string(text)
}

// applyRows makes the changes of a changelog one after the other and returns
// how often each row is there then. That a row is retracted that is not there
// is an error. find gives the row that a change is about.
func applyRows(all []changedRow, find func(changedRow) string) (map[string]int, error) {
	rows := map[string]int{}
	for i, change := range all {
		row := find(change)
		switch change.Kind {
		case "+I", "+U":
			rows[row]++
		case "-U", "-D":
			if rows[row] == 0 {
				return rows, fmt.Errorf("row %d, %s, retracts what is not there: %.1500s", i+1, change.Kind, row)
			}
			if rows[row]--; rows[row] == 0 {
				delete(rows, row)
			}
		default:
			return rows, fmt.Errorf("row %d is of the kind %q", i+1, change.Kind)
		}
	}
	return rows, nil
}

// TestApplyRowsFindsFaults: a changelog with a fault does not pass.
func TestApplyRowsFindsFaults(t *testing.T) {
	one, two := "1", "2"
	change := func(kind string, v *string) changedRow {
		return changedRow{Kind: kind, Row: map[string]*string{"v": v}}
	}
	rows, err := applyRows([]changedRow{change("+I", &one), change("+I", &one), change("-U", &one), change("+U", nil)}, identity)
	if err != nil || len(rows) != 2 || rows[`{"v":"1"}`] != 1 || rows[`{"v":null}`] != 1 {
		t.Errorf("got %v, %v, want one row of each", rows, err)
	}
	for _, wrong := range [][]changedRow{
		{change("+I", &one), change("-D", &two)},
		{change("+I", &one), change("-D", nil)},
		{change("-U", &one), change("+I", &one)},
		{change("+I", &one), change("?", &one)},
	} {
		if rows, err := applyRows(wrong, identity); err == nil {
			t.Errorf("%v passed and left %v", wrong, rows)
		}
	}
}
