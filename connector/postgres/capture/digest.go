package capture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/digest"
	"github.com/entrainsync/entrain/connector/postgres/preflight"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Digest implements entrain.Digester. The session is an entrain.Horizon.
func (s *Source) Digest(ctx context.Context) (entrain.DigestSession, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("source.url: %w", err)
	}
	pipeline := cfg.RuntimeParams["application_name"]
	cfg.RuntimeParams["application_name"] = pipeline + "_verify"
	cfg.RuntimeParams["synchronous_commit"] = "local" // nudge waits for no standby
	conn, err := dial.ReadOnly(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &digestSession{src: s, pipeline: pipeline, server: dial.ServerName(cfg), conn: conn, stop: context.WithoutCancel(ctx),
		Reader: &digest.Reader{Conn: conn, TypeSQL: preflight.TypeSQL, Classify: dial.Classify}}, nil
}

// digestSession sums up the source's tables.
type digestSession struct {
	*digest.Reader
	src    *Source
	server string
	// pipeline is what its replication session is called.
	pipeline string
	conn     *pgconn.PgConn
	stop     context.Context // for Close
	// nudged is the end for which the log was given a message, refused why it took none.
	nudged  lsn
	refused string
}

// Close implements entrain.DigestSession.
func (d *digestSession) Close() error {
	dial.Close(d.stop, d.conn)
	return nil
}

// Tables implements entrain.DigestSession.
func (d *digestSession) Tables(ctx context.Context, _ []*entrain.Table) ([]entrain.DigestTable, error) {
	captured, err := d.src.examination(d.server).Captured(ctx, func(ctx context.Context, sql string, args ...string) ([][]string, error) {
		return dial.QueryRows(ctx, d.conn, sql, args...)
	})
	if err != nil {
		return nil, err
	}
	shapes := make([]*entrain.Table, len(captured))
	for i, c := range captured {
		shapes[i] = c.Table
	}
	sizes, err := d.Sizes(ctx, shapes)
	if err != nil {
		return nil, err
	}
	tables := make([]entrain.DigestTable, len(captured))
	for i, c := range captured {
		tables[i] = entrain.DigestTable{Table: c.Table, Filtered: c.Filtered, Once: c.Once, Refused: c.Refused,
			Rows: sizes[i].Rows, Encoding: sizes[i].Encoding}
	}
	return tables, nil
}

// logEndSQL says where the log ends: as far as it is written and as far as it is
// on disk. A standby shows what it has replayed.
const logEndSQL = `SELECT CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,
  CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text,
  (SELECT setting FROM pg_settings WHERE name = 'wal_writer_delay')
FROM pg_is_in_recovery() AS r`

// End implements entrain.Horizon. A commit that does not wait for the disk can
// be seen before it is in the log that is sent; the server writes it within three
// times wal_writer_delay. What only open transactions have written may never
// come, so that it is not waited for longer.
func (d *digestSession) End(ctx context.Context) (entrain.Position, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var written lsn
	var until time.Time
	for {
		row, err := dial.QueryRow(ctx, d.conn, logEndSQL)
		if err != nil {
			return entrain.Position{}, fmt.Errorf("ask for the log's end: %w", err)
		}
		end, err := parseLSN(row[0])
		if err != nil {
			return entrain.Position{}, err
		}
		flushed, err := parseLSN(row[1])
		if err != nil {
			return entrain.Position{}, err
		}
		if until.IsZero() {
			delay, _ := time.ParseDuration(row[2] + "ms")
			written, until = end.reachable(), time.Now().Add(max(time.Second, 4*delay))
		}
		if flushed >= written || time.Now().After(until) {
			return place{at: min(written, flushed)}.position(""), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return entrain.Position{}, ctx.Err()
		}
	}
}

// followersSQL asks about the slot's reader. What it calls written is up to where
// the log has nothing that its sink lacks; the slot's position is what it has
// confirmed. The first is shown to members of pg_read_all_stats only, not even to
// the role whose session it is.
const followersSQL = `SELECT c.system_identifier::text, coalesce(s.active::text, ''), coalesce(r.write_lsn::text, '0/0'),
  coalesce(s.confirmed_flush_lsn::text, '0/0'), pg_has_role('pg_read_all_stats', 'USAGE')::text, current_user::text
FROM pg_control_system() c LEFT JOIN pg_replication_slots s ON s.slot_name = $1
LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid AND r.application_name = $2`

// Behind implements entrain.Horizon.
func (d *digestSession) Behind(ctx context.Context, sink, end entrain.Position) (string, error) {
	if sink.IsZero() {
		return "the sink has no position of this pipeline yet", nil
	}
	to, err := parsePlace(end.Offset)
	if err != nil {
		return "", err
	}
	at, err := parsePlace(sink.Offset)
	if err != nil {
		return "", fmt.Errorf("the sink's position: %w", err)
	}
	row, err := dial.QueryRow(ctx, d.conn, followersSQL, d.src.cfg.Slot, d.pipeline)
	if err != nil {
		return "", fmt.Errorf("look at replication slot %s: %w", d.src.cfg.Slot, err)
	}
	settled, err := parseLSN(row[2])
	if err != nil {
		return "", err
	}
	confirmed, err := parseLSN(row[3])
	if err != nil {
		return "", err
	}
	system, _, _ := strings.Cut(sink.Incarnation, "-")
	switch {
	case system != row[0]:
		return fmt.Sprintf("the sink's position %s belongs to another source (system %s, here it is %s)", sink, system, row[0]), nil
	case at.at >= to.at, settled >= to.at && at.at >= confirmed:
		return "", nil
	}
	why := fmt.Sprintf("the sink's position is %s and the source's log had reached %s", at.at, to.at)
	switch active, sees := row[1] == "true", row[4] == "true"; {
	case !active:
		why += fmt.Sprintf("; nobody reads from replication slot %q: no process runs the pipeline", d.src.cfg.Slot)
	case !sees:
		why += d.nudge(ctx, to.at, row[5])
	}
	return why, nil
}

// nudge makes the position of an idle source move beyond the end, for a role that
// does not see how far the session of the pipeline is: a heartbeat does, once for
// each end. Where none can be written, as on a standby, it says which right helps.
func (d *digestSession) nudge(ctx context.Context, end lsn, role string) string {
	if d.nudged == end {
		return d.refused
	}
	d.nudged, d.refused = end, ""
	if _, err := dial.QueryRows(ctx, d.conn, writeHeartbeat); err != nil {
		d.refused = fmt.Sprintf("; role %q may not see how far the pipeline's session is (GRANT pg_read_all_stats TO %s), "+
			"and the source takes no message that moves the position: %s", role, sqltext.Ident(role), err)
	}
	return d.refused
}
