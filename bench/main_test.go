package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestParse(t *testing.T) {
	opt, err := parse([]string{"all", "--rows", "10M", "--runs", "7", "-o", "json"}, io.Discard)
	if err != nil || !slices.Equal(opt.works, []string{"decode", "apply", "side", "gate", "letters", "checked", "latency", "snapshot", "kafka", "relay", "fanout"}) ||
		opt.rows != 10_000_000 || opt.runs != 7 || opt.seconds != 30 || opt.output != "json" {
		t.Errorf("parse = %+v, %v", opt, err)
	}
	opt, err = parse([]string{"latency"}, io.Discard)
	if err != nil || !slices.Equal(opt.works, []string{"latency"}) || opt.rows != 1_000_000 || opt.runs != 5 || opt.output != "table" {
		t.Errorf("parse = %+v, %v", opt, err)
	}
	if opt, err = parse([]string{"snapshot", "--flat"}, io.Discard); err != nil || !opt.flat {
		t.Errorf("parse = %+v, %v", opt, err)
	}
	for _, bad := range []string{
		"", "decoed", "--runs 3", "decode --runs 0", "decode -o yaml", "decode --rows many", "decode --rows -1", "decode apply", "latency --seconds 0",
	} {
		if opt, err := parse(strings.Fields(bad), io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("parse %q = %+v, %v, want a usage error", bad, opt, err)
		}
	}
}

func TestParseCount(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "400000": 400_000, "400k": 400_000, "10M": 10_000_000} {
		if got, err := parseCount(text); got != want || err != nil {
			t.Errorf("parseCount(%s) = %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "k", "0", "-5", "1.5M", "1G", "99999999999"} {
		if got, err := parseCount(bad); err == nil {
			t.Errorf("parseCount(%q) = %d", bad, got)
		}
	}
}

func TestScaledNeverGrows(t *testing.T) {
	for rows, want := range map[int64]int64{1_000_000: 400_000, 10_000_000: 400_000, 10_000: 4_000, 1: 1} {
		h := &harness{opt: options{rows: rows}}
		if got := h.scaled(400_000); got != want {
			t.Errorf("with --rows %d: 400000 became %d, want %d", rows, got, want)
		}
	}
}

func TestCommitTimes(t *testing.T) {
	log := `rmgr: Transaction len (rec/tot):     34/    34, tx:        741, lsn: 0/01540A28, prev 0/015409F0, desc: COMMIT 2026-11-22 20:57:38.123456 UTC
rmgr: Transaction len (rec/tot):     65/    65, tx:        742, lsn: 0/01540A98, prev 0/01540A28, desc: COMMIT 2026-11-22 20:57:39.500000 UTC; subxacts: 743 744; origin: node 1, lsn 0/0, at 2026-11-22 20:57:39.100000 UTC
rmgr: Transaction len (rec/tot):     34/    34, tx:        745, lsn: 0/01540B98, prev 0/01540A98, desc: ABORT 2026-11-22 20:57:40.000000 UTC
`
	times, err := parseCommits(strings.NewReader(log))
	if err != nil || len(times) != 4 {
		t.Fatalf("parseCommits = %v, %v, want 4 transactions", times, err)
	}
	for xid, want := range map[string]string{"741": "38.123456", "742": "39.5", "743": "39.5", "744": "39.5"} {
		if got := times[xid].Format("05.999999"); got != want {
			t.Errorf("transaction %s committed at %s, want %s: its own time, not the origin's", xid, got, want)
		}
	}
}

// wide makes a test one of the wide run, with a temporary folder that must be
// empty at its end.
func wide(t *testing.T) {
	t.Helper()
	if os.Getenv("ENTRAIN_TEST_WIDE") != "1" {
		t.Skip("takes a minute: runs with ENTRAIN_TEST_WIDE=1")
	}
	dir := t.TempDir()
	// Root's servers run as somebody else, who must be able to get there.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind in the temporary folder: %v %v", left, err)
		}
	})
}

// TestSmoke measures everything with few rows: not how fast, but that each work
// comes to a result, with equal rows on both sides where there are two.
func TestSmoke(t *testing.T) {
	wide(t)
	smoke(t, "all --rows 5k --seconds 1 --runs 1 -o json", 5+3+4+5+12+1+3) // decode, apply, latency, snapshot, kafka, relay, fanout
	smoke(t, "snapshot --flat --rows 5k --runs 1 -o json", 3)
}

func smoke(t *testing.T, args string, results int) {
	t.Helper()
	var out, talk bytes.Buffer
	err := run(t.Context(), strings.Fields(args), &out, &talk)
	if err != nil && !errors.Is(err, errMissed) {
		t.Fatalf("run: %v\n%s", err, talk.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != results {
		t.Errorf("%s: %d results, want %d:\n%s", args, len(lines), results, out.String())
	}
	for _, line := range lines {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.RatioRate <= 0 || r.Work == "" || r.Peer == "" {
			t.Errorf("result %s: %v", line, err)
		}
	}
}

// interrupter ends the bench when it says something.
type interrupter struct {
	at   string
	stop context.CancelFunc
}

func (w *interrupter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.at)) {
		w.stop()
	}
	return len(p), nil
}

// TestInterrupt: an interrupt in the middle leaves nothing behind.
func TestInterrupt(t *testing.T) {
	wide(t)
	for _, at := range []string{"loading: CALL insert_rows", "run 1 of 50"} {
		ctx, stop := context.WithCancel(t.Context())
		began := time.Now()
		err := run(ctx, strings.Fields("decode --rows 50k --runs 50"), io.Discard, &interrupter{at, stop})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted at %q: %v", at, err)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("interrupted at %q: took %s", at, took)
		}
		stop()
	}
}
