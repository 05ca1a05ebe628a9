package snapshot

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// settlePoll is between two looks, the first ones and the later ones.
	settlePollFirst, settlePollLast = 10 * time.Millisecond, 250 * time.Millisecond
	// settleNotice is when it is worth a line that somebody is waited for, and
	// settleAgain when it is worth another one.
	settleNotice, settleAgain = 3 * time.Second, time.Minute
)

// numberSQL takes a transaction's number. None with a smaller one begins later.
const numberSQL = "BEGIN READ WRITE; SELECT pg_current_xact_id()::text; COMMIT"

// Settle implements [entrain.ChunkSession]. Transactions get their numbers when
// they first write; those that had one before the call are behind the oldest open
// one when that is behind ours. To wait until a view of later contains an open
// transaction would be wrong: it need not be in a view's list (algorithms §6.2).
func (k *Keyed) Settle(ctx context.Context) error {
	if k.over != nil {
		return k.over
	}
	if err := k.settle(ctx); err != nil {
		return k.failed(fmt.Errorf("wait for the transactions that are open: %w", err))
	}
	return nil
}

func (k *Keyed) settle(ctx context.Context) error {
	number, err := k.number(ctx, numberSQL)
	if err != nil {
		return err
	}
	notice := time.NewTimer(settleNotice)
	defer notice.Stop()
	for pause := settlePollFirst; ; pause = min(2*pause, settlePollLast) {
		oldest, err := k.number(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
		if err != nil {
			return err
		}
		if oldest > number {
			_, err := k.ask(ctx, k.cfg.Beat)
			return err
		}
		select {
		case <-time.After(pause):
		case <-notice.C:
			k.cfg.Log.Warn("reading tables by key waits for open transactions",
				"transactions", strings.Join(k.cfg.Open(ctx, k.sess.conn), "; "))
			notice.Reset(settleAgain)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// number asks for a transaction's 64-bit number.
func (k *Keyed) number(ctx context.Context, sql string) (uint64, error) {
	rows, err := k.ask(ctx, sql)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(rows[0][0], 10, 64)
}
