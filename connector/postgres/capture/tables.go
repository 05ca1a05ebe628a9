package capture

import (
	"slices"

	"github.com/entrainsync/entrain/connector"
)

// Tables chooses tables by patterns over schema.table, both unquoted: * stands
// for any run of characters, ? for one, a backslash takes the next one as it
// is.
type Tables struct {
	// Include lists what is captured. Default: every table.
	Include []string `yaml:"include"`
	// Exclude lists what is not, though included.
	Exclude []string `yaml:"exclude"`
}

// ownSchema holds the tool's own tables, which never feed back.
const ownSchema = "entrain"

// matcher checks the patterns and returns what they mean together.
func (t Tables) matcher() (func(schema, name string) bool, error) {
	included, err := connector.MatchTables(t.Include)
	if err != nil {
		return nil, err
	}
	excluded, err := connector.MatchTables(t.Exclude)
	if err != nil {
		return nil, err
	}
	return func(schema, name string) bool {
		return schema != ownSchema && (len(t.Include) == 0 || included(schema, name)) && !excluded(schema, name)
	}, nil
}

// named is what Include names one by one, without a wildcard; nil if it names
// nothing so. Views and the like are taken only by that.
func (t Tables) named() (func(schema, name string) bool, error) {
	wants, err := t.matcher()
	if err != nil {
		return nil, err
	}
	literal := slices.DeleteFunc(slices.Clone(t.Include), connector.HasWildcard)
	if len(literal) == 0 {
		return nil, nil
	}
	named, err := connector.MatchTables(literal)
	if err != nil {
		return nil, err
	}
	return func(schema, name string) bool { return named(schema, name) && wants(schema, name) }, nil
}
