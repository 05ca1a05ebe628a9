package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

var _ entrain.LateKeeper = (*Sink)(nil)

const (
	// forwarderSQL lets one session at a time forward a pipeline's queue, until its
	// transaction ends.
	forwarderSQL = `SELECT pg_try_advisory_xact_lock(hashtextextended('entrain.reconciliation ' || $1, 0))::text`

	oldestLateSQL = `SELECT id, key, table_name, op, reason, era::text, version::text, ordinal::text, row_era::text, row_version::text, row_ordinal::text,
  (extract(epoch FROM noticed_at) * 1000000)::bigint::text, body::text
FROM entrain.reconciliation WHERE pipeline = $1 ORDER BY noticed_at, era, version, ordinal, key LIMIT $2`

	dropLateSQL = `DELETE FROM entrain.reconciliation r USING json_to_recordset($2::json) AS x(id text, key text)
WHERE r.pipeline = $1 AND r.id = x.id AND r.key = x.key`
)

// lateBody is a late change as others get it.
type lateBody struct {
	ID         string          `json:"id"`
	Key        string          `json:"key"`
	Version    lateVersion     `json:"version"`
	RowVersion lateVersion     `json:"row_version"`
	Event      json.RawMessage `json:"event"`
}

type lateVersion struct {
	Era     int64  `json:"era"`
	Version uint64 `json:"version"`
	Ordinal uint64 `json:"ordinal"`
}

// lateKey is one row of the queue.
type lateKey struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// ForwardLate implements [entrain.LateKeeper]: the queue is entrain.reconciliation, in
// which a change was in the transaction that passed it by.
func (s *Sink) ForwardLate(ctx context.Context, most int, keep func(context.Context, []entrain.DeadLetter) error) (n int, err error) {
	cfg, err := s.parse("reconciliation")
	if err != nil {
		return 0, err
	}
	of := family(s.cfg.Pipeline)
	err = dial.InSession(ctx, cfg, func(conn *pgconn.PgConn) error {
		if there, err := dial.QueryRow(ctx, conn, hasGateSQL); err != nil || there == nil {
			return err
		}
		if err := run(ctx, conn, "BEGIN"); err != nil {
			return err
		}
		if n, err = forward(ctx, conn, lateQueue{of, most, keep}); err != nil || n == 0 {
			return err // the session's end rolls back
		}
		return run(ctx, conn, "COMMIT")
	})
	if err != nil {
		return 0, dial.Classify(fmt.Errorf("forward entrain.reconciliation of %s: %w", dial.ServerName(cfg), err))
	}
	return n, nil
}

// lateQueue is what one call forwards.
type lateQueue struct {
	pipeline string
	most     int
	keep     func(context.Context, []entrain.DeadLetter) error
}

// forward hands the oldest changes on and removes them, in the open transaction.
func forward(ctx context.Context, conn *pgconn.PgConn, q lateQueue) (int, error) {
	mine, err := dial.QueryRow(ctx, conn, forwarderSQL, q.pipeline)
	if err != nil || mine[0] != "true" {
		return 0, err
	}
	rows, err := dial.QueryRows(ctx, conn, oldestLateSQL, q.pipeline, strconv.Itoa(q.most))
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	letters, keys := make([]entrain.DeadLetter, len(rows)), make([]lateKey, len(rows))
	for i, r := range rows {
		keys[i] = lateKey{r[0], r[1]}
		if letters[i], err = lateLetter(r); err != nil {
			return 0, err
		}
	}
	if err := q.keep(ctx, letters); err != nil {
		return 0, err
	}
	list, err := json.Marshal(keys)
	if err == nil {
		_, err = dial.QueryRows(ctx, conn, dropLateSQL, q.pipeline, string(list))
	}
	return len(rows), err
}

// lateLetter is a row of oldestLateSQL. An event that changes a key can be in the queue
// once for each of its rows: the digest of the key tells them apart.
func lateLetter(r []string) (entrain.DeadLetter, error) {
	var n [7]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(r[5+i], 10, 64); err != nil {
			return entrain.DeadLetter{}, fmt.Errorf("read a late change: %w", err)
		}
	}
	body := lateBody{ID: r[0], Key: r[1], Event: json.RawMessage(r[12]),
		Version: lateVersion{n[0], uint64(n[1]), uint64(n[2])}, RowVersion: lateVersion{n[3], uint64(n[4]), uint64(n[5])}}
	text, err := json.Marshal(body)
	sum := sha256.Sum256([]byte(r[1]))
	at := time.UnixMicro(n[6]).UTC()
	return entrain.DeadLetter{ID: r[0] + "@" + hex.EncodeToString(sum[:6]), Table: r[2], Op: r[3], Class: r[4],
		Reason: "the row has a newer version", First: at, Parked: at, Body: text}, err
}
