package kafkaserver_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestSharedBrokerIsOne(t *testing.T) {
	first, second := kafkatest.Start(t), kafkatest.Start(t)
	if first != second || first.Pid() == 0 {
		t.Errorf("two calls of Start gave processes %d and %d, want one that runs", first.Pid(), second.Pid())
	}
	if first.Port() >= 32767 {
		t.Errorf("port %d or the controller's is in the range that clients get", first.Port())
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	srv := kafkatest.StartOwn(t, kafkaserver.Config{})
	for round, end := range []func() error{
		func() error { return srv.Kill(t.Context()) },
		func() error { return srv.Stop(t.Context()) },
	} {
		produce(t, srv.Addr(), fmt.Sprint("round ", round))
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if srv.Pid() != 0 {
			t.Errorf("Pid() = %d after the end, want 0", srv.Pid())
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := consume(t, srv.Addr(), round+1)
		if want := fmt.Sprint("round ", round); got[round] != want {
			t.Errorf("records after the end: %q, want %q last", got, want)
		}
	}
}

func TestFailedStartShowsTheLogAndLeavesNothing(t *testing.T) {
	install := kafkatest.Install(t)
	tmp, err := os.MkdirTemp("", "kafkaserver-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	_, err = kafkaserver.Start(t.Context(), kafkaserver.Config{
		Install: install, Settings: map[string]string{"num.partitions": "none of these"},
	})
	if err == nil || !strings.Contains(err.Error(), "none of these") {
		t.Errorf("error does not show the broker's own words: %v", err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestTakenPort(t *testing.T) {
	taken := kafkatest.Start(t).Port()
	srv, err := kafkaserver.Start(t.Context(), kafkaserver.Config{Install: kafkatest.Install(t), Port: taken})
	if err == nil {
		t.Fatalf("a second broker started on port %d: %v", taken, srv.Remove(t.Context()))
	}
	if !strings.Contains(err.Error(), "port is taken") {
		t.Errorf("error does not say that port %d is taken: %v", taken, err)
	}
}

func TestBrokerEndsWithItsOwner(t *testing.T) {
	kafkatest.Install(t)
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
	pgtest.Eventually(t, time.Minute, "the broker of a killed process is gone, with its folder", func() bool {
		_, err := os.Stat(dir)
		return !running(pid) && os.IsNotExist(err)
	})
}

// running reports whether the process exists and is no zombie.
func running(pid int) bool {
	state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(state), ") Z ")
}
