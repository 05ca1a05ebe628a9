package capture

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// slotWatch looks at the slot from beside the stream, by a connection of its
// own: how long the log is and how much of it the slot holds back (P7).
type slotWatch struct {
	src    *Source
	cfg    Config // the source's
	server *pgconn.Config

	confirmed func() lsn      // what the session has told the server
	read      func() lsn      // up to where it has handed out changes
	giveUp    func(err error) // ends the session

	end      atomic.Uint64 // of the source's log; 0 until known
	conn     *pgconn.PgConn
	said     entrain.Alarm // the level of the last warning
	saidHeld int64         // and the bytes that were held then
	mute     bool          // it was said that heartbeats cannot be written
	cancel   context.CancelFunc
	wg       sync.WaitGroup
}

const (
	watchInterval = 10 * time.Second
	// warnHeld is how much log a slot may hold back before it is worth a line.
	warnHeld = 500 << 20
)

func newSlotWatch(s *session) *slotWatch {
	server := s.sibling("watch")
	server.RuntimeParams["synchronous_commit"] = "off" // a heartbeat waits for nobody
	return &slotWatch{src: s.src, cfg: s.src.cfg, server: server}
}

// Guard implements entrain.Guarder: it warns when the slot holds back much of
// the log although nothing reads from it.
func (s *Source) Guard(ctx context.Context) {
	w := &slotWatch{src: s, cfg: s.cfg}
	defer w.hangUp(ctx)
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			server, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline+"_guard")
			if err != nil {
				continue // one of its files is being replaced
			}
			w.server = server
			if w.lookQuietly(ctx) == nil { // no session is up that could be in a server's way
				w.enough(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// open looks for the first time and returns what the slot has confirmed.
func (w *slotWatch) open(ctx context.Context) (lsn, error) {
	confirmed, err := w.look(ctx)
	if err != nil {
		w.hangUp(ctx)
	}
	return confirmed, err
}

// start begins watching; close ends it. The watch outlives the call that
// opened the session, so it has a context of its own.
func (w *slotWatch) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.wg.Go(func() { w.run(ctx) })
}

func (w *slotWatch) close() {
	if w.cancel != nil {
		w.cancel()
		w.wg.Wait()
	}
}

func (w *slotWatch) run(ctx context.Context) {
	defer w.hangUp(ctx)
	looks := newSchedule(watchInterval)
	beats := newSchedule(w.cfg.Heartbeat)
	for {
		var err error
		if w.rest(ctx, earlier(looks.next, beats.next)) {
			err = w.probe(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		if looks.due(now) {
			err = errors.Join(err, w.lookQuietly(ctx))
			if err == nil {
				w.enough(ctx)
			}
		}
		if beats.due(now) {
			err = errors.Join(err, w.beat(ctx))
		}
		if dial.SQLState(err) == stateCannotConnect {
			w.leave(ctx)
			return
		}
	}
}

// schedule is when something is to be done again; never, if next is zero.
type schedule struct {
	every time.Duration
	next  time.Time
}

func newSchedule(every time.Duration) *schedule {
	s := &schedule{every: every}
	if every > 0 {
		s.next = time.Now().Add(every)
	}
	return s
}

// due reports whether it is time, and sets the next one.
func (s *schedule) due(now time.Time) bool {
	if s.next.IsZero() || now.Before(s.next) {
		return false
	}
	s.next = now.Add(s.every)
	return true
}

// earlier returns the earlier time; zero is never.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// rest waits until then, and listens to the connection meanwhile. It reports
// whether that was ended by the other side.
func (w *slotWatch) rest(ctx context.Context, until time.Time) (ended bool) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for w.conn != nil {
		err := w.conn.WaitForNotification(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			w.hangUp(ctx)
			return true
		}
	}
	<-ctx.Done()
	return false
}

// lookQuietly looks; what fails may succeed the next time.
func (w *slotWatch) lookQuietly(ctx context.Context) error {
	_, err := w.look(ctx)
	if err != nil && ctx.Err() == nil {
		w.cfg.Log.Debug("cannot look at the replication slot", "slot", w.cfg.Slot, "error", err)
		w.hangUp(ctx)
	}
	return err
}

func (w *slotWatch) hangUp(ctx context.Context) {
	if w.conn != nil {
		dial.Close(ctx, w.conn)
		w.conn = nil
	}
}

// dial connects unless it is connected.
func (w *slotWatch) dial(ctx context.Context) (err error) {
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	w.conn, err = dial.Connect(ctx, w.server)
	return err
}

// look asks once and returns what the slot has confirmed.
func (w *slotWatch) look(ctx context.Context) (lsn, error) {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	if err := w.dial(ctx); err != nil {
		return 0, err
	}
	row, err := dial.QueryRow(ctx, w.conn, `SELECT e, e - coalesce(restart_lsn, e), coalesce(wal_status, ''),
		coalesce(confirmed_flush_lsn, '0/0'), coalesce(safe_wal_size::text, '') FROM pg_replication_slots, LATERAL (SELECT CASE WHEN pg_is_in_recovery()
		THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END AS e) AS wal
		WHERE slot_name = $1`, w.cfg.Slot)
	if err != nil || row == nil {
		return 0, err
	}
	end, err := parseLSN(row[0])
	if err != nil {
		return 0, err
	}
	w.end.Store(uint64(end))
	if err := w.judge(row[1], row[2], row[4]); err != nil {
		return 0, err
	}
	return parseLSN(row[3])
}
