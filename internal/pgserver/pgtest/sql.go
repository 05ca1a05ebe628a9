package pgtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Null is how [Query] shows SQL NULL.
const Null = "<NULL>"

// poll is the interval of [Eventually].
const poll = 10 * time.Millisecond

// Exec runs the statements in one session, each text as a transaction of its
// own unless it says BEGIN itself. A failure ends the test.
func Exec(t testing.TB, url string, sql ...string) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, text := range sql {
		if _, err := conn.Exec(t.Context(), text).ReadAll(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// Query runs one text of statements and returns the rows of the last one, as
// the server prints them; NULL is [Null]. A failure ends the test.
func Query(t testing.TB, url string, sql string) [][]string {
	t.Helper()
	rows, err := query(t.Context(), url, sql)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// QueryOne is [Query] for statements whose answer is one value.
func QueryOne(t testing.TB, url string, sql string) string {
	t.Helper()
	rows := Query(t, url, sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: got %v, want one value", sql, rows)
	}
	return rows[0][0]
}

// Connect opens a session that ends with the test.
func Connect(t testing.TB, url string) *pgconn.PgConn {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func query(ctx context.Context, url, sql string) ([][]string, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	last := results[len(results)-1]
	rows := make([][]string, len(last.Rows))
	for i, values := range last.Rows {
		rows[i] = texts(values)
	}
	return rows, nil
}

func texts(values [][]byte) []string {
	row := make([]string, len(values))
	for i, v := range values {
		row[i] = Null
		if v != nil {
			row[i] = string(v)
		}
	}
	return row
}

// Eventually waits until cond holds and ends the test if it does not within
// the time. What is a phrase for the failure: "row 7 is at the sink".
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-t.Context().Done():
			t.Fatalf("test ended: %s", what)
		}
	}
}
