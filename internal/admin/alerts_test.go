package admin

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/pipeline"
)

// TestAlerts: the worst lag and the sum of the letters count, each stage once.
func TestAlerts(t *testing.T) {
	r := Report{
		Status: pipeline.Status{LagSeconds: 3, DeadLetters: 1, DuplicateRate: 0.5},
		Sinks: []pipeline.SinkStatus{
			{Status: pipeline.Status{LagSeconds: 30, DeadLetters: 5}},
			{Status: pipeline.Status{LagSeconds: 7, DeadLetters: 4}},
		},
	}
	limits := Limits{LagCritical: 30, DuplicateRateWarning: 0.4, DeadletterCritical: 11}
	want := []Alert{{Name: "lag_critical", Limit: 30, Value: 30, Over: true}, {Name: "duplicate_rate_warning", Limit: 0.4, Value: 0.5, Over: true}, {Name: "deadletter_critical", Limit: 11, Value: 10}}
	if diff := cmp.Diff(want, limits.Alerts(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.DeliversOnly = true // the first status is that of a sink
	if got := r.DeadLetters(); got != 9 {
		t.Errorf("%d dead letters of a process that delivers, want 9", got)
	}
	if got := (Limits{}).Alerts(r); got != nil {
		t.Errorf("alerts without thresholds: %v", got)
	}
}
