package pipeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestCircuit: whatever happens, a breaker is open only after enough failures in a row,
// for as long as it should be, and one success closes it.
func TestCircuit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := CircuitRules{Failures: rapid.IntRange(1, 4).Draw(t, "failures"), Open: time.Minute}
		c, now := NewCircuit(rules), time.Unix(1_790_000_000, 0)
		failures, openUntil := 0, time.Time{}
		t.Repeat(map[string]func(*rapid.T){
			"a session fails": func(t *rapid.T) {
				wait := c.probe(now)
				if open := now.Before(openUntil); open != (wait > 0) || open && wait != openUntil.Sub(now) {
					t.Fatalf("the wait is %s, and it is open until %s", wait, openUntil.Sub(now))
				}
				if wait > 0 {
					return // no session then
				}
				failures++
				if opened := c.fail(now); opened != (failures >= rules.Failures) {
					t.Fatalf("opened: %t at failure %d of %d", opened, failures, rules.Failures)
				} else if opened {
					openUntil = now.Add(rules.Open)
				}
			},
			"a batch is durable": func(t *rapid.T) {
				if c.probe(now) > 0 {
					return
				}
				if closed := c.succeed(); closed != (failures >= rules.Failures) {
					t.Fatalf("closed: %t behind %d failures", closed, failures)
				}
				failures, openUntil = 0, time.Time{}
			},
			"time goes by": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				st := c.Status(now)
				if st.Failures != failures || (st.State == "closed") != (failures < rules.Failures) || st.Seconds > 60 {
					t.Fatalf("status %+v behind %d failures of %d", st, failures, rules.Failures)
				}
				if c.probes() != (st.State == "half_open") {
					t.Fatalf("probes: %t in %s", c.probes(), st.State)
				}
			},
		})
	})
}
