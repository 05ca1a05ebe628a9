package campaign

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// orphanSwitch makes this test the campaign that is killed.
const orphanSwitch = "ENTRAIN_TEST_ORPHAN"

// TestNoOrphans: a program does not outlive a campaign that is killed by SIGKILL, also if
// it was started by way of another one.
func TestNoOrphans(t *testing.T) {
	if os.Getenv(orphanSwitch) != "" {
		beKilled(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestNoOrphans$", "-test.v")
	cmd.Env = append(os.Environ(), orphanSwitch+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for lines := bufio.NewScanner(out); len(pids) < 2 && lines.Scan(); {
		if pid, is := strings.CutPrefix(lines.Text(), "started "); is {
			pids = append(pids, pid)
		}
	}
	running := 0
	for _, pid := range pids {
		if sleeps(pid) {
			running++
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if running != 2 {
		t.Fatalf("%d programs ran: %q", running, pids)
	}
	for _, pid := range pids {
		pgtest.Eventually(t, patience, "the program ends", func() bool { return !sleeps(pid) })
	}
}

// sleeps reports whether a process is a sleep; one that has ended has no arguments.
func sleeps(pid string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && strings.HasPrefix(string(text), "sleep\x00")
}

// beKilled starts two programs, tells of them and waits.
func beKilled(t *testing.T) {
	for _, args := range [][]string{{"sleep", "300"}, {"sh", "-c", `exec "$@"`, "sh", "sleep", "300"}} {
		p, err := startProgram(args[0], nil, args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		defer p.kill()
		pid := strconv.Itoa(p.cmd.Process.Pid)
		pgtest.Eventually(t, patience, "it sleeps", func() bool { return sleeps(pid) })
		fmt.Println("started " + pid)
	}
	wait(t.Context(), 5*time.Minute)
}
