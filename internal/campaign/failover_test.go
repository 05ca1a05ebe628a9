package campaign

import (
	"fmt"
	"testing"
)

// TestPG26Promotion: the source's primary is killed under load and its standby
// promoted. The one process goes on there by itself (P9), and the target has
// what the new primary has: nothing lost (P1), doubled (P2), reordered (P3) or
// torn (P4).
func TestPG26Promotion(t *testing.T) {
	for _, major := range failoverMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { promotion(t, major) })
	}
}
