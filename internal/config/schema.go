package config

import _ "embed"

//go:embed entrain.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of pipeline files, for
// editors. It is made from the configuration's Go types and their comments by
// the package's tests, which also hold it to what Load accepts: go test -run
// TestSchema ./internal/config -update.
func Schema() []byte { return schema }
