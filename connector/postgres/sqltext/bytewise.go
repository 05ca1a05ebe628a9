package sqltext

import "slices"

// ColumnType is the type of a target's column, as the catalog has it.
type ColumnType struct {
	// Name as entrain.Column has it: int8.
	Name string
	// Modifier of the type, -1 for none.
	Modifier int32
	// Enum: the type is one.
	Enum bool
}

// bytewiseTypes have one text for each value.
var bytewiseTypes = []string{"bool", "bytea", "char", "date", "int2", "int4", "int8", "macaddr", "macaddr8",
	"name", "oid", "pg_lsn", "text", "time", "timestamp", "timestamptz", "uuid", "varchar"}

// Bytewise reports whether equality of the column's values is equality of the texts that
// a source sends, whose type is the same with the modifier source. The column's collation
// has to be deterministic besides.
func (c ColumnType) Bytewise(source int32) bool {
	if !c.Enum && !slices.Contains(bytewiseTypes, c.Name) {
		return false
	}
	if c.Name == "varchar" && source >= 0 && c.Modifier > source {
		return true
	}
	return c.Modifier == -1 || c.Modifier == source
}
