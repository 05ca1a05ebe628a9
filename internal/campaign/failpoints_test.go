package campaign

import (
	"testing"

	"github.com/entrainsync/entrain/pipeline"
)

// TestFailpoints is CO-01, sampled: two pairs of a boundary and an action.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	r := sampled(t, 2, 0)
	if wide() {
		r.Faults = 0
	}
	failpointsCampaign(t, r)
}

// TestBoundaryPairs: every point is tried with every action, but for returning in front
// of the delivery itself.
func TestBoundaryPairs(t *testing.T) {
	tried := map[pipeline.Point]map[string]int{}
	for _, b := range boundaryPairs() {
		if tried[b.point] == nil {
			tried[b.point] = map[string]int{}
		}
		tried[b.point][b.action]++
	}
	for _, p := range pipeline.Points() {
		places, returns := 3, 3
		switch p {
		case pipeline.PointParked:
			places, returns = 2, 0
		case pipeline.PointReceived, pipeline.PointWriting:
			returns = 0
		}
		for action, want := range map[string]int{"panic": places, "error": places, "sleep": places, "return": returns} {
			if got := tried[p][action]; got != want {
				t.Errorf("%s at %s is tried in %d places, want %d", action, p, got, want)
			}
		}
	}
}
