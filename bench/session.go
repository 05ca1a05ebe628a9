package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// session is a connection to one database, for statements that are not
// measured.
type session struct{ conn *pgconn.PgConn }

// connect opens a session; settings are in force in it.
func connect(ctx context.Context, url string, settings map[string]string) (*session, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	for name, value := range settings {
		cfg.RuntimeParams[name] = value
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &session{conn}, nil
}

func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	s.conn.Close(ctx) // whether the server heard us does not matter
}

// exec runs statements, each in a transaction of its own.
func (s *session) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := s.rows(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// rows runs one statement and returns its rows as text; NULL is empty.
func (s *session) rows(ctx context.Context, sql string) ([][]string, error) {
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%.60s: %w", strings.Join(strings.Fields(sql), " "), err)
	}
	var rows [][]string
	for _, r := range results {
		for _, values := range r.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// value runs a statement that returns one value.
func (s *session) value(ctx context.Context, sql string) (string, error) {
	rows, err := s.rows(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%.60s: %d rows, expected one value", sql, len(rows))
	}
	return rows[0][0], nil
}

// poll is how often a condition is looked at while the clock runs: seldom
// enough to cost nothing that shows.
const poll = 5 * time.Millisecond

// await waits until a query returns "t", at most for the given time.
func (s *session) await(ctx context.Context, within time.Duration, sql string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not within %s: %s", within, sql))
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		yes, err := s.value(ctx, sql)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || yes == "t" {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dropSlot drops a slot, waiting for its walsender to go.
func (s *session) dropSlot(ctx context.Context, slot string) error {
	err := s.await(ctx, stopTimeout, fmt.Sprintf("SELECT NOT coalesce(bool_or(active), false) FROM pg_replication_slots WHERE slot_name = '%s'", slot))
	if err != nil {
		return err
	}
	return s.exec(ctx, fmt.Sprintf("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%s'", slot))
}

// contentSQL describes all rows of the table without regard to their order.
const contentSQL = `SELECT count(*) || ' rows, hash ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM t`

var errDiffer = errors.New("source and target differ")

// sameRows fails if the table t differs between two databases: a fast wrong
// answer is no answer.
func sameRows(ctx context.Context, source, target *session) error {
	a, err := source.value(ctx, contentSQL)
	if err != nil {
		return err
	}
	b, err := target.value(ctx, contentSQL)
	if err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("%w: %s; %s", errDiffer, a, b)
	}
	return nil
}
