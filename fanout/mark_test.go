package fanout

import (
	"testing"
	"time"
)

// TestMarksInOrder: a moment can only be behind one of the same clock.
func TestMarksInOrder(t *testing.T) {
	now := time.Now()
	early, late := Mark{Time: now.Add(-time.Hour)}, Mark{Time: now}
	low, high := Mark{Version: 10}, Mark{Version: 20}
	for _, c := range []struct {
		a, b Mark
		want bool
	}{
		{late, early, true}, {early, late, false}, {late, late, false}, {high, low, true}, {low, high, false}, {high, high, false},
		{late, low, false}, {low, late, false}, {late, Mark{}, false}, {high, Mark{}, false}, {Mark{}, early, false},
	} {
		if got := c.a.After(c.b); got != c.want {
			t.Errorf("%s after %s: %v", c.a, c.b, got)
		}
	}
}
