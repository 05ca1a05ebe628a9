package snapshot

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The named stops of a snapshot (P5). FILE in a command stands for the pipeline's
// file; the command line puts it in.

// stopListConflict is what the stream stops at, too.
func stopListConflict(t *entrain.Table) error {
	return &entrain.Stop{
		Code: "column_list_conflict",
		What: fmt.Sprintf("the publications disagree about the columns of table %s", t),
		Why:  "the server sends no rows of a table for which its publications list different columns",
		Next: "make the lists equal by ALTER PUBLICATION, or name one of them in source.publication of FILE; then: entrain run FILE",
	}
}

func stopChunksOnStandby(server string) error {
	return &entrain.Stop{
		Code: "chunks_on_standby",
		What: server + " is a standby: tables cannot be read by key beside the stream there",
		Why:  "a standby does not say which transactions its view of a table lacks, so that rows and changes could not be put together",
		Next: "set source.url in FILE to the primary and run again: entrain run FILE",
	}
}

func stopTooLarge(t *entrain.Table, limit int) error {
	return &entrain.Stop{
		Code: "event_too_large",
		What: fmt.Sprintf("a row of table %s is above max_event_bytes (%s)", t, connector.ByteSize(limit)),
		Why:  "a single row must fit into memory",
		Next: "set source.max_event_bytes higher in FILE, at most 1GB, and run again: entrain run FILE",
	}
}

// stopUntranslatable is nil for other errors.
func stopUntranslatable(t *entrain.Table, err error) error {
	const notInEncoding, untranslatable = "22021", "22P05"
	if state := dial.SQLState(err); state != notInEncoding && state != untranslatable {
		return nil
	}
	return &entrain.Stop{
		Code: "text_untranslatable",
		What: fmt.Sprintf("the source cannot convert a value of table %s to UTF-8", t),
		Why:  "the database holds characters that UTF-8 does not have, or bytes that its own encoding does not have",
		Next: "correct the row at the source; then: entrain run FILE",
		Err:  err,
	}
}

// refused names what the role may not see. The names of the server's functions
// are not translated, its messages may be.
func (l *leaf) refused(err error, user string) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Routine == "check_enable_rls" {
		return &entrain.Stop{
			Code: "row_security",
			What: fmt.Sprintf("row-level security hides rows of table %s from role %q", l.name(), user),
			Why:  "a copy would lack them",
			Next: fmt.Sprintf("ALTER ROLE %s BYPASSRLS; -- as a superuser; then: entrain run FILE", sqltext.Ident(user)),
			Err:  err,
		}
	}
	return &entrain.Stop{
		Code: "no_select_right",
		What: fmt.Sprintf("role %q may not read table %s", user, l.name()),
		Why:  "copying its rows needs SELECT on the table, on each partition too, and USAGE of the schema",
		Next: fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO %[3]s; GRANT SELECT ON %[2]s TO %[3]s; -- as their owner; then: entrain run FILE",
			sqltext.Ident(l.schema), l.name(), sqltext.Ident(user)),
		Err: err,
	}
}
