package apply

import (
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const (
	runAgain = "entrain run FILE"
	thenRun  = "-- then: " + runAgain
)

// stop names what a person has to decide on. What the policies would do by
// themselves comes with it, so that the SQL is all that the table needs.
func (a *alteration) stop() error {
	return &entrain.Stop{
		Code: a.code,
		What: fmt.Sprintf("the shape of table %s has changed at the source: %s; everything through %s is applied (event %s)",
			a.event.Table, strings.Join(a.open, "; "), a.w.pos, a.event.ID()),
		Why:  "sink.schema_changes leaves this to you, since the wrong choice would lose what the column holds",
		Next: lines(append(a.manual, a.sql...)) + "\n" + thenRun,
	}
}

func lines(sql []string) string { return strings.Join(sql, "\n") }

// refused explains a change that the target did not make.
func (a *alteration) refused(at int, err error) error {
	state := dial.SQLState(err)
	if a.w.conn.IsClosed() || entrain.IsRetryable(dial.Classify(err)) || state == "" {
		return fmt.Errorf("change table %s at the target: %w", a.event.Table, err)
	}
	code, why := "schema_refused", inWords(err)
	if state == dial.StateNoPrivilege {
		code, why = "schema_rights", fmt.Sprintf("only its owner can change a table, and role %s is not", sqltext.Ident(a.w.catalog.role))
	}
	what := "the table"
	if at > 0 && at <= len(a.sql) {
		what = a.sql[at-1]
	}
	return &entrain.Stop{
		Code: code,
		What: fmt.Sprintf("the target refused to follow a change of the shape of table %s (event %s): %s", a.event.Table, a.event.ID(), what),
		Why:  why,
		Next: lines(a.sql) + "\n-- by the table's owner; then: " + runAgain,
		Err:  err,
	}
}

// stopType is for a type that the target does not have.
func (a *alteration) stopType(c entrain.Column) error {
	return &entrain.Stop{
		Code: "type_missing",
		What: fmt.Sprintf("column %s of table %s has the type %s, which does not exist at the target (event %s)",
			c.Name, a.event.Table, c.Type, a.event.ID()),
		Why:  "types of the source's own are not made",
		Next: fmt.Sprintf("make type %s at the target as it is at the source; then: %s", sqltext.Type(c.Type), runAgain),
	}
}
