package capture

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

const (
	// leasePoll is how often a lease that another process has is asked for.
	leasePoll = time.Second
	// leaseTimeout is how long the server waits for a process that says nothing.
	leaseTimeout = 10 * time.Second
	// leasePing is how often the process that has a lease says something: one that
	// is stopped says nothing, while its machine still answers for its connection.
	leasePing = leaseTimeout / 4
)

// idleSQL has the server end the session of a process that is silent for so many
// milliseconds.
const idleSQL = `SELECT set_config('idle_session_timeout', $1, false)`

// leaseSQL takes the lease, or tells who has it: an advisory lock, which also
// covers the time before the slot is read, and the slot itself, which a process
// without the lock may be reading. No row: we have it.
const leaseSQL = `WITH lock AS MATERIALIZED (SELECT pg_try_advisory_lock(hashtextextended('entrain ' || $1, 0)) AS ours)
SELECT coalesce(s.active_pid::text, ''), coalesce(a.client_addr::text, '')
FROM lock LEFT JOIN pg_replication_slots s ON s.slot_name = $1 AND s.active LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
WHERE NOT lock.ours OR s.active`

// Lease implements entrain.Leaser by a session of its own, which the server ends
// soon after this machine is gone or this process is stopped.
func (s *Source) Lease(ctx context.Context) (release func(), err error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline+"_lease")
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3",
	} {
		cfg.RuntimeParams[name] = value
	}
	conn, err := dial.Connect(ctx, cfg)
	if err != nil {
		return nil, connectError(err, cfg)
	}
	_, err = dial.QueryRow(ctx, conn, idleSQL, strconv.FormatInt(leaseTimeout.Milliseconds(), 10))
	if err == nil {
		err = s.awaitLease(ctx, conn)
	}
	if err != nil {
		dial.Close(ctx, conn)
		return nil, err
	}
	s.leases.Add(1)
	giveBack := keepLease(ctx, conn)
	return func() {
		s.leases.Add(-1)
		giveBack()
	}, nil
}

// keepLease keeps the session from being idle for too long until release is
// called. A session that is lost is not made again: the slot, which this process
// reads, and the fence at the other side still keep others apart.
func keepLease(ctx context.Context, conn *pgconn.PgConn) (release func()) {
	pinging, stop := context.WithCancel(ctx)
	var pings sync.WaitGroup
	pings.Go(func() {
		ping := time.NewTicker(leasePing)
		defer ping.Stop()
		for {
			select {
			case <-ping.C:
				if _, err := dial.QueryRow(pinging, conn, "SELECT 1"); err != nil {
					return
				}
			case <-pinging.Done():
				return
			}
		}
	})
	return func() {
		stop()
		pings.Wait()
		dial.Close(ctx, conn)
	}
}

func (s *Source) awaitLease(ctx context.Context, conn *pgconn.PgConn) error {
	poll := time.NewTicker(leasePoll)
	defer poll.Stop()
	for waits := false; ; waits = true {
		holder, err := dial.QueryRow(ctx, conn, leaseSQL, s.cfg.Slot)
		if err != nil || holder == nil {
			return err
		}
		if !waits {
			s.cfg.Log.Info("another process captures: waiting to take over", "slot", s.cfg.Slot, "server_process", holder[0], "client", holder[1])
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// others reports whether another process has the lease of a slot that only one
// process at a time is to touch, or reads the slot. If not, nobody takes the lease
// before the session conn ends.
func (s *Source) others(ctx context.Context, conn *pgconn.PgConn) (bool, error) {
	if !s.cfg.Leased || s.leases.Load() > 0 {
		return false, nil
	}
	holder, err := dial.QueryRow(ctx, conn, leaseSQL, s.cfg.Slot)
	return holder != nil, err
}
