package pgserver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// onEach runs the test on every major version under test.
func onEach(t *testing.T, test func(t *testing.T, major int)) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { test(t, major) })
	}
}

func TestServerAnswersOverBothTransports(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		srv := pgtest.Shared(t, major)
		for _, url := range []string{srv.URL("postgres"), srv.SocketURL("postgres")} {
			version := pgtest.QueryOne(t, url, "SHOW server_version_num")
			if !strings.HasPrefix(version, strconv.Itoa(major)) {
				t.Errorf("%s: server_version_num %s, want major %d", url, version, major)
			}
		}
	})
}

func TestDefaultsAndSettings(t *testing.T) {
	srv := pgtest.Start(t, 15, map[string]string{"max_connections": "37", "application_name": `it's a \ test`})
	for name, want := range map[string]string{
		"wal_level": "logical", "fsync": "off", "max_replication_slots": "20", "max_wal_senders": "20",
		"max_connections": "37", "server_encoding": "UTF8", "listen_addresses": "127.0.0.1",
		"unix_socket_directories": srv.Dir(),
	} {
		if got := pgtest.QueryOne(t, srv.URL("postgres"), "SHOW "+name); got != name && got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	got := pgtest.QueryOne(t, srv.URL("postgres"), "SELECT reset_val FROM pg_settings WHERE name = 'application_name'")
	if want := `it's a \ test`; got != want {
		t.Errorf("quoted setting reads %q, want %q", got, want)
	}
	if srv.Port() >= 32768 {
		t.Errorf("port %d is in the range that clients get", srv.Port())
	}
}

func TestDurableLeavesFsyncAlone(t *testing.T) {
	srv := pgtest.StartConfig(t, pgserver.Config{Install: pgtest.Install(t, 15), Durable: true})
	for _, name := range []string{"fsync", "synchronous_commit"} {
		if got := pgtest.QueryOne(t, srv.URL("postgres"), "SHOW "+name); got != "on" {
			t.Errorf("%s = %s, want on", name, got)
		}
	}
}

// P5: a server that passes for another one would hide a broken history.
func TestEveryServerHasItsOwnIdentity(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		const sql = "SELECT system_identifier FROM pg_control_system()"
		seen := map[string]int{}
		for range 2 {
			srv := pgtest.Start(t, major, nil)
			seen[pgtest.QueryOne(t, srv.URL("postgres"), sql)]++
		}
		if len(seen) != 2 {
			t.Errorf("identifiers of two servers: %v, want two different ones", seen)
		}
	})
}

func TestKillLosesNothingCommitted(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		srv := pgtest.Start(t, major, nil)
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
		id := pgtest.QueryOne(t, url, "SELECT system_identifier FROM pg_control_system()")
		session := pgtest.Connect(t, url)
		backend := session.PID()
		before := srv.Pid()
		if err := srv.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if srv.Pid() != 0 {
			t.Errorf("Pid() = %d after Kill, want 0", srv.Pid())
		}
		if running(int(backend)) || running(before) {
			t.Errorf("after Kill process %d or %d runs", backend, before)
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if srv.Pid() == before || srv.Pid() == 0 {
			t.Errorf("Pid() = %d after Start, was %d before Kill", srv.Pid(), before)
		}
		if got := pgtest.QueryOne(t, url, "SELECT count(*) FROM t"); got != "1000" {
			t.Errorf("%s rows after kill and start, want 1000", got)
		}
		if got := pgtest.QueryOne(t, url, "SELECT system_identifier FROM pg_control_system()"); got != id {
			t.Errorf("system identifier %s after kill and start, was %s", got, id)
		}
		if !strings.Contains(srv.Log(), "not properly shut down") {
			t.Errorf("the log knows of no crash:\n%s", srv.Log())
		}
	})
}

// running reports whether the process exists and is no zombie.
func running(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(state), ") Z ")
}

// A system has room for some thousand segments; a test run that leaves its own
// behind breaks a later one.
func TestRemoveLeavesNoSharedMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("segments are listed on Linux only")
	}
	onEach(t, func(t *testing.T, major int) {
		srv := pgtest.Start(t, major, nil)
		lock, err := os.ReadFile(filepath.Join(srv.Dir(), "data", "postmaster.pid"))
		if err != nil {
			t.Fatal(err)
		}
		id := strings.Fields(strings.Split(string(lock), "\n")[6])[1]
		if !slices.Contains(segments(t), id) {
			t.Fatalf("segment %s of a server that runs is not among %q", id, segments(t))
		}
		if err := srv.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(segments(t), id) {
			t.Errorf("segment %s is left after Remove", id)
		}
	})
}

// segments returns the ids of the system's shared memory segments.
func segments(t *testing.T) (ids []string) {
	list, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		ids = append(ids, strings.Fields(line)[1])
	}
	return ids
}

func TestRestartKeepsPortAndReadsAlterSystem(t *testing.T) {
	srv := pgtest.Start(t, 18, nil)
	url := srv.URL("postgres")
	pgtest.Exec(t, url, "ALTER SYSTEM SET wal_level = 'replica'", "CREATE TABLE t()")
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := pgtest.QueryOne(t, url, "SHOW wal_level"); got != "replica" {
		t.Errorf("wal_level = %s after ALTER SYSTEM and Restart, want replica", got)
	}
	if strings.Contains(srv.Log(), "not properly shut down") {
		t.Errorf("Restart was no orderly shutdown:\n%s", srv.Log())
	}
}

func TestStopsAreRepeatable(t *testing.T) {
	srv := pgtest.Start(t, 15, nil)
	if err := srv.Start(t.Context()); err == nil {
		t.Error("Start of a running server succeeded")
	}
	for _, stop := range []func(context.Context) error{srv.Stop, srv.Stop, srv.StopImmediate, srv.Kill} {
		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := srv.StopImmediate(t.Context()); err != nil {
		t.Error(err)
	}
	if err := srv.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(srv.Dir()); !os.IsNotExist(err) {
		t.Errorf("folder %s is left after Remove (%v)", srv.Dir(), err)
	}
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	srv := pgtest.Start(t, 15, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Stop(ctx); err == nil {
		t.Error("Stop with a context that had ended returned no error")
	}
	if srv.Pid() != 0 {
		t.Errorf("server %d runs after Stop", srv.Pid())
	}
}

func TestGivenFolderIsKeptAndUsedAgain(t *testing.T) {
	cfg := pgserver.Config{Install: pgtest.Install(t, 15), Dir: filepath.Join(openFolder(t), "server")}
	first := pgtest.StartConfig(t, cfg)
	pgtest.Exec(t, first.URL("postgres"), "CREATE TABLE kept()")
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := pgtest.StartConfig(t, cfg)
	if got := pgtest.QueryOne(t, second.URL("postgres"), "SELECT count(*) FROM pg_class WHERE relname = 'kept'"); got != "1" {
		t.Errorf("%s tables found again, want 1", got)
	}
}

func TestTakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	srv, err := pgserver.Start(t.Context(), pgserver.Config{Install: pgtest.Install(t, 15), Port: port})
	if err == nil {
		t.Fatalf("a server started on taken port %d: %v", port, srv.Remove(t.Context()))
	}
	if !strings.Contains(err.Error(), "port is taken") || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("error does not name the taken port %d: %v", port, err)
	}
}

func TestFailedStartShowsTheLogAndLeavesNothing(t *testing.T) {
	tmp := openFolder(t)
	t.Setenv("TMPDIR", tmp)
	_, err := pgserver.Start(t.Context(), pgserver.Config{
		Install: pgtest.Install(t, 15), Settings: map[string]string{"wal_level": "none of these"},
	})
	if err == nil || !strings.Contains(err.Error(), `"wal_level"`) {
		t.Errorf("error does not show the server's own words: %v", err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// openFolder is t.TempDir that an unprivileged server can reach.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestServerEndsWithItsOwner(t *testing.T) {
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	_, scanErr := fmt.Fscanf(out, "server %d %s\n", &pid, &dir)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait()
	if scanErr != nil {
		t.Fatal(scanErr)
	}
	pgtest.Eventually(t, time.Minute, "the server of a killed process is gone, with its folder", func() bool {
		_, err := os.Stat(dir)
		return !running(pid) && os.IsNotExist(err)
	})
}
