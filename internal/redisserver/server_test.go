package redisserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// ownerEnv makes the test binary a process that owns a server and waits to be
// killed.
const ownerEnv = "REDISSERVER_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		fmt.Fprintln(os.Stderr, own(context.Background()))
		os.Exit(1)
	}
	pgtest.Main(m, redistest.Remove)
}

// own starts a server, prints its process and folder, and returns only if it
// failed.
func own(ctx context.Context) error {
	install, err := redisserver.Obtain(ctx)
	if err != nil {
		return err
	}
	srv, err := redisserver.Start(ctx, redisserver.Config{Install: install})
	if err != nil {
		return err
	}
	fmt.Printf("server %d %s\n", srv.Pid(), srv.Dir())
	select {}
}

// command sends one command and returns all that the server says.
func command(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text+"\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestSharedServerIsOneAndDurable(t *testing.T) {
	first, second := redistest.Start(t), redistest.Start(t)
	if first != second || first.Pid() == 0 {
		t.Errorf("two calls of Start gave processes %d and %d, want one that runs", first.Pid(), second.Pid())
	}
	if got := command(t, first.Addr(), "CONFIG GET appendfsync"); !strings.Contains(got, "always") {
		t.Errorf("appendfsync: %q, want always", got)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{})
	for round, end := range []func(context.Context) error{srv.Kill, srv.Stop} {
		if got := command(t, srv.Addr(), fmt.Sprintf("RPUSH kept %d", round)); !strings.HasPrefix(got, fmt.Sprintf(":%d\r\n", round+1)) {
			t.Fatalf("RPUSH: %q", got)
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
		if srv.Pid() != 0 {
			t.Errorf("Pid() = %d after the end, want 0", srv.Pid())
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := command(t, srv.Addr(), "LLEN kept"), fmt.Sprintf(":%d\r\n", round+1); !strings.HasPrefix(got, want) {
			t.Errorf("LLEN after the end: %q, want %q", got, want)
		}
	}
}

func TestTakenPort(t *testing.T) {
	taken := redistest.Start(t).Port()
	srv, err := redisserver.Start(t.Context(), redisserver.Config{Install: redistest.Install(t), Port: taken})
	if err == nil {
		t.Fatalf("a second server started on port %d: %v", taken, srv.Remove(t.Context()))
	}
	if !strings.Contains(err.Error(), "port is taken") {
		t.Errorf("error does not say that port %d is taken: %v", taken, err)
	}
}

func TestServerEndsWithItsOwner(t *testing.T) {
	redistest.Install(t)
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
		state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, err := os.Stat(dir)
		return (len(state) == 0 || strings.Contains(string(state), ") Z ")) && os.IsNotExist(err)
	})
}
