package entrain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// shape makes a table of columns "name type"; a * marks the key.
func shape(columns ...string) *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "t"}
	for _, c := range columns {
		name, typ, _ := strings.Cut(c, " ")
		t.Columns = append(t.Columns, entrain.Column{Name: strings.TrimSuffix(name, "*"), Type: typ, Modifier: -1, Key: strings.HasSuffix(name, "*")})
	}
	t.Version = t.Fingerprint()
	return t
}

// told is a statement after which a table has the columns "number:name".
func told(renamed int32, dropped string, columns ...string) entrain.DDL {
	d := entrain.DDL{Schema: "public", Table: "t", ID: 7, Tag: "ALTER TABLE", Renamed: renamed, Dropped: strings.Fields(dropped)}
	for _, c := range columns {
		var f entrain.ColumnFacts
		fmt.Sscanf(strings.Replace(c, ":", " ", 1), "%d %s", &f.ID, &f.Name)
		d.Columns = append(d.Columns, f)
	}
	return d
}

func describeChange(c *entrain.SchemaChange) string {
	var parts []string
	for _, col := range c.Columns {
		text := col.Kind.String()
		for _, side := range []*entrain.Column{col.Before, col.After} {
			if side != nil {
				text += " " + side.Name
			}
		}
		if col.Guessed {
			text += "?"
		}
		parts = append(parts, text)
	}
	if c.Identity {
		parts = append(parts, "identity")
	}
	return strings.Join(parts, ", ")
}

// TestCompareTables: what changed from one shape to the next, guessed from the
// names or proven by statements.
func TestCompareTables(t *testing.T) {
	old := shape("id* int8", "a text", "b int4")
	for name, c := range map[string]struct {
		after *entrain.Table
		ddl   []entrain.DDL
		want  string
	}{
		"equal":             {old, nil, ""},
		"another order":     {shape("b int4", "id* int8", "a text"), nil, ""},
		"added":             {shape("id* int8", "a text", "b int4", "c text"), nil, "add c"},
		"dropped":           {shape("id* int8", "b int4"), nil, "drop a"},
		"retyped":           {shape("id* int8", "a text", "b int8"), nil, "retype b b"},
		"key":               {shape("id* int8", "a* text", "b int4"), nil, "identity"},
		"perhaps renamed":   {shape("id* int8", "x text", "b int4"), nil, "rename a x?"},
		"by type":           {shape("id* int8", "x int4", "y text"), nil, "rename b x?, rename a y?"},
		"of another type":   {shape("id* int8", "a text", "x uuid"), nil, "rename b x?, retype b x"},
		"one more":          {shape("id* int8", "x text", "y text", "b int4"), nil, "rename a x?, add y"},
		"one less":          {shape("id* int8", "x text"), nil, "rename a x?, drop b"},
		"renamed":           {shape("id* int8", "x text", "b int4"), []entrain.DDL{told(2, "", "1:id", "2:x", "3:b")}, "rename a x"},
		"key renamed":       {shape("key* int8", "a text", "b int4"), []entrain.DDL{told(1, "", "1:key", "2:a", "3:b")}, "rename id key, identity"},
		"dropped and added": {shape("id* int8", "b int4", "x text"), []entrain.DDL{told(0, "a", "1:id", "3:b", "4:x")}, "add x, drop a"},
		"made anew":         {old, []entrain.DDL{told(0, "a", "1:id", "3:b", "4:a")}, "add a, drop a"},
		"there and back":    {old, []entrain.DDL{told(2, "", "1:id", "2:x", "3:b"), told(2, "", "1:id", "2:a", "3:b")}, ""},
		"swapped": {shape("id* int8", "b text", "a int4"), []entrain.DDL{
			told(2, "", "1:id", "2:x", "3:b"), told(3, "", "1:id", "2:x", "3:a"), told(2, "", "1:id", "2:b", "3:a")}, "rename a b, rename b a"},
		"in two statements": {shape("id* int8", "b int4", "x text"), []entrain.DDL{
			told(0, "a", "1:id", "3:b"), told(0, "", "1:id", "3:b", "4:x")}, "add x, drop a"},
		"not all was told":       {shape("id* int8", "x text", "b int4", "c text"), []entrain.DDL{told(0, "", "1:id", "2:x", "3:b", "4:c")}, "rename a x?, add c"},
		"of another table":       {shape("id* int8", "x text", "b int4"), []entrain.DDL{told(2, "", "1:id", "2:x", "3:b"), {ID: 8, Columns: told(0, "", "1:id", "2:x", "3:b").Columns}}, "rename a x?"},
		"table dropped":          {shape("id* int8", "x text", "b int4"), []entrain.DDL{{ID: 7, Tag: "DROP TABLE"}}, "rename a x?"},
		"of a column not listed": {shape("id* int8", "x text", "b int4"), []entrain.DDL{told(2, "", "1:id", "2:y", "3:b")}, "rename a x?"},
		"renamed before":         {shape("id* int8", "a text", "b int4", "c text"), []entrain.DDL{told(2, "", "1:id", "2:a", "3:b"), told(0, "", "1:id", "2:a", "3:b", "4:c")}, "add c"},
		"unpublished renamed":    {shape("id* int8", "a text", "b int4", "c text"), []entrain.DDL{told(9, "", "1:id", "2:a", "3:b", "9:c")}, "add c"},
	} {
		if got := describeChange(entrain.CompareTables(old, c.after, c.ddl, nil)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestFactsOfAddedColumns: the last statement's facts go before the catalog's.
func TestFactsOfAddedColumns(t *testing.T) {
	old, after := shape("id* int8"), shape("id* int8", "a text")
	fill := "x"
	catalog := []entrain.ColumnFacts{{Name: "a", Default: "'late'"}}
	d := told(0, "", "1:id", "2:a")
	d.Columns[1].Fill = &fill
	if c := entrain.CompareTables(old, after, []entrain.DDL{d}, catalog); len(c.Columns) != 1 || c.Columns[0].Facts.Fill != &fill {
		t.Errorf("with a statement: %+v", c.Columns)
	}
	if c := entrain.CompareTables(old, after, nil, catalog); len(c.Columns) != 1 || c.Columns[0].Facts.Default != "'late'" {
		t.Errorf("without: %+v", c.Columns)
	}
	if c := entrain.CompareTables(old, after, nil, nil); len(c.Columns) != 1 || c.Columns[0].Facts != nil {
		t.Errorf("without anything: %+v", c.Columns)
	}
}

// TestSchemaOrdinal: no data message has the ordinal of a schema event.
func TestSchemaOrdinal(t *testing.T) {
	seen := map[uint64]bool{}
	for _, first := range []uint64{0, 1, 1<<40 - 1} {
		for _, table := range []int{0, 1, 1<<22 - 1} {
			o := entrain.SchemaOrdinal(first, table)
			if seen[o] || o < 1<<63 {
				t.Errorf("ordinal %x of %x, %d", o, first, table)
			}
			seen[o] = true
		}
	}
}
