package capture

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The named stops over what is captured: what the log cannot say, or the server
// refuses to.

func stopGeneratedIdentity(tables, mend []string) error {
	return &entrain.Stop{
		Code: "generated_identity",
		What: "tables identified by generated columns that the log does not carry: " + strings.Join(tables, ", "),
		Why: "their rows could not be told apart, or UPDATE and DELETE would fail at the source once they are published; " +
			"REPLICA IDENTITY DEFAULT takes a primary key of other columns: a table without one is left to source.tables.exclude",
		Next: strings.Join(mend, " "),
	}
}

// stopInsertIncomplete is for a row whose update made it pass the publication's
// row filter: an insert then, of values that the log does not have.
func stopInsertIncomplete(table *entrain.Table, column, place string) error {
	return &entrain.Stop{
		Code: "insert_incomplete",
		What: fmt.Sprintf("insert of a row of %s in %s: its column %q is missing", table, place, column),
		Why: "an update made the row pass the publication's row filter, and the log has not the large values that the update " +
			"left alone; with REPLICA IDENTITY FULL it has. The row that is in the log already must be copied again",
		Next: fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL; -- then: %s", sqltext.Table(table.Schema, table.Name), restart),
	}
}

// stopNameTaken is for a row of a table whose name in the log is by now that of
// another table, in the very transaction that renamed the schema.
func stopNameTaken(table *entrain.Table) error {
	return &entrain.Stop{
		Code: "table_name_taken",
		What: fmt.Sprintf("two tables are called %s in one transaction", table),
		Why: "versions of PostgreSQL before 18 do not note in the log that a schema was renamed, " +
			"so that the rows of the two cannot be told apart",
		Next: restart,
	}
}

// stopNameUnreadable is for names in a database without an encoding; values are
// carried whatever their bytes are.
func stopNameUnreadable(table *entrain.Table, name string) error {
	return &entrain.Stop{
		Code: "name_unreadable",
		What: fmt.Sprintf("the name %q at table %q is not UTF-8", name, table),
		Why:  "the database has the encoding SQL_ASCII, which lets any bytes be a name; no target could be told it",
		Next: "rename it by ALTER … RENAME in a session with the client encoding that it was made in; then: " + restart,
	}
}

// captureStop names what a server refuses to decode, by its function: messages
// may be translated.
func captureStop(e *pgconn.PgError, err error) error {
	switch {
	case e.Routine == "pgoutput_column_list_init", e.Routine == "check_and_init_gencol":
		return &entrain.Stop{
			Code: "column_list_conflict",
			What: "the publications disagree about the columns of a table: " + e.Message,
			Why:  "the server sends no rows of a table for which its publications list different columns",
			Next: "make the lists equal by ALTER PUBLICATION, or name one of them in source.publication of FILE; then: " + restart,
			Err:  err,
		}
	case e.Code == stateUntranslatable || e.Code == stateNotInEncoding:
		return &entrain.Stop{
			Code: "text_untranslatable",
			What: "the source cannot convert a value to UTF-8: " + e.Message + whereOf(e),
			Why:  "the database holds characters that UTF-8 does not have, or bytes that its own encoding does not have",
			Next: "correct the row at the source; then: " + restart,
			Err:  err,
		}
	}
	return nil
}

// SQLSTATEs of text that cannot be converted.
const (
	stateNotInEncoding  = "22021"
	stateUntranslatable = "22P05"
)

// whereOf is the place in the log that the server adds to an error.
func whereOf(e *pgconn.PgError) string {
	if e.Where == "" {
		return ""
	}
	return " (" + strings.ReplaceAll(e.Where, "\n", "; ") + ")"
}
