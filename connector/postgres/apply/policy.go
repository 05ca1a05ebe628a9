package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// SchemaChanges says what to do when the shape of a table changes at the source.
// A change that the target has already is fine under every policy. All of them
// can be stop: the pipeline ends before the change, names it and prints the SQL.
type SchemaChanges struct {
	// AddColumn: apply adds the column, with the value that rows have got at the
	// source. Default: apply.
	AddColumn string `yaml:"add_column"`
	// Widen is a new type or length that takes every value of the former one in
	// the same text, as int4 to int8. Default: apply.
	Widen string `yaml:"widen"`
	// DropColumn: ignore keeps the column and lets it be NULL; apply drops it,
	// with its values. Default: ignore.
	DropColumn string `yaml:"drop_column"`
	// Rename: apply renames where the source's DDL messages prove that the column
	// was renamed, and stops where that is a guess. Default: stop.
	Rename string `yaml:"rename"`
	// Retype is any other change of type or length. apply converts what is there
	// by a cast, which may not be how the source did it. Default: stop.
	Retype string `yaml:"retype"`
}

const (
	policyApply  = "apply"
	policyStop   = "stop"
	policyIgnore = "ignore"
)

// withDefaults fills in what was left out and refuses what is no policy.
func (c SchemaChanges) withDefaults() (SchemaChanges, error) {
	c.AddColumn = cmp.Or(c.AddColumn, policyApply)
	c.Widen = cmp.Or(c.Widen, policyApply)
	c.DropColumn = cmp.Or(c.DropColumn, policyIgnore)
	c.Rename = cmp.Or(c.Rename, policyStop)
	c.Retype = cmp.Or(c.Retype, policyStop)
	for _, p := range []struct{ key, value, known string }{
		{"add_column", c.AddColumn, "apply, stop"}, {"widen", c.Widen, "apply, stop"},
		{"drop_column", c.DropColumn, "apply, ignore, stop"}, {"rename", c.Rename, "apply, stop"}, {"retype", c.Retype, "apply, stop"},
	} {
		if !slices.Contains(strings.Split(p.known, ", "), p.value) {
			return c, fmt.Errorf("schema_changes.%s: %q is not known, known: %s", p.key, p.value, p.known)
		}
	}
	return c, nil
}
