package capture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// failoverSince is the first version whose slots standbys can take over.
const failoverSince = 170000

// createSlot makes the slot. That waits for every transaction that is open, so
// it is bounded, and whoever it waits for is named.
func (s *session) createSlot(ctx context.Context) (lsn, error) {
	cfg := s.src.cfg
	if cfg.Failover != nil && *cfg.Failover && (s.version < failoverSince || s.standby) {
		return 0, s.stopNoFailover()
	}
	if s.making != nil {
		if err := s.making(ctx, cfg.Slot); err != nil {
			return 0, err
		}
	}
	rows, err := s.createPatiently(ctx, newSlot{cfg.Slot, s.createCommand()})
	if err != nil {
		err = errors.Join(err, s.notMade(ctx, err))
		return 0, createSlotError(err, cfg.Slot, s.cfg.User)
	}
	at, err := parseLSN(rows[0][1])
	if err != nil {
		return 0, fmt.Errorf("position of the new replication slot %s: %w", cfg.Slot, err)
	}
	cfg.Log.Info("created replication slot", "slot", cfg.Slot, "position", at.String(), "failover", s.wantsFailover())
	return at, nil
}

// notMade takes the word back that the slot is being made, if it is certain that it was
// not: there is none, or it is another's. If the connection is lost, nobody knows.
func (s *session) notMade(ctx context.Context, refused error) error {
	if s.making == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	st, err := s.slot(bounded)
	if err != nil || st.exists && dial.SQLState(refused) != duplicateObject {
		return nil
	}
	return s.making(bounded, "")
}

// wantsFailover reports whether a new slot is to be one that standbys take over.
func (s *session) wantsFailover() bool {
	return s.version >= failoverSince && !s.standby && (s.src.cfg.Failover == nil || *s.src.cfg.Failover)
}

func (s *session) createCommand() string {
	options := "(SNAPSHOT 'nothing')"
	switch {
	case s.version < 150000:
		options = "NOEXPORT_SNAPSHOT"
	case s.wantsFailover():
		options = "(SNAPSHOT 'nothing', FAILOVER)"
	}
	return fmt.Sprintf("CREATE_REPLICATION_SLOT %s LOGICAL pgoutput %s", sqltext.Ident(s.src.cfg.Slot), options)
}

// alignFailover changes an existing slot to what the configuration says, if it
// says so. A slot that is still in use is left for the next session.
func (s *session) alignFailover(ctx context.Context, st slotState) error {
	cfg := s.src.cfg
	if cfg.Failover == nil || *cfg.Failover == st.failover {
		return nil
	}
	if s.version < failoverSince || s.standby {
		return s.stopNoFailover()
	}
	_, err := s.query(ctx, fmt.Sprintf("ALTER_REPLICATION_SLOT %s (FAILOVER %t)", sqltext.Ident(cfg.Slot), *cfg.Failover))
	switch {
	case dial.SQLState(err) == objectInUse:
		cfg.Log.Warn("cannot change the replication slot while it is in use: the next session will", "slot", cfg.Slot, "failover", *cfg.Failover)
	case err != nil:
		return fmt.Errorf("set failover of replication slot %s: %w", cfg.Slot, err)
	default:
		cfg.Log.Info("changed replication slot", "slot", cfg.Slot, "failover", *cfg.Failover)
	}
	return nil
}

const (
	// createNotice is when a slot's making is worth a line.
	createNotice = 3 * time.Second
	// cancelTimeout bounds the end of a command that was cancelled.
	cancelTimeout = 10 * time.Second

	stateCancelled = "57014"
)

// answer is what became of a command.
type answer struct {
	rows [][]string
	err  error
}

// newSlot is a slot that is to be made by a command.
type newSlot struct{ name, command string }

// createPatiently runs the command until the server has answered, or until time
// is up or ctx ends. Then the server is told, and has given the slot up when
// this returns: a client that merely goes away would leave the command waiting,
// and a slot that nobody knows of once it is through.
func (s *session) createPatiently(ctx context.Context, slot newSlot) ([][]string, error) {
	done := make(chan answer, 1)
	lasting := context.WithoutCancel(ctx)
	go func() {
		rows, err := s.query(lasting, slot.command)
		done <- answer{rows, err}
	}()
	limit := time.NewTimer(s.src.cfg.CreateTimeout)
	defer limit.Stop()
	notice := time.NewTimer(createNotice)
	defer notice.Stop()
	for {
		select {
		case a := <-done:
			return a.rows, a.err
		case <-notice.C:
			s.noteWaiting(ctx, slot)
			continue
		case <-limit.C:
		case <-ctx.Done():
		}
		break
	}
	return s.giveUpCreating(ctx, slot, gaveUp{done, s.stopSlotWaits(slot, s.openTransactions(ctx))})
}

// gaveUp is a command that has taken too long: where its end is told, and what
// it waits for.
type gaveUp struct {
	done  <-chan answer
	waits error
}

// giveUpCreating cancels the command and waits for its end. A slot that was made
// at that very moment is used, or dropped if ctx has ended.
func (s *session) giveUpCreating(ctx context.Context, slot newSlot, g gaveUp) ([][]string, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	refused := s.conn.CancelRequest(bounded)
	var a answer
	select {
	case a = <-g.done:
	case <-bounded.Done():
		s.conn.Conn().Close()
		return nil, errors.Join(g.waits, fmt.Errorf("the server did not cancel it: %w", errors.Join(refused, (<-g.done).err)))
	}
	switch {
	case ctx.Err() != nil && a.err == nil:
		_, err := s.query(bounded, "DROP_REPLICATION_SLOT "+sqltext.Ident(slot.name))
		return nil, errors.Join(ctx.Err(), err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case dial.SQLState(a.err) == stateCancelled:
		return nil, g.waits
	}
	return a.rows, a.err
}

// noteWaiting says what the making of the slot waits for.
func (s *session) noteWaiting(ctx context.Context, slot newSlot) {
	log := s.src.cfg.Log.With("slot", slot.name, "for_up_to", s.src.cfg.CreateTimeout)
	if s.standby {
		log.Warn("the slot of a standby waits for the primary to log what runs there",
			"next", standbySnapshot+"; -- on the primary")
		return
	}
	log.Warn("making the replication slot waits for open transactions",
		"transactions", strings.Join(describeAll(s.openTransactions(ctx)), "; "))
}

// openTransaction is a transaction that wrote something and has not ended.
type openTransaction struct {
	pid, prepared         string // one of them is set
	age                   string // in seconds; "" if it may not be seen
	application, user, db string
	state, command        string
}

// openTransactions lists the oldest transactions that the slot may wait for, by a
// session of its own: the slot's waits.
func (s *session) openTransactions(ctx context.Context) []openTransaction {
	if s.standby {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	var open []openTransaction
	err := dial.InSession(ctx, s.sibling("slot"), func(conn *pgconn.PgConn) error {
		open = listOpen(ctx, conn, s.src.cfg.Log)
		return nil
	})
	if err != nil {
		s.src.cfg.Log.Debug("cannot list the open transactions", "error", err)
	}
	return open
}

// listOpen lists the oldest transactions that have written. Every role sees whose
// they are; since when and what they do is shown to members of pg_read_all_stats.
// Of the last statement only its first word is asked for, since the rest may hold
// data (P8). What cannot be found out is not worth an error of its own.
func listOpen(ctx context.Context, conn *pgconn.PgConn, log *slog.Logger) []openTransaction {
	rows, err := dial.QueryRows(ctx, conn, `SELECT l.pid, p.gid,
			extract(epoch FROM now() - coalesce(a.xact_start, p.prepared))::bigint,
			a.application_name, coalesce(a.usename, p.owner), coalesce(a.datname, p.database), a.state,
			upper(substring(a.query FROM '(?i)^\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|COPY|WITH|CALL|DO|BEGIN|CREATE|ALTER|DROP|TRUNCATE|REINDEX|REFRESH|VACUUM|ANALYZE|CLUSTER|LOCK|FETCH|EXECUTE|SAVEPOINT)\M'))
		FROM (SELECT DISTINCT pid, CASE WHEN pid IS NULL THEN transactionid END AS xid FROM pg_locks
			WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted) l
		LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		LEFT JOIN pg_prepared_xacts p ON p.transaction = l.xid
		ORDER BY coalesce(a.xact_start, p.prepared) NULLS LAST, l.pid LIMIT 5`)
	if err != nil {
		log.Debug("cannot list the open transactions", "error", err)
	}
	open := make([]openTransaction, len(rows))
	for i, r := range rows {
		open[i] = openTransaction{r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]}
	}
	return open
}

// String names the transaction for people.
func (o openTransaction) String() string {
	text := "process " + o.pid
	if o.prepared != "" {
		text = fmt.Sprintf("prepared transaction %q", o.prepared)
	}
	text += fmt.Sprintf(" of user %q in database %q", o.user, o.db)
	if o.application != "" {
		text += fmt.Sprintf(" (%s)", o.application)
	}
	if o.age != "" {
		text += ", open for " + o.age + " s"
	}
	if o.state != "" {
		text += ", " + o.state
	}
	if o.command != "" {
		text += ", last " + o.command
	}
	return text
}

func describeAll(open []openTransaction) []string {
	names := make([]string, len(open))
	for i, o := range open {
		names[i] = o.String()
	}
	return names
}
