package kafka

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// keyRecord is how a log of several partitions spreads the rows of a table.
type keyRecord struct {
	V int `json:"v"`
	// Rows are found by these columns, each with how its values read; none: all
	// are in one partition.
	Columns []string `json:"columns"`
}

// rememberKey notes how the rows of a table are spread. Where that changes, rows
// would go to other partitions than their earlier changes, which may not be
// delivered yet: that is a stop before the first of them, until the note is taken
// away.
func (w *writer) rememberKey(ctx context.Context, table *entrain.Table, in *topic) error {
	if w.log == nil || in.partitions == 1 {
		return nil
	}
	name, columns := table.String(), spread(table)
	known, there := w.state.keys[name]
	switch {
	case !there:
		w.state.keys[name] = columns
		return w.remember(ctx, w.own, rowsKey+name, keyRecord{V: stateVersion, Columns: columns})
	case strings.Join(known, "\n") != strings.Join(columns, "\n"):
		return w.stopKeyDivided(table, in, known, columns)
	}
	return nil
}

// spread names what the partition of a row follows from.
func spread(t *entrain.Table) []string {
	columns := []string{}
	if !encoding.HasKey(t) {
		return columns
	}
	for i := range t.Columns {
		if c := &t.Columns[i]; c.Key {
			columns = append(columns, c.Name+" "+reads(c))
		}
	}
	return columns
}

// reads names the types alike whose equal values have equal texts.
func reads(c *entrain.Column) string {
	switch c.Type {
	case "int2", "int4", "int8":
		return "integer"
	case "text", "varchar":
		return "text"
	}
	if c.Modifier < 0 {
		return c.Type
	}
	return fmt.Sprintf("%s(%d)", c.Type, c.Modifier)
}

// stopKeyDivided is for rows that would move to other partitions.
func (w *writer) stopKeyDivided(t *entrain.Table, in *topic, before, now []string) error {
	return &entrain.Stop{
		Code: "key_divided",
		What: fmt.Sprintf("what identifies a row of table %s was (%s) and is (%s) now, and its rows are spread over the %d partitions of the topic %s by that (after %s)",
			t, strings.Join(before, ", "), strings.Join(now, ", "), in.partitions, in.name, w.through),
		Why: "the changes of a row go to another partition from now on: who has not read the old ones yet could take them for newer",
		Next: fmt.Sprintf("wait until all that read the topic are at its end (LAG 0): kafka-consumer-groups.sh %[1]s --describe --all-groups; then forget the key: "+
			"echo %[2]s | kafka-console-producer.sh %[1]s --topic %[3]s --property parse.key=true --property 'key.separator=|' --property null.marker=NULL; "+
			"then: entrain capture FILE", w.bootstrap(), quote(rowsKey+t.String()+"|NULL"), quote(w.own.name)),
		Data:  true,
		Table: t,
	}
}
