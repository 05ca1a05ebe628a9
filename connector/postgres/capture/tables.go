package capture

import "github.com/entrainsync/entrain/connector"

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
