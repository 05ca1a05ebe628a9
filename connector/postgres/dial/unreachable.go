package dial

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
)

const stateNoDatabase = "3D000" // SQLSTATE of a database that does not exist

// unreachable says why a server can have taken no session, and what tries the
// same by hand. The password is not in it: psql asks for it (P8).
func unreachable(cfg *pgconn.Config, err error) error {
	database, try := cfg.Database, "-c 'SELECT 1'"
	if SQLState(err) == stateNoDatabase {
		database, try = "postgres", "-l" // lists those that there are
	}
	address := fmt.Sprintf("host=%s port=%d dbname=%s user=%s", connWord(cfg.Host), cfg.Port, connWord(database), connWord(cfg.User))
	return &entrain.Unreachable{
		Why:  whyUnreachable(err),
		Next: "psql '" + strings.ReplaceAll(address, "'", `'\''`) + "' " + try,
		Err:  err,
	}
}

func whyUnreachable(err error) string {
	state := SQLState(err)
	var unknown *net.DNSError
	var timeout net.Error
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && isClosed(refused):
		return "the database takes no connections for now: somebody has closed it (ALTER DATABASE … ALLOW_CONNECTIONS false)"
	case strings.HasPrefix(state, "28"):
		return "the server does not let this role in from here: role or password is another one, or pg_hba.conf has no line for it"
	case state == stateNoDatabase:
		return "the database has another name, or is not made yet"
	case strings.HasPrefix(state, "53"):
		return "the server's connections, or those of the role or the database, are all in use"
	case strings.HasPrefix(state, "57"):
		return "the server is being started or shut down"
	case errors.As(err, &unknown):
		return "the name of the host is not known here"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "nothing answered in time: the host is down, or what is in between drops the packets"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return "nothing listens there: the server is down, or has another host or port"
	}
	return "the server, or what is in between, did not take the session"
}
