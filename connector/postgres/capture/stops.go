package capture

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The named stops of the source (P5). FILE in a command stands for the
// pipeline's file; the command line puts it in.

func stopWalLevel(level string) error {
	return &entrain.Stop{
		Code: "wal_level",
		What: fmt.Sprintf("the source runs with wal_level = %s", level),
		Why:  "logical decoding needs wal_level = logical",
		Next: "ALTER SYSTEM SET wal_level = logical; -- then restart the server",
	}
}

func stopNoReplication(user string, err error) error {
	return &entrain.Stop{
		Code: "no_replication_right",
		What: fmt.Sprintf("role %q may not use replication", user),
		Why:  "reading the log needs the REPLICATION attribute",
		Next: fmt.Sprintf("ALTER ROLE %s REPLICATION; -- as a superuser", sqltext.Ident(user)),
		Err:  err,
	}
}

// restart is the way back into a history that is broken.
const restart = "entrain teardown FILE; empty the tables at the target (TRUNCATE …), since rows that were deleted meanwhile would stay; entrain run FILE"

// dropAndRestart is the same where a slot is left.
func dropAndRestart(cfg Config) string { return dropSlot(cfg.Slot) + "; -- then: " + restart }

func dropSlot(slot string) string { return "SELECT pg_drop_replication_slot(" + quoted(slot) + ")" }

func quoted(text string) string { return strings.TrimSpace(sqltext.Literal(text)) }

func stopSlotLost(cfg Config, st slotState) error {
	reason := st.reason
	if reason == "" {
		reason = "wal_removed"
	}
	why := map[string]string{
		"wal_removed":            "the slot held more log than max_slot_wal_keep_size allows, and the server removed it",
		"rows_removed":           "the server removed catalog rows that decoding needs (a standby without hot_standby_feedback)",
		"wal_level_insufficient": "the server, or a standby's primary, ran with a wal_level below logical meanwhile",
		"idle_timeout":           "the slot was unused for longer than idle_replication_slot_timeout",
		conflictReason: "a slot of a standby depends on its primary: wal_level was below logical there, " +
			"or catalog rows that decoding needs were removed (hot_standby_feedback is off here)",
	}[reason]
	if why == "" {
		why = "the server invalidated it"
	}
	return &entrain.Stop{
		Code: "slot_lost", Lost: true,
		What: fmt.Sprintf("replication slot %q is lost (%s): changes after %s can no longer be read", cfg.Slot, reason, st.confirmed),
		Why:  why,
		Next: dropAndRestart(cfg),
	}
}

// stopSlotRefused is for a slot that was lost after we had looked at it.
func stopSlotRefused(cfg Config, err error) error {
	return &entrain.Stop{
		Code: "slot_lost", Lost: true,
		What: fmt.Sprintf("replication slot %q is lost: the server no longer reads from it", cfg.Slot),
		Why:  "the server invalidated it",
		Next: dropAndRestart(cfg),
		Err:  err,
	}
}

func stopSlotMissing(cfg Config, from entrain.Position) error {
	return &entrain.Stop{
		Code: "slot_missing", Lost: true,
		What: fmt.Sprintf("replication slot %q does not exist, but this pipeline has read it up to %s", cfg.Slot, from),
		Why:  "it was dropped, or the server was replaced by one that does not have it; changes since then would be lost",
		Next: restart,
	}
}

func stopSlotNotMade(cfg Config) error {
	return &entrain.Stop{
		Code: "slot_not_made",
		What: fmt.Sprintf("replication slot %q does not exist", cfg.Slot),
		Why:  "source.create is not set",
		Next: fmt.Sprintf("SELECT pg_create_logical_replication_slot(%s, 'pgoutput');", strings.TrimSpace(sqltext.Literal(cfg.Slot))),
	}
}

func stopSlotForeign(cfg Config, st slotState) error {
	return &entrain.Stop{
		Code: "slot_foreign",
		What: fmt.Sprintf("replication slot %q belongs to database %q with plug-in %q", cfg.Slot, st.database, st.plugin),
		Why:  "it is not a pgoutput slot of this database",
		Next: "set source.slot to another name in FILE and run again: entrain run FILE",
	}
}

func stopSlotAhead(cfg Config, confirmed lsn, p place) error {
	return &entrain.Stop{
		Code: "slot_ahead", Lost: true,
		What: fmt.Sprintf("replication slot %q stands at %s, ahead of our position %s", cfg.Slot, confirmed, p.at),
		Why: "it was dropped and made again, advanced by something else, or the sink, or the stream, was restored from a backup or damaged; " +
			"the changes in between cannot be read",
		Next: dropAndRestart(cfg),
	}
}

func stopPositionAhead(cfg Config, p place, end lsn) error {
	return &entrain.Stop{
		Code: "position_ahead", Lost: true,
		What: fmt.Sprintf("our position %s is past the end of the source's log, %s", p.at, end),
		Why:  "the source was restored from a backup or lost its latest changes in a crash",
		Next: dropAndRestart(cfg),
	}
}

func stopPosition(cfg Config, from entrain.Position, err error) error {
	return &entrain.Stop{
		Code: "position_unreadable",
		What: fmt.Sprintf("the saved position %q is not one of a PostgreSQL source", from.Offset),
		Why:  "the state belongs to another kind of source",
		Next: restart,
		Err:  err,
	}
}

func stopOtherSystem(cfg Config, system string, from entrain.Position) error {
	return &entrain.Stop{
		Code: "other_system",
		What: fmt.Sprintf("the source is system %s, but our position %s belongs to history %s", system, from, from.Incarnation),
		Why:  "source.url leads to another server, or to a copy of it that was initialised anew",
		Next: restart,
	}
}

func stopForked(cfg Config, p, fork place) error {
	return &entrain.Stop{
		Code: "history_forked", Lost: true,
		What: fmt.Sprintf("our position %s on timeline %d is not in the history of timeline %d, which branched off at %s",
			p.at, p.timeline, fork.timeline, fork.at),
		Why:  "a standby was promoted that had not received everything we had delivered",
		Next: dropAndRestart(cfg),
	}
}

func stopPublicationGone(names []string, err error) error {
	return &entrain.Stop{
		Code: "publication_missing", Lost: true,
		What: fmt.Sprintf("publication %q does not exist at this point of the log", strings.Join(names, `", "`)),
		Why:  "it was dropped; changes in between were not published, and making it again does not bring them back",
		Next: restart,
		Err:  err,
	}
}

func stopPublicationNotMade(name, create string) error {
	return &entrain.Stop{
		Code: "publication_not_made",
		What: fmt.Sprintf("publication %q does not exist", name),
		Why:  "source.create is not set, or source.publications, whose members are never made, is",
		Next: create + ";",
	}
}

func stopNoTables(cfg Config) error {
	return &entrain.Stop{
		Code: "no_tables",
		What: "source.tables matches no table of the source",
		Why:  fmt.Sprintf("include %q, exclude %q", cfg.Tables.Include, cfg.Tables.Exclude),
		Next: "correct source.tables in FILE and run again: entrain run FILE",
	}
}

func stopNoIdentity(tables, mend []string) error {
	return &entrain.Stop{
		Code: "no_replica_identity",
		What: "tables without a primary key or replica identity: " + strings.Join(tables, ", "),
		Why:  "once published, UPDATE and DELETE on them would fail at the source",
		Next: strings.Join(mend, " "),
	}
}

func stopPartitionIdentity(leaves, mend []string) error {
	return &entrain.Stop{
		Code: "partition_identity",
		What: "partitions with another replica identity than their partitioned table: " + strings.Join(leaves, ", "),
		Why: "the server logs a row by the partition's identity but describes it by the partitioned table's, " +
			"so that old values would be read wrongly",
		Next: strings.Join(mend, " "),
	}
}

// connectError names a missing right by the function of the server that
// refused; its messages may be translated. Any other refusal stays as it is.
func connectError(err error, cfg *pgconn.Config) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != dial.StateNoPrivilege {
		return err
	}
	switch pgErr.Routine {
	case "InitPostgres":
		return stopNoReplication(cfg.User, err)
	case "CheckMyDatabase":
		return dial.StopNoConnectRight(cfg, err)
	}
	return err
}

func createSlotError(err error, slot, user string) error {
	var pgErr *pgconn.PgError
	switch {
	case dial.SQLState(err) == dial.StateNoPrivilege:
		return stopNoReplication(user, err)
	case errors.As(err, &pgErr) && pgErr.Code == "55000" && pgErr.Routine == "CheckLogicalDecodingRequirements":
		return stopPrimaryWalLevel(err) // our own wal_level was looked at before
	}
	return fmt.Errorf("create replication slot %s: %w", slot, err)
}

// The SQLSTATEs of a name that is taken, and of one that is not there.
const (
	duplicateObject = "42710"
	undefinedObject = "42704"
)

// stateReadOnly is the SQLSTATE of a server that takes no writes.
const stateReadOnly = "25006"

func createPublicationError(err error, cfg Config, create string) error {
	switch dial.SQLState(err) {
	case stateReadOnly:
		return stopPublicationOnStandby(cfg, create, err)
	case dial.StateNoPrivilege:
	default:
		return fmt.Errorf("create publication %s: %w", cfg.Publication, err)
	}
	return &entrain.Stop{
		Code: "publication_not_made",
		What: fmt.Sprintf("publication %q does not exist and may not be made by this role", cfg.Publication),
		Why:  "it takes the owner of the tables and CREATE on the database",
		Next: create + "; -- by the owner of the tables",
		Err:  err,
	}
}

// isMissingPublication recognises what the server says when a publication does
// not exist at the point it decodes: an error up to version 17, a warning from
// 18 on. Messages may be translated; the names of the server's functions are not.
func isMissingPublication(e *pgconn.PgError) bool {
	return e.Code == "42704" && (e.Routine == "get_publication_oid" || strings.Contains(e.Message, "publication")) ||
		e.Code == "55000" && (e.Routine == "LoadPublications" || strings.Contains(e.Message, "skipped loading publication"))
}

// isLostSlot recognises the server's refusal to read from an invalidated slot:
// when it is acquired (from version 18 on), when replication starts (up to 15)
// or when decoding does (between). There a slot that a standby keeps in step
// with its primary is refused, too, with a hint to use another one.
func isLostSlot(e *pgconn.PgError) bool {
	if e.Code != "55000" {
		return false
	}
	switch e.Routine {
	case "ReplicationSlotAcquire", "StartLogicalReplication":
		return true
	case "CreateDecodingContext":
		return e.Detail != "" && e.Hint == ""
	}
	return false
}

// streamError classifies what ended a stream.
func streamError(err error, cfg Config) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return dial.Classify(err)
	}
	if isMissingPublication(pgErr) {
		return stopPublicationGone(cfg.publications(), err)
	}
	if isLostSlot(pgErr) {
		return stopSlotRefused(cfg, err)
	}
	if pgErr.Code == "55000" && pgErr.Routine == "CreateDecodingContext" && pgErr.Hint != "" {
		err = entrain.Retryable(err) // kept in step with the primary's, until this standby is promoted
	}
	if stop := captureStop(pgErr, err); stop != nil {
		return stop
	}
	return fmt.Errorf("read from replication slot %s: %w", cfg.Slot, dial.Classify(err))
}
