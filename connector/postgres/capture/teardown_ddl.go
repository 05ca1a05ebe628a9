package capture

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

const (
	// ddlLeftSQL lists what ddlScript made and is there, in the order in which it can
	// go: the statement, whether our role may do it, and who owns it. A function that
	// an event trigger of another name calls is in use.
	ddlLeftSQL = `WITH told AS (
  SELECT p.oid, p.proname, p.proowner, n.nspowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = 'entrain' AND p.proname IN ('tell_ddl', 'tell_drop') AND p.pronargs = 0 AND p.prorettype = 'event_trigger'::regtype),
ours AS (
  SELECT e.* FROM pg_event_trigger e JOIN told ON told.oid = e.evtfoid
  WHERE (e.evtname, told.proname) IN (('entrain_ddl', 'tell_ddl'), ('entrain_drop', 'tell_drop')))
SELECT 'DROP EVENT TRIGGER IF EXISTS ' || evtname, pg_has_role(evtowner, 'USAGE')::text, pg_get_userbyid(evtowner), 1 AS turn FROM ours
UNION ALL SELECT 'DROP FUNCTION IF EXISTS entrain.' || proname || '()', (pg_has_role(proowner, 'USAGE') OR pg_has_role(nspowner, 'USAGE'))::text,
  pg_get_userbyid(proowner), 2 FROM told
WHERE NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtfoid = told.oid AND e.oid NOT IN (SELECT oid FROM ours))
ORDER BY 4, 1`

	// otherReadersSQL names the slots of this database that may belong to pipelines
	// which are told by the same triggers, and whether this is a standby.
	otherReadersSQL = `SELECT coalesce(string_agg(slot_name, ', ' ORDER BY slot_name), ''), pg_is_in_recovery()::text FROM pg_replication_slots
WHERE database = current_database() AND plugin = 'pgoutput' AND slot_name <> $1`
)

// leftTellers lists what makes the source tell of statements, as one removal: all
// of it goes, or none. Where it has to stay, the log says why and by what SQL it
// goes.
func (s *Source) leftTellers(ctx context.Context, conn *pgconn.PgConn, server string) ([]entrain.Removal, error) {
	rows, err := dial.QueryRows(ctx, conn, ddlLeftSQL)
	if err != nil {
		return nil, fmt.Errorf("look for event triggers: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	others, err := dial.QueryRow(ctx, conn, otherReadersSQL, s.cfg.Slot)
	if err != nil {
		return nil, fmt.Errorf("look for other readers: %w", err)
	}
	var drops []string
	owner := ""
	for _, row := range rows {
		drops = append(drops, row[0])
		if row[1] != "true" {
			owner = row[2]
		}
	}
	sql := strings.Join(drops, ";\n") + ";"
	const what = "event triggers and functions of entrain check --ddl"
	switch {
	case others[1] == "true":
		s.cfg.Log.Warn("the "+what+" are the primary's, which this standby cannot change; they stay", "drop them on the primary by", sql)
	case others[0] != "":
		s.cfg.Log.Warn("the "+what+" stay: other pipelines may be told by them", "slots", others[0], "drop them by", sql)
	case owner != "":
		s.cfg.Log.Warn("the "+what+" belong to another role and stay", "owner", owner, "drop them by", sql)
	default:
		return []entrain.Removal{s.removal(what+" on "+server, drops...)}, nil
	}
	return nil, nil
}
