package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

func TestStatusWhenNothingRuns(t *testing.T) {
	file := writeFile(t, toFile)
	invoke(t, source, "status", file).want(t, exitEnvironment,
		"stopped (not_running)", "no process runs the pipeline "+file, "next: entrain run "+file)
	invoke(t, nil, "status", "--state-dir", t.TempDir(), "shop").want(t, exitEnvironment, "not_running")
	invoke(t, nil, "status", "nosuch.yaml").want(t, exitUsage, "cannot read the pipeline file")
}

// A running pipeline is found by its file and by its name, and shown to people
// and to programs.
func TestStatus(t *testing.T) {
	file := writeFile(t, toFile)
	dir := filepath.Join(filepath.Dir(file), "state")
	folder := store.Folder(dir, "shop")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	running := admin.Report{
		Pipeline: "shop", PID: 42, Started: time.Now().Add(-90 * time.Second),
		Status: pipeline.Status{
			Phase: "streaming", Waiting: "sink", WaitingSeconds: 3, Position: "0/1A2B@1", LagBytes: 3 << 20, LagSeconds: 1.25,
			Captured: 12, Applied: 10, Counts: map[string]int64{"inserted": 7, "deleted": 3}, Error: "connection lost",
		},
	}
	server, err := admin.Listen(folder, &fakeProcess{report: running})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	want := `pipeline    shop (process 42, for 1m30s)
phase       streaming, waits for the sink (3 s)
position    0/1A2B@1
lag         3.0 MB, 1.2 s
rows        12 captured, 10 applied, 0 filtered, 0 read again
buffered    0 B
deleted     3
inserted    7
last error  connection lost
`
	for _, args := range [][]string{{"status", file}, {"status", "shop", "--state-dir", dir}} {
		got := invoke(t, source, args...)
		got.want(t, exitOK)
		if got.stdout != want {
			t.Errorf("%v:\n%s\nwant:\n%s", args, got.stdout, want)
		}
	}
	var report admin.Report
	got := invoke(t, source, "status", "-o", "json", file)
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || report.Status.LagBytes != 3<<20 {
		t.Errorf("%v in %s", err, got.stdout)
	}
	if !strings.Contains(got.stdout, `"lag_bytes"`) {
		t.Errorf("member names: %s", got.stdout)
	}
}

// A reason of several lines is its first one, in a table.
func TestReasonInOneLine(t *testing.T) {
	for reason, want := range map[string]string{
		"column_missing: x\n-- then\n": "column_missing: x … (all of it: entrain status -o json)", "short\n": "short", "a\x1bb": `a\u001bb`,
	} {
		if got := firstLine(reason); got != want {
			t.Errorf("%q becomes %s, want %s", reason, got, want)
		}
	}
}

// What a sink that stands still is behind is shown, and the command that has it go on
// is on a line of its own.
func TestStatusOfPausedSink(t *testing.T) {
	var out strings.Builder
	report := admin.Report{Pipeline: "shop", Started: time.Now(), Sinks: []pipeline.SinkStatus{{
		Name: "copy", Partition: "shop", Paused: true,
		Status: pipeline.Status{Phase: "stopped", Position: "7", LagBytes: 2 << 20, LagSeconds: 20.04},
	}}, Status: pipeline.Status{ContractBreaches: map[string]int64{"public.t": 2}}}
	if err := writeReport(&out, report, seen{time.Now(), "my.yaml"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"paused; partition shop, at 7, 0 applied, 20.0 s, 2.0 MB behind\n", "how: entrain schema diff my.yaml\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	typed := false
	for _, line := range strings.Split(out.String(), "\n") {
		typed = typed || strings.TrimSpace(line) == "entrain sink resume my.yaml copy"
	}
	if !typed {
		t.Errorf("no line to type in:\n%s", out.String())
	}
}
