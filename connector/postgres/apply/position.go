package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The position table. A row is bound to the target it was made in by the
// server's system identifier and the database's oid. Few versions of a row
// share a page, so that updates stay in it.
const (
	positionSchemaSQL = `CREATE SCHEMA IF NOT EXISTS entrain`
	positionTableSQL  = `CREATE TABLE IF NOT EXISTS entrain.position (
  pipeline text NOT NULL,
  source text NOT NULL,
  partition integer NOT NULL,
  incarnation text NOT NULL,
  position text NOT NULL,
  version numeric(20,0) NOT NULL,
  fence bigint NOT NULL,
  owner uuid NOT NULL,
  system_id text NOT NULL,
  database_oid oid NOT NULL,
  database text NOT NULL,
  updated_at timestamptz NOT NULL,
  ahead text,
  PRIMARY KEY (pipeline, source, partition)
) WITH (fillfactor = 50)`

	targetSQL = `SELECT s.system_identifier::text, d.oid::text, d.datname::text, current_user::text,
  (SELECT count(*)::text FROM pg_namespace WHERE nspname = 'entrain'),
  (SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'entrain' AND c.relname = 'position'),
  (SELECT count(*)::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'entrain' AND c.relname = 'position' AND a.attname = 'ahead')
FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()`

	takeOverSQL = `UPDATE entrain.position AS p SET fence = fence + 1, owner = $3::uuid, updated_at = clock_timestamp()
WHERE pipeline = $1 AND source = $2 AND partition = 0 AND system_id = $4 AND database_oid = $5::oid
RETURNING fence::text, incarnation, position, version::text, coalesce(to_jsonb(p) ->> 'ahead', '')`

	firstRowSQL = `INSERT INTO entrain.position (pipeline, source, partition, incarnation, position, version,
fence, owner, system_id, database_oid, database, updated_at)
SELECT $1, $2, 0, '', '', 0, 1, $3::uuid, $4, $5::oid, current_database(), clock_timestamp()
ON CONFLICT DO NOTHING RETURNING fence::text, incarnation, position, version::text, ''`

	readRowSQL = `SELECT fence::text, owner::text, incarnation, position, system_id, database_oid::text, database
FROM entrain.position WHERE pipeline = $1 AND source = $2 AND partition = 0`

	// moveSQL is the compare-and-set that every transaction begins with. It
	// fails with division_by_zero if the row is not as this session left it;
	// that it hit no row at all is for the caller to see. The divisor is not a
	// constant, so that it is not evaluated ahead of time.
	moveSQL = `UPDATE entrain.position SET incarnation = $6, version = greatest(version, $8),
updated_at = clock_timestamp(), position = CASE WHEN owner = $3 AND fence = $4
AND incarnation = $5 AND position = $9 THEN $7 ELSE (1 / (fence - fence))::text END
WHERE pipeline = $1 AND source = $2 AND partition = 0`
	stateMoveFailed = "22012"
)

var moveTypes = []uint32{oidText, oidText, oidUUID, oidInt8, oidText, oidText, oidText, oidNumeric, oidText}

// sinkTarget identifies the database that a session is connected to.
type sinkTarget struct {
	systemID, databaseOID, database, role string
	// Whether the position's schema and table were there at the first look.
	hasSchema, hasTable bool
	hasAhead            bool // the table has the column
}

// Position takes the position row over; see [entrain.Positioner]. The update
// waits for a transaction of the former owner, so that its outcome is settled
// when the row is read.
func (w *writer) Position(ctx context.Context) (entrain.Position, error) {
	if w.broken != nil {
		return entrain.Position{}, fmt.Errorf("position after the session ended: %w", w.broken)
	}
	pos, err := w.takeOver(ctx)
	if err != nil {
		return entrain.Position{}, w.fail(err)
	}
	if w.gate != nil {
		if err := w.gate.open(ctx); err != nil {
			return entrain.Position{}, w.fail(err)
		}
	}
	w.pos, w.opened = pos, true
	w.lease.set(holder{owner: w.owner, fence: w.fence, role: w.catalog.role})
	return pos, nil
}

func (w *writer) takeOver(ctx context.Context) (entrain.Position, error) {
	here, err := w.identify(ctx)
	if err != nil {
		return entrain.Position{}, err
	}
	w.catalog.role = here.role
	if !here.hasTable {
		if err := w.createPosition(ctx, here); err != nil {
			return entrain.Position{}, err
		}
	}
	if w.side != nil && here.hasTable && !here.hasAhead {
		if err := w.addAhead(ctx, here); err != nil {
			return entrain.Position{}, err
		}
	}
	w.owner = newOwner()
	// Two sessions that begin at the same time can each meet what the other
	// has just made.
	const attempts = 5
	for range attempts {
		row, err := w.tryTakeOver(ctx, here)
		if err != nil {
			return entrain.Position{}, err
		}
		if row == nil {
			continue
		}
		w.fence = row[0]
		if w.seen, err = strconv.ParseUint(row[3], 10, 64); err != nil {
			return entrain.Position{}, fmt.Errorf("read the position row: %w", err)
		}
		at := entrain.Position{Incarnation: row[1], Offset: row[2]}
		return at, w.ahead.read(row[4], at)
	}
	return entrain.Position{}, entrain.Retryable(fmt.Errorf(
		"take over the position of pipeline %q: other sessions were faster %d times", w.cfg.Pipeline, attempts))
}

// meet notes whether what comes was applied before, because somebody has set the
// position back: rows are then as they were later, until the first event that is new.
func (w *writer) meet(b *entrain.Batch) {
	if w.seen > 0 && len(b.Events) > 0 && b.Events[0].Tx.Version > w.seen {
		w.seen = 0
	}
	w.stmts.again = w.seen > 0
}

func (w *writer) identify(ctx context.Context) (sinkTarget, error) {
	row, err := dial.QueryRow(ctx, w.conn, targetSQL)
	if err != nil {
		return sinkTarget{}, fmt.Errorf("identify %s: %w", w.server, err)
	}
	if row == nil {
		return sinkTarget{}, fmt.Errorf("identify %s: its database is not in pg_database", w.server)
	}
	return sinkTarget{systemID: row[0], databaseOID: row[1], database: row[2], role: row[3],
		hasSchema: row[4] != "0", hasTable: row[5] != "0", hasAhead: row[6] != "0"}, nil
}

// tryTakeOver returns the row that is now ours, or nil to try again.
func (w *writer) tryTakeOver(ctx context.Context, here sinkTarget) ([]string, error) {
	args := []string{w.cfg.Pipeline, w.cfg.Source, w.owner, here.systemID, here.databaseOID}
	row, err := dial.QueryRow(ctx, w.conn, takeOverSQL, args...)
	switch dial.SQLState(err) {
	case "":
		if err != nil || row != nil {
			return row, err
		}
	case dial.StateNoPrivilege:
		return nil, w.stopNoPosition(here, err)
	default:
		return nil, fmt.Errorf("take over the position row: %w", err)
	}
	if row, err = dial.QueryRow(ctx, w.conn, readRowSQL, w.cfg.Pipeline, w.cfg.Source); err != nil {
		return nil, fmt.Errorf("read the position row: %w", err)
	}
	if row != nil && (row[4] != here.systemID || row[5] != here.databaseOID) {
		return nil, w.stopCloned(here, row)
	}
	row, err = dial.QueryRow(ctx, w.conn, firstRowSQL, args...)
	if dial.SQLState(err) == dial.StateNoPrivilege {
		return nil, w.stopNoPosition(here, err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the position row: %w", err)
	}
	return row, nil
}

// createPosition makes schema and table. A schema that exists is not asked
// for: even IF NOT EXISTS needs the right to make one.
func (w *writer) createPosition(ctx context.Context, here sinkTarget) error {
	statements := []string{positionSchemaSQL, positionTableSQL}
	if here.hasSchema {
		statements = statements[1:]
	}
	for _, sql := range statements {
		_, err := dial.QueryRows(ctx, w.conn, sql)
		switch dial.SQLState(err) {
		case "23505", "42P06", "42P07", "42710": // somebody else made it in the same moment
		case dial.StateNoPrivilege:
			return w.stopNoPosition(here, err)
		default:
			if err != nil {
				return fmt.Errorf("create the position table: %w", err)
			}
		}
	}
	return nil
}

func (w *writer) stopNoPosition(here sinkTarget, err error) error {
	role := sqltext.Ident(here.role)
	return &entrain.Stop{
		Code: "position_table",
		What: fmt.Sprintf("role %s may not make or use the table entrain.position in %s", role, w.server),
		Why:  "the position is kept beside the data, so that both change in one transaction",
		Next: strings.Join([]string{
			positionSchemaSQL, positionTableSQL, positionAheadSQL,
			"GRANT USAGE ON SCHEMA entrain TO " + role,
			"GRANT SELECT, INSERT, UPDATE, DELETE ON entrain.position TO " + role,
		}, ";\n") + ";",
		Err: err,
	}
}

func (w *writer) stopCloned(here sinkTarget, row []string) error {
	return &entrain.Stop{
		Code: "target_cloned",
		What: fmt.Sprintf("the position of pipeline %q in %s was written in another database (system %s, database %s, oid %s; here: system %s, oid %s)",
			w.cfg.Pipeline, w.server, row[4], row[6], row[5], here.systemID, here.databaseOID),
		Why: "a copy of a target must not take over the replication slot of the original",
		Next: fmt.Sprintf("if this database replaces the original, which is no longer fed: "+
			"UPDATE entrain.position SET system_id = %s, database_oid = %s, database = %s WHERE pipeline = %s AND source = %s;",
			sqltext.Literal(here.systemID), here.databaseOID, sqltext.Literal(here.database),
			sqltext.Literal(w.cfg.Pipeline), sqltext.Literal(w.cfg.Source)),
	}
}

// errNoPosition says that the position row was deleted under the session.
var errNoPosition = errors.New("the position row is gone")

// hasMoved judges the number of rows that moveSQL hit.
func hasMoved(rows int64) error {
	if rows != 1 {
		return errNoPosition
	}
	return nil
}

// moveFailed reports whether err says that the position is not ours to move.
func moveFailed(err error) bool {
	return dial.SQLState(err) == stateMoveFailed || errors.Is(err, errNoPosition)
}

// moveArgs are the parameters of moveSQL. Without through, the row stays as it
// is and only the right to write is checked.
func (w *writer) moveArgs(through entrain.Position, version string) [][]byte {
	to := through
	if to.IsZero() {
		to = w.pos
	}
	return [][]byte{
		[]byte(w.cfg.Pipeline), []byte(w.cfg.Source), []byte(w.owner), []byte(w.fence), []byte(w.pos.Incarnation),
		[]byte(to.Incarnation), []byte(to.Offset), []byte(version), []byte(w.pos.Offset),
	}
}

// stopFenced says why the compare-and-set failed.
func (w *writer) stopFenced(ctx context.Context) error {
	stop := &entrain.Stop{
		Code: "fenced",
		Why:  "going on could apply changes twice; two processes must not run one pipeline",
		Next: fmt.Sprintf("entrain status %s", w.cfg.Pipeline),
	}
	row, err := dial.QueryRow(ctx, w.conn, readRowSQL, w.cfg.Pipeline, w.cfg.Source)
	switch {
	case err != nil:
		stop.What, stop.Err = fmt.Sprintf("the position row of pipeline %q is no longer as this session left it", w.cfg.Pipeline), err
	case row == nil:
		w.explainRemoved(stop)
	case row[0] != w.fence || row[1] != w.owner:
		stop.What = fmt.Sprintf("another session took pipeline %q over (fence %s, ours was %s)", w.cfg.Pipeline, row[0], w.fence)
	default:
		stop.What = fmt.Sprintf("the position of pipeline %q was changed from %s to %s by somebody else",
			w.cfg.Pipeline, w.pos, entrain.Position{Incarnation: row[2], Offset: row[3]})
	}
	return stop
}

// explainRemoved says how to put the position row back.
func (w *writer) explainRemoved(stop *entrain.Stop) {
	stop.What = fmt.Sprintf("the position row of pipeline %q was removed while it ran; what is applied at the target ends at position %q of incarnation %q",
		w.cfg.Pipeline, w.pos.Offset, w.pos.Incarnation)
	stop.Why = "without the row the next session would not know where to go on"
	stop.Next = fmt.Sprintf("INSERT INTO entrain.position (pipeline, source, partition, incarnation, position, version, fence, owner, "+
		"system_id, database_oid, database, updated_at) SELECT %s, %s, 0, %s, %s, 0, %s, %s, s.system_identifier::text, d.oid, d.datname, now() "+
		"FROM pg_control_system() s, pg_database d WHERE d.datname = current_database();",
		sqltext.Literal(w.cfg.Pipeline), sqltext.Literal(w.cfg.Source), sqltext.Literal(w.pos.Incarnation), sqltext.Literal(w.pos.Offset),
		w.fence, sqltext.Literal(w.owner))
}
