package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector"
)

// slotWatch looks at the slot from beside the stream, by a connection of its
// own: how long the log is and how much of it the slot holds back (P7).
type slotWatch struct {
	src *Source
	cfg SourceConfig

	end    atomic.Uint64 // of the source's log; 0 until known
	conn   *pgconn.PgConn
	warned int64 // bytes held when it last warned
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

const (
	watchInterval = 10 * time.Second
	// warnHeld is how much log a slot may hold back before it is worth a line.
	warnHeld = 500 << 20
)

func newSlotWatch(src *Source) *slotWatch { return &slotWatch{src: src, cfg: src.cfg} }

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
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	defer w.hangUp(ctx)
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if _, err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.cfg.Log.Debug("cannot look at the replication slot", "slot", w.cfg.Slot, "error", err)
			w.hangUp(ctx)
		}
	}
}

func (w *slotWatch) hangUp(ctx context.Context) {
	if w.conn != nil {
		closeConn(ctx, w.conn)
		w.conn = nil
	}
}

// look asks once and returns what the slot has confirmed.
func (w *slotWatch) look(ctx context.Context) (lsn, error) {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	if w.conn == nil {
		cfg, err := parseURL(w.cfg.URL, "entrain_"+w.cfg.Pipeline+"_watch")
		if err != nil {
			return 0, err
		}
		if w.conn, err = connect(ctx, cfg); err != nil {
			return 0, err
		}
	}
	row, err := queryRow(ctx, w.conn, `SELECT e, e - coalesce(restart_lsn, e), coalesce(wal_status, ''),
		coalesce(confirmed_flush_lsn, '0/0') FROM pg_replication_slots, LATERAL (SELECT CASE WHEN pg_is_in_recovery()
		THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END AS e) AS wal
		WHERE slot_name = $1`, w.cfg.Slot)
	if err != nil || row == nil {
		return 0, err
	}
	end, err := parseLSN(row[0])
	if err != nil {
		return 0, err
	}
	w.end.Store(uint64(end))
	if err := w.judge(row[1], row[2]); err != nil {
		return 0, err
	}
	return parseLSN(row[3])
}

// judge warns when the slot holds much, and again when it holds twice that.
func (w *slotWatch) judge(text, status string) error {
	var held int64
	if _, err := fmt.Sscan(text, &held); err != nil {
		return fmt.Errorf("bytes held by the slot %q: %w", text, err)
	}
	switch {
	case held < warnHeld:
		w.warned = 0
	case held >= max(warnHeld, 2*w.warned):
		w.warned = held
		w.cfg.Log.Warn("the replication slot holds back much of the source's log",
			"slot", w.cfg.Slot, "held", connector.ByteSize(held).String(), "wal_status", status)
	}
	return nil
}
