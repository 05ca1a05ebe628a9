package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// startTimeout bounds getting and starting a server, a first download
// included; stopTimeout bounds giving it up.
const (
	startTimeout = 5 * time.Minute
	stopTimeout  = time.Minute
)

// Majors returns the major versions to test on: those in ENTRAIN_TEST_PG
// ("14,15,16"), else 15 and 18.
func Majors(t testing.TB) []int {
	t.Helper()
	list := os.Getenv("ENTRAIN_TEST_PG")
	if list == "" {
		return []int{15, 18}
	}
	majors, err := parseMajors(list)
	if err != nil {
		t.Fatalf("ENTRAIN_TEST_PG=%q: %v", list, err)
	}
	return majors
}

func parseMajors(list string) ([]int, error) {
	var majors []int
	for word := range strings.SplitSeq(list, ",") {
		major, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		if major < pgserver.OldestMajor {
			return nil, fmt.Errorf("version %d is older than %d", major, pgserver.OldestMajor)
		}
		majors = append(majors, major)
	}
	return majors, nil
}

// Install returns server programs of the major version, downloaded if need be.
func Install(t testing.TB, major int) pgserver.Install {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	install, err := pgserver.Obtain(ctx, major)
	if err != nil {
		t.Fatal(err)
	}
	return install
}

// Start starts a server for this test alone and removes it at the test's end.
// If the test failed, the end of the server's log is in its output.
func Start(t testing.TB, major int, settings map[string]string) *pgserver.Server {
	t.Helper()
	return StartConfig(t, pgserver.Config{Install: Install(t, major), Settings: settings})
}

// StartConfig is [Start] for a whole configuration.
func StartConfig(t testing.TB, cfg pgserver.Config) *pgserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	srv, err := pgserver.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		logIfFailed(t, srv)
		if err := srv.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove server: %v", err)
		}
	})
	prepare(t, srv)
	return srv
}

func logIfFailed(t testing.TB, srv *pgserver.Server) {
	if t.Failed() {
		t.Logf("log of PostgreSQL %s on port %d ends:\n%s", srv.Install().Version, srv.Port(), srv.Log())
	}
}

// shared holds the servers of this process by major version. Only [Main] takes
// servers out.
var shared struct {
	sync.Mutex
	servers map[int]*pgserver.Server
}

// Shared returns the server of the major version that all tests of this
// process share. Tests keep apart by [CreateDatabase] and by unique slot names,
// and leave the server running with the settings it had; the package's TestMain
// calls [Main], which removes it.
func Shared(t testing.TB, major int) *pgserver.Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	srv := shared.servers[major]
	if srv == nil {
		srv = startShared(t, major)
	}
	t.Cleanup(func() { logIfFailed(t, srv) })
	return srv
}

func startShared(t testing.TB, major int) *pgserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	srv, err := pgserver.Start(ctx, pgserver.Config{Install: Install(t, major)})
	if err != nil {
		t.Fatal(err)
	}
	if shared.servers == nil {
		shared.servers = map[int]*pgserver.Server{}
	}
	shared.servers[major] = srv
	prepare(t, srv)
	return srv
}

// Main runs the tests, removes the shared servers, calls remove for what else
// the tests share, fails if a goroutine is left over, and exits. A package that
// uses [Shared] calls it as the last thing in its TestMain.
func Main(m *testing.M, remove ...func() error) {
	code := m.Run()
	err := removeShared()
	for _, f := range remove {
		err = errors.Join(err, f())
	}
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		code = 1
	}
	os.Exit(code)
}

func removeShared() error {
	shared.Lock()
	defer shared.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for major, srv := range shared.servers {
		if err := srv.Remove(ctx); err != nil {
			return fmt.Errorf("remove the shared server of version %d: %w", major, err)
		}
		delete(shared.servers, major)
	}
	return nil
}

var (
	databases atomic.Int64
	odd       = regexp.MustCompile(`[^a-z0-9]+`)
)

// Name returns an identifier that is unique in this process, for databases,
// slots and publications: lower case letters, digits and underscores, at most
// 40 characters, with the test's name in it.
func Name(t testing.TB) string {
	name := strings.Trim(odd.ReplaceAllString(strings.ToLower(t.Name()), "_"), "_")
	return fmt.Sprintf("t%d_%.30s", databases.Add(1), name)
}

// CreateDatabase creates a database with a unique name and returns its URL. At
// the test's end its replication slots are dropped, those in use too, as slots
// are few; the database itself goes with the server.
func CreateDatabase(t testing.TB, srv *pgserver.Server) string {
	t.Helper()
	name := Name(t)
	Exec(t, srv.URL("postgres"), "CREATE DATABASE "+name)
	GrantCreate(t, srv.URL("postgres"), name)
	t.Cleanup(func() {
		if srv.Pid() == 0 {
			return
		}
		if err := dropSlots(context.WithoutCancel(t.Context()), srv, name); err != nil {
			t.Errorf("drop the slots of database %s: %v", name, err)
		}
	})
	return srv.URL(name)
}

// slotsGone ends the walsenders of the database's slots, drops the slots that
// are free, and has a row for each that is still there.
const slotsGone = `
SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '%[1]s' AND active;
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '%[1]s' AND NOT active;
SELECT slot_name FROM pg_replication_slots WHERE database = '%[1]s'`

// dropSlots drops the database's slots. A walsender that is told to go needs a
// moment, in which its slot is in use.
func dropSlots(ctx context.Context, srv *pgserver.Server, db string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		rows, err := query(ctx, srv.URL("postgres"), fmt.Sprintf(slotsGone, db))
		if err == nil && len(rows) == 0 || err != nil && !inUse(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func inUse(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "55006"
}
