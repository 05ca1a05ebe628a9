package entraintest

import (
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// doubles is the table of the doubles that are begun; its keys are their names,
// which no table has.
const doubles = "\x00doubles"

func doubleName(t *entrain.Table) string { return "\x00" + t.String() }

// ofDouble reports whether an event is about the double of a table.
func ofDouble(e *entrain.Event) bool {
	if e.Op == entrain.OpTruncate {
		return slices.ContainsFunc(e.Truncate.Tables, func(t *entrain.Table) bool { return t.Shadow })
	}
	return e.Table != nil && e.Table.Shadow
}

// applyDouble makes an event's change in a double, or puts that in place.
func (s *MemorySink) applyDouble(e *entrain.Event) error {
	if e.Op == entrain.OpTruncate {
		if len(e.Truncate.Tables) != 1 {
			return fmt.Errorf("a truncate of the double of a table names %d tables", len(e.Truncate.Tables))
		}
		name := doubleName(e.Truncate.Tables[0])
		s.edit(name, s.tables[name].replaced(nil))
		s.edit(doubles, []edit{{key: name, old: s.tables[doubles][name], new: []Cell{}}})
		return nil
	}
	name := doubleName(e.Table)
	begun := s.tables[doubles][name]
	if begun == nil {
		return &entrain.Stop{Code: "shadow_lost", What: fmt.Sprintf("no double of table %s was begun", e.Table)}
	}
	if e.Op != entrain.OpReadEnd {
		return s.applyTo(name, e)
	}
	s.edit(e.Table.String(), s.tables[e.Table.String()].replaced(s.tables[name]))
	s.edit(name, s.tables[name].replaced(nil))
	s.edit(doubles, []edit{{key: name, old: begun}})
	return nil
}

// replaced are the edits that turn r into rows.
func (r Rows) replaced(rows Rows) []edit {
	var edits []edit
	for key, old := range r {
		if rows[key] == nil {
			edits = append(edits, edit{key: key, old: old})
		}
	}
	for key, cells := range rows {
		if !slices.Equal(r[key], cells) {
			edits = append(edits, edit{key: key, old: r[key], new: cells})
		}
	}
	return edits
}
