package transform

import (
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// unfit stops because a rule and a table's shape do not fit.
func unfit(t *entrain.Table, what string) error {
	return &entrain.Stop{
		Code: "transform_unfit",
		What: fmt.Sprintf("the transform rule for table %s does not fit it: %s", t, what),
		Why:  "what the rule meant for this table's rows cannot be known, or would not identify them any more",
		Next: "correct the rule under transform: in the pipeline file and start again",
	}
}

// sameName stops because two tables would become one.
func sameName(to, first, second tableName) error {
	return &entrain.Stop{
		Code: "transform_name",
		What: fmt.Sprintf("tables %s and %s would both be named %s", first, second, to),
		Why:  "their rows would mix, and rows with equal keys replace each other",
		Next: "give them different names under transform: in the pipeline file, for example with {schema} or {table} in rename:",
	}
}

// event names a change for a stop.
func event(e *entrain.Event) string {
	return fmt.Sprintf("%s of a row of %s (event %s)", e.Op, e.Table, e.ID())
}

// unlogged stops because an expression needs a value that the log did not
// carry.
func unlogged(e *entrain.Event, key, column string) error {
	return &entrain.Stop{
		Code: "transform_unlogged",
		What: fmt.Sprintf("%s cannot be judged by %s: the log has no value of column %q for it", event(e), key, column),
		Why: "without REPLICA IDENTITY FULL the log carries only the key of an old row, and no large value that an update did not " +
			"touch; whether the row belongs behind the filter would be a guess",
		Next: fullIdentity(e.Table) + " -- then all further changes can be judged; for those that are logged already, set old_unknown: replace " +
			"in the rule (the sink must replace rows that it has), or name only key columns",
		Data: true,
	}
}

// partial stops because a row that enters is not known as a whole.
func partial(e *entrain.Event) error {
	return &entrain.Stop{
		Code: "transform_partial",
		What: fmt.Sprintf("%s lets the row in, but the log does not carry all of it", event(e)),
		Why:  "the row must be inserted whole; large values that an update did not touch, or the old key, are logged only with REPLICA IDENTITY FULL",
		Next: fullIdentity(e.Table) + " -- then further changes are complete; to get past this one, run once without where: in the rule",
		Data: true,
	}
}

// failed stops because an expression has no result.
func failed(e *entrain.Event, key string, err error) error {
	return &entrain.Stop{
		Code: "transform_expression",
		What: fmt.Sprintf("%s: %s failed", event(e), key),
		Why:  "an expression that fails says neither that the row passes nor that it does not",
		Next: "correct the expression under transform: in the pipeline file and start again",
		Data: true,
		Err:  err,
	}
}

// fullIdentity is the SQL that makes old rows complete.
func fullIdentity(t *entrain.Table) string {
	return fmt.Sprintf("ALTER TABLE %s.%s REPLICA IDENTITY FULL;", quote(t.Schema), quote(t.Name))
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
