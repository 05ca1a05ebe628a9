package campaign

import (
	"fmt"
	"testing"
)

// TestKill60 is CR-01, sampled: 60 kills (300 in the wide run).
func TestKill60(t *testing.T) {
	r := sampled(t, 60, 300_000)
	if wide() {
		r.Faults = 300
	}
	for _, major := range campaignMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { killCampaign(t, r.on(major), inOrder) })
	}
}

// TestKillAside is TestKill60 with a sink that applies transactions side by side.
func TestKillAside(t *testing.T) {
	r := sampled(t, 8, 40_000)
	if wide() {
		r.Faults, r.Changes = 100, 300_000
	}
	for _, major := range campaignMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { killCampaign(t, r.on(major), aside) })
	}
}
