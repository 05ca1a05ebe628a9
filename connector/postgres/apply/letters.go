package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The table of dead letters, beside the position table. The body is json, not
// jsonb: its numbers and the order of its members are kept as they were written.
const (
	letterTableSQL = `CREATE TABLE IF NOT EXISTS entrain.dead_letter (
  pipeline text NOT NULL,
  id text NOT NULL,
  table_name text NOT NULL,
  op text NOT NULL,
  class text NOT NULL,
  reason text NOT NULL,
  behind text NOT NULL,
  attempts integer NOT NULL,
  first_at timestamptz NOT NULL,
  parked_at timestamptz NOT NULL,
  body json NOT NULL,
  PRIMARY KEY (pipeline, id)
)`

	readLettersSQL = `SELECT id, table_name, op, class, reason, behind, attempts::text,
  (extract(epoch FROM first_at) * 1000000)::bigint::text, (extract(epoch FROM parked_at) * 1000000)::bigint::text, body::text
FROM entrain.dead_letter WHERE pipeline = $1`

	keepLettersSQL = `INSERT INTO entrain.dead_letter (pipeline, id, table_name, op, class, reason, behind, attempts, first_at, parked_at, body)
SELECT $1, x.id, x.table_name, x.op, x.class, x.reason, x.behind, x.attempts, x.first_at, x.parked_at, x.body
FROM json_to_recordset($2::json) AS x(id text, table_name text, op text, class text, reason text, behind text,
  attempts integer, first_at timestamptz, parked_at timestamptz, body json)
ON CONFLICT DO NOTHING`

	hasLettersSQL = `SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relname = 'dead_letter'`

	dropLettersSQL = `DELETE FROM entrain.dead_letter WHERE pipeline = $1 AND id IN (SELECT json_array_elements_text($2::json))`
)

// Letters implements [entrain.LetterKeeper].
func (s *Sink) Letters(ctx context.Context) (all []entrain.DeadLetter, err error) {
	err = s.withLetters(ctx, func(conn *pgconn.PgConn, there tableThere) error {
		if !there {
			return nil
		}
		rows, err := dial.QueryRows(ctx, conn, readLettersSQL, s.cfg.Pipeline)
		for _, r := range rows {
			l := entrain.DeadLetter{ID: r[0], Table: r[1], Op: r[2], Class: r[3], Reason: r[4], Behind: r[5], Body: []byte(r[9])}
			var first, parked int64
			if l.Attempts, err = strconv.Atoi(r[6]); err == nil {
				first, err = strconv.ParseInt(r[7], 10, 64)
			}
			if err == nil {
				parked, err = strconv.ParseInt(r[8], 10, 64)
			}
			if err != nil {
				return err
			}
			l.First, l.Parked = time.UnixMicro(first).UTC(), time.UnixMicro(parked).UTC()
			all = append(all, l)
		}
		return err
	})
	return all, err
}

// KeepLetters implements [entrain.LetterKeeper]: all letters are one statement.
func (s *Sink) KeepLetters(ctx context.Context, letters []entrain.DeadLetter) error {
	rows := make([]map[string]any, 0, len(letters))
	for _, l := range letters {
		rows = append(rows, map[string]any{"id": l.ID, "table_name": l.Table, "op": l.Op, "class": l.Class, "reason": l.Reason, "behind": l.Behind,
			"attempts": l.Attempts, "first_at": l.First, "parked_at": l.Parked, "body": json.RawMessage(l.Body)})
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return s.withLetters(ctx, func(conn *pgconn.PgConn, there tableThere) (err error) {
		if !there {
			err = s.createLetters(ctx, conn)
		}
		if err == nil {
			_, err = dial.QueryRows(ctx, conn, keepLettersSQL, s.cfg.Pipeline, string(text))
		}
		return s.explainLetters(err)
	})
}

// DropLetters implements [entrain.LetterKeeper].
func (s *Sink) DropLetters(ctx context.Context, ids []string) error {
	text, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	return s.withLetters(ctx, func(conn *pgconn.PgConn, there tableThere) (err error) {
		if there {
			_, err = dial.QueryRows(ctx, conn, dropLettersSQL, s.cfg.Pipeline, string(text))
		}
		return err
	})
}

// tableThere says that the table of letters is there: none was ever kept without it.
type tableThere bool

// withLetters runs do in a session of its own: letters are rare.
func (s *Sink) withLetters(ctx context.Context, do func(conn *pgconn.PgConn, there tableThere) error) error {
	cfg, err := s.parse("dead letters")
	if err != nil {
		return err
	}
	conn, err := dial.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer dial.Close(ctx, conn)
	found, err := dial.QueryRow(ctx, conn, hasLettersSQL)
	if err == nil {
		err = do(conn, found != nil)
	}
	if err != nil {
		return dial.Classify(fmt.Errorf("dead letters at %s: %w", dial.ServerName(cfg), err))
	}
	return nil
}

// createLetters makes the table; the schema is there where a position is.
func (s *Sink) createLetters(ctx context.Context, conn *pgconn.PgConn) error {
	there, err := dial.QueryRow(ctx, conn, "SELECT 1 FROM pg_namespace WHERE nspname = 'entrain'")
	if err == nil && there == nil {
		_, err = dial.QueryRows(ctx, conn, positionSchemaSQL)
	}
	if err == nil {
		_, err = dial.QueryRows(ctx, conn, letterTableSQL)
	}
	switch dial.SQLState(err) {
	case "23505", "42P06", "42P07", "42710": // somebody else made it in the same moment
		return nil
	}
	return err
}

// explainLetters says how to give the right that is missing.
func (s *Sink) explainLetters(err error) error {
	if dial.SQLState(err) != dial.StateNoPrivilege {
		return err
	}
	role := sqltext.Ident(s.conn.User)
	return &entrain.Stop{
		Code: "dead_letter_table",
		What: fmt.Sprintf("role %s may not make or use the table entrain.dead_letter in %s", role, dial.ServerName(s.conn)),
		Why:  "an event that is refused must be kept somewhere before the others may go on",
		Next: strings.Join([]string{positionSchemaSQL, letterTableSQL, "GRANT USAGE ON SCHEMA entrain TO " + role,
			"GRANT SELECT, INSERT, DELETE ON entrain.dead_letter TO " + role}, ";\n") + ";",
		Err: err,
	}
}
