package capture

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// startPoint is where a session starts, in which history.
type startPoint struct {
	place
	incarnation string
}

// slotState is the slot as the server shows it.
type slotState struct {
	plugin, database string
	status, reason   string
	confirmed        lsn
	exists           bool
	synced           bool // a standby keeps it in step with its primary's
	failover         bool // standbys may do that
}

// conflictReason stands for what version 16 does not say more exactly. There
// "conflicting" is true of every slot that is lost; a conflict it can only be on
// a standby.
const conflictReason = "conflict with recovery"

func (s *session) slot(ctx context.Context) (slotState, error) {
	rows, err := s.query(ctx, `SELECT coalesce(plugin, ''), coalesce(database, ''), coalesce(wal_status, ''),
		coalesce(to_jsonb(s) ->> 'invalidation_reason', ''), coalesce(confirmed_flush_lsn, '0/0'),
		coalesce(to_jsonb(s) ->> 'conflicting', 'false'), coalesce(to_jsonb(s) ->> 'synced', 'false'),
		coalesce(to_jsonb(s) ->> 'failover', 'false')
		FROM pg_replication_slots s WHERE slot_name = `+sqltext.Literal(s.src.cfg.Slot))
	if err != nil {
		return slotState{}, fmt.Errorf("read replication slot %s: %w", s.src.cfg.Slot, err)
	}
	if len(rows) == 0 {
		return slotState{}, nil
	}
	r := rows[0]
	st := slotState{exists: true, plugin: r[0], database: r[1], status: r[2], reason: r[3]}
	if st.reason == "" && r[5] == "true" && s.standby {
		st.reason = conflictReason
	}
	st.synced, st.failover = r[6] == "true", r[7] == "true"
	st.confirmed, err = parseLSN(r[4])
	return st, err
}

// ensureSlot checks that the slot has the history behind from, or makes it if
// there is no history yet.
func (s *session) ensureSlot(ctx context.Context, from entrain.Position) (startPoint, error) {
	if !from.IsZero() {
		return s.resume(ctx, from)
	}
	st, err := s.slot(ctx)
	if err != nil {
		return startPoint{}, err
	}
	switch {
	case !st.exists && !s.src.cfg.Create:
		return startPoint{}, stopSlotNotMade(s.src.cfg)
	case !st.exists:
		if st.confirmed, err = s.createSlot(ctx); err != nil {
			return startPoint{}, err
		}
	default:
		if err := s.checkSlot(ctx, st); err != nil {
			return startPoint{}, err
		}
	}
	incarnation := s.system + "-" + strconv.FormatUint(uint64(st.confirmed), 16)
	return startPoint{place{st.confirmed, s.timeline}, incarnation}, nil
}

// checkSlot refuses a slot that cannot be read from, and makes it one that
// standbys take over, or not, if the configuration says which.
func (s *session) checkSlot(ctx context.Context, st slotState) error {
	switch {
	case st.status == "lost" || st.reason != "":
		return stopSlotLost(s.src.cfg, st)
	case st.plugin != "pgoutput" || st.database != s.cfg.Database:
		return stopSlotForeign(s.src.cfg, st)
	case st.synced && s.standby:
		return entrain.Retryable(fmt.Errorf("replication slot %s on %s follows the primary's: this server is a standby that is not promoted (yet); "+
			"source.url should lead to the primary, for example by target_session_attrs=read-write", s.src.cfg.Slot, dial.ServerName(s.cfg)))
	}
	return s.alignFailover(ctx, st)
}

// resume checks that server, position and slot belong to one history (P5). The
// server comes first: another one usually lacks the slot, too, but that is not
// what is wrong then.
func (s *session) resume(ctx context.Context, from entrain.Position) (startPoint, error) {
	p, err := parsePlace(from.Offset)
	if err != nil {
		return startPoint{}, stopPosition(s.src.cfg, from, err)
	}
	system, _, _ := strings.Cut(from.Incarnation, "-")
	if system != s.system {
		return startPoint{}, stopOtherSystem(s.src.cfg, s.system, from)
	}
	if err := s.reach(ctx, p); err != nil {
		return startPoint{}, err
	}
	st, err := s.slot(ctx)
	switch {
	case err != nil:
		return startPoint{}, err
	case !st.exists:
		return startPoint{}, stopSlotMissing(s.src.cfg, from)
	}
	if err := s.checkSlot(ctx, st); err != nil {
		return startPoint{}, err
	}
	if st.confirmed > p.at {
		return startPoint{}, stopSlotAhead(s.src.cfg, st.confirmed, p)
	}
	p.timeline = s.timeline
	return startPoint{p, from.Incarnation}, nil
}

// checkTimeline refuses a position that the server's history does not contain:
// one behind the point at which a promotion forked it.
func (s *session) checkTimeline(ctx context.Context, p place) error {
	if p.timeline == s.timeline {
		return nil
	}
	var forked lsn
	if p.timeline < s.timeline {
		rows, err := s.query(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", s.timeline))
		if err != nil {
			return fmt.Errorf("read history of timeline %d: %w", s.timeline, err)
		}
		if len(rows) == 1 && len(rows[0]) == 2 {
			forked = switchPoint(rows[0][1], p.timeline)
		}
	}
	if p.at > forked {
		return stopForked(s.src.cfg, p, place{forked, s.timeline})
	}
	return nil
}

// switchPoint finds where a timeline ended in a history file (lines of
// timeline, LSN, reason); 0 if it is no ancestor.
func switchPoint(history string, timeline uint32) lsn {
	for line := range strings.Lines(history) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != strconv.FormatUint(uint64(timeline), 10) {
			continue
		}
		if at, err := parseLSN(fields[1]); err == nil {
			return at
		}
	}
	return 0
}
