package dial_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestNotInPrerequisiteState: of what the server says with SQLSTATE 55000, a database
// that is closed for a while may be open the next time; an object that is not as it
// has to be, and a database that a broken DROP has left, stay as they are.
func TestNotInPrerequisiteState(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run("pg"+strconv.Itoa(major), func(t *testing.T) {
			srv := pgtest.Shared(t, major)
			admin, url := srv.SocketURL("postgres"), pgtest.CreateDatabase(t, srv)
			cfg, err := dial.ParseURL(connector.Secret(url), "test")
			if err != nil {
				t.Fatal(err)
			}
			reached := func(why string, retryable bool) {
				t.Helper()
				conn, err := dial.Connect(t.Context(), cfg)
				if err == nil {
					dial.Close(t.Context(), conn)
				}
				if dial.SQLState(err) != "55000" || entrain.IsRetryable(err) != retryable || !strings.Contains(err.Error(), why) {
					t.Errorf("%v, retryable %t", err, entrain.IsRetryable(err))
				}
			}
			pgtest.Exec(t, admin, "ALTER DATABASE "+cfg.Database+" ALLOW_CONNECTIONS false")
			reached("not currently accepting connections", true)
			pgtest.Exec(t, admin, "ALTER DATABASE "+cfg.Database+" ALLOW_CONNECTIONS true",
				"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '"+cfg.Database+"'")
			reached("invalid database", false)
			pgtest.Exec(t, admin, "UPDATE pg_database SET datconnlimit = -1 WHERE datname = '"+cfg.Database+"'",
				"ALTER DATABASE "+cfg.Database+" ALLOW_CONNECTIONS true")
			err = dial.InSession(t.Context(), cfg, func(conn *pgconn.PgConn) error {
				_, err := dial.QueryRows(t.Context(), conn, "SELECT lastval()")
				return err
			})
			if dial.SQLState(err) != "55000" || entrain.IsRetryable(err) {
				t.Errorf("a state that no retry mends: %v", err)
			}
		})
	}
}

// TestClosedConnection: what is asked of a connection that is gone already may be asked of
// a new one.
func TestClosedConnection(t *testing.T) {
	cfg, err := dial.ParseURL(connector.Secret(pgtest.CreateDatabase(t, pgtest.Shared(t, 15))), "test")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	dial.Close(t.Context(), conn)
	_, err = dial.QueryRows(t.Context(), conn, "SELECT 1")
	if err = dial.Classify(err); !errors.Is(err, entrain.ErrDisconnected) || !entrain.IsRetryable(err) {
		t.Errorf("%v, retryable %t", err, entrain.IsRetryable(err))
	}
}
