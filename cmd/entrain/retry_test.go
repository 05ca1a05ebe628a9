package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const retrying = `
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: postgres, url: "${TARGET_URL}"}
state: {dir: DIR/state}
dead_letter: {}
retry: {attempt_timeout_ms: 300, backoff_base_ms: 50, backoff_max_ms: 100, circuit_breaker: {failures: 3, open_ms: 1500}}
`

// TestSinkThatHangs: a target whose table is locked is given up after the time, tried
// again, left alone, and gets everything once the lock is gone; no row is refused.
func TestSinkThatHangs(t *testing.T) {
	for name, stream := range map[string]string{"direct": "", "stream": "stream: {type: embedded}\n"} {
		t.Run(name, func(t *testing.T) {
			url, target := shop(t), shop(t)
			file := writeFile(t, retrying+stream)
			env := []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}
			p := launchIn(t, "", env, "run", file)
			p.until(t, file, "streaming", streams)
			order(t, url, 1, 10)
			arrived := func(n string) func() bool {
				return func() bool { return pgtest.QueryOne(t, target, "SELECT count(*) FROM orders") == n }
			}
			pgtest.Eventually(t, patience, "ten orders", arrived("10"))
			lock := pgtest.Connect(t, target)
			if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE orders IN SHARE MODE").ReadAll(); err != nil {
				t.Fatal(err)
			}
			order(t, url, 11, 30)
			p.until(t, file, "the circuit was open twice", func(r admin.Report) bool {
				st := r.Status
				if len(r.Sinks) > 0 {
					st = r.Sinks[0].Status
				}
				return st.Circuit != nil && st.Circuit.State == "open" && st.Circuit.Opened > 1
			})
			if o := invoke(t, nil, "status", "shop", "--state-dir", strings.TrimSuffix(file, "shop.yaml")+"state"); !strings.Contains(o.stdout, "open after ") {
				t.Errorf("status:\n%s%s", o.stdout, o.stderr)
			}
			if _, err := lock.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
				t.Fatal(err)
			}
			pgtest.Eventually(t, patience, "all orders", arrived("30"))
			p.until(t, file, "the circuit is closed", func(r admin.Report) bool {
				st := r.Status
				if len(r.Sinks) > 0 {
					st = r.Sinks[0].Status
				}
				return st.Circuit.State == "closed" && st.DeadLetters == 0 && st.Parked == 0
			})
			p.signal(t, syscall.SIGTERM)
			p.exit(t, exitOK)
			for _, text := range []string{"retry.attempt_timeout_ms", "the circuit is open", "the circuit is closed"} {
				if !strings.Contains(p.stderr.String(), text) {
					t.Errorf("the log does not say: %s", text)
				}
			}
		})
	}
}
