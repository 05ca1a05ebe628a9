package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/campaign"
)

// TestRefusedByName: a flag that has no effect, or cannot be, is a wrong command line, and
// the first line says why.
func TestRefusedByName(t *testing.T) {
	for line, want := range map[string]string{
		"list --seed 3":                 "--seed has no effect on list",
		"kill --budget 9":               "--budget has no effect on kill",
		"kill --minutes 9":              "--minutes has no effect on kill",
		"soak --faults 9":               "--faults has no effect on soak",
		"simulation --faults 9":         "--faults has no effect on simulation",
		"simulation --seed 9":           "--seed has no effect on simulation",
		"simulation --pg 18":            "--pg has no effect on simulation",
		"copy --changes 9":              "--changes has no effect on copy",
		"record --pg 15":                "--pg has no effect on record",
		"promotion --pg 15":             "--pg 15: promotion runs on PostgreSQL 17 to 18",
		"kill --pg 13":                  "--pg 13: kill runs on PostgreSQL 14 to 18",
		"all --pg 19":                   "--pg 19: all runs on PostgreSQL 14 to 18",
		"kill --faults 0":               "--faults has to be more than 0",
		"soak --minutes -1":             "--minutes has to be more than 0",
		"all --budget 0":                "--budget has to be more than 0",
		"kill --fauls 3":                "flag provided but not defined: -fauls",
		"kill --faults x":               `invalid value "x" for flag -faults`,
		"kill more":                     `"more" is too much`,
		"kil":                           `there is no campaign "kil"`,
		"":                              "it lacks what to do",
		"soak-embedded --faults 3 more": `"more" is too much`,
	} {
		var result, log strings.Builder
		code := run(t.Context(), strings.Fields(line), output{&result, &log})
		first, rest, _ := strings.Cut(log.String(), "\n")
		if code != exitUsage || !strings.HasPrefix(first, "campaign: "+want) || !strings.HasPrefix(rest, "usage: ") || result.Len() > 0 {
			t.Errorf("%q: code %d: %s%s", line, code, &result, &log)
		}
	}
}

// TestTaken: what has an effect is no mistake, and all gives each campaign what it takes.
func TestTaken(t *testing.T) {
	for _, line := range []string{
		"kill --seed 1 --pg 18 --faults 2 --changes 3 --out x", "soak --minutes 5", "stalled --minutes 5 --faults 3", "promotion --pg 17",
		"all --budget 30 --minutes 5 --faults 2 --pg 15", "record --out x", "simulation --out x", "list",
	} {
		words := strings.Fields(line)
		if _, err := parse(words[0], words[1:]); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	s, err := parse("all", []string{"--minutes", "5", "--faults", "2"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"soak": " --minutes 5", "kill": " --faults 2", "stalled": " --faults 2 --minutes 5", "simulation": ""} {
		c, _ := campaign.Find(name)
		if got := s.asked(c); got != want {
			t.Errorf("%s: asked is %q, want %q", name, got, want)
		}
	}
	soak, _ := campaign.Find("soak")
	if o := s.options(soak); o.Faults != 0 || o.Length != 5*time.Minute {
		t.Errorf("soak: %+v", o)
	}
	kill, _ := campaign.Find("kill")
	if o := s.options(kill); o.Faults != 2 || o.Changes != 0 {
		t.Errorf("kill: %+v", o)
	}
	flood, _ := campaign.Find("flood")
	if o := s.options(flood); o.Faults != 2 || o.Changes != flood.Full.Changes {
		t.Errorf("flood: %+v", o)
	}
	if promotion, _ := campaign.Find("promotion"); s.options(promotion).Major != 17 {
		t.Errorf("promotion: %+v", s.options(promotion))
	}
}

// TestHelp: it is a result, not a mistake, and names every flag.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}, {"kill", "--help"}, {"list", "-h"}, {"record", "--help"}} {
		var result, log strings.Builder
		code := run(t.Context(), args, output{&result, &log})
		if code != exitOK || log.Len() > 0 || !strings.Contains(result.String(), "--changes N") || !strings.Contains(result.String(), "at least N changes") {
			t.Errorf("%q: code %d, %s%s", args, code, &result, &log)
		}
	}
}

// TestEstimate: what is asked for says how long a campaign takes.
func TestEstimate(t *testing.T) {
	for _, tt := range []struct {
		name, flags string
		want        time.Duration
	}{
		{"soak", "", 65 * time.Minute},
		{"soak", "--minutes 5", 10 * time.Minute},
		{"soak", "--minutes 120", 125 * time.Minute},
		{"kill", "--minutes 5", 40 * time.Minute},
		{"kill", "--faults 100", 4 * time.Minute},
		{"kill", "--faults 1", time.Minute},
		{"stalled", "--minutes 6 --faults 250", 13*time.Minute + 30*time.Second},
		{"mutants", "--faults 2", 10 * time.Minute},
	} {
		s, err := parse("all", strings.Fields(tt.flags))
		if err != nil {
			t.Fatal(err)
		}
		c, _ := campaign.Find(tt.name)
		if got := s.estimate(c); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.name, tt.flags, got, tt.want)
		}
	}
}

// TestShortIsDone: all leaves out what has passed with the same flags, too.
func TestShortIsDone(t *testing.T) {
	s, err := parse("all", []string{"--faults", "2", "--out", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.commit = "0123456789"
	c, _ := campaign.Find("kill")
	if s.passed(c) {
		t.Error("it has passed before it ran")
	}
	if err := s.keep(&campaign.Report{Name: c.Name, Commit: s.commit, PostgreSQL: 15, Verdict: campaign.Passed, Asked: s.asked(c)}, t.Output()); err != nil {
		t.Fatal(err)
	}
	if !s.passed(c) {
		t.Error("it has not passed")
	}
	delete(s.given, "faults")
	if s.passed(c) {
		t.Error("the whole one has passed")
	}
}

// TestWithoutServer: a campaign that starts none has no version of PostgreSQL and no seed
// in its report.
func TestWithoutServer(t *testing.T) {
	s := settings{folder: t.TempDir(), commit: "0123456789"}
	c, _ := campaign.Find("simulation")
	r := &campaign.Report{Name: c.Name, Commit: s.commit, Verdict: campaign.Passed, Said: "no promise broken"}
	if err := s.keep(r, t.Output()); err != nil {
		t.Fatal(err)
	}
	if !s.passed(c) {
		t.Error("it has not passed")
	}
	e, err := readEvidence(s.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{e.campaigns(), r.Markdown()} {
		if strings.Contains(text, "PostgreSQL | 0") || strings.Contains(text, "| 0 |") && strings.Contains(text, "--seed") || strings.Contains(text, "PostgreSQL 0") {
			t.Errorf("%s", text)
		}
	}
	if !strings.Contains(r.Markdown(), "`go run ./campaign simulation`") || !strings.Contains(e.campaigns(), "| no promise broken |  | `0123456789` |  | ") {
		t.Errorf("%s\n%s", r.Markdown(), e.campaigns())
	}
}

// signalSwitch makes TestSecondSignal the process that is to end.
const signalSwitch = "ENTRAIN_TEST_SIGNAL"

// TestSecondSignal: behind the first Ctrl-C the next one ends the process at once.
func TestSecondSignal(t *testing.T) {
	if os.Getenv(signalSwitch) != "" {
		ctx, _ := untilSignal(t.Context())
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("cleaning up")
		<-time.After(time.Minute)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestSecondSignal$")
	cmd.Env = append(os.Environ(), signalSwitch+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ready", "cleaning up"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("it says %q, want %q", lines.Text(), want)
		}
		_ = cmd.Process.Signal(os.Interrupt)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the state tells
	}()
	interrupt(cmd.Process, ended)
	if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signal() != syscall.SIGINT {
		t.Errorf("it ended by itself: %v", cmd.ProcessState)
	}
}

// interrupt sends signals until the process has ended: the one behind the first can come
// before it is heard of no more.
func interrupt(p *os.Process, ended <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			_ = p.Signal(os.Interrupt)
		}
	}
}
