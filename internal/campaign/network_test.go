package campaign

import (
	"testing"
	"time"
)

// some is a sampled trial of a campaign of faults.
func some(t *testing.T, faults int) *Trial {
	t.Helper()
	t.Parallel() // they wait most of the time
	r := sampled(t, faults, 0)
	if wide() {
		r.Faults *= 10
	}
	return r
}

// TestNetwork is networkCampaign, sampled: less than all kinds of fault in a run.
func TestNetwork(t *testing.T) { networkCampaign(t, some(t, 3), single) }

// TestNetworkOfKafka is the same through Kafka.
func TestNetworkOfKafka(t *testing.T) { networkCampaign(t, some(t, 2), spread) }

// TestPacketLoss is lossCampaign, sampled.
func TestPacketLoss(t *testing.T) { lossCampaign(t, some(t, 4)) }

// TestDisks is diskCampaign, sampled.
func TestDisks(t *testing.T) { diskCampaign(t, some(t, 6)) }

// TestSyncs is syncCampaign, sampled.
func TestSyncs(t *testing.T) { syncCampaign(t, some(t, 6)) }

// TestKilledForMemory is oomCampaign, sampled.
func TestKilledForMemory(t *testing.T) { oomCampaign(t, some(t, 4)) }

// TestCO14Clocks is clockCampaign, sampled.
func TestCO14Clocks(t *testing.T) { clockCampaign(t, some(t, 8)) }

// TestPF03Stalled is stalledCampaign, sampled.
func TestPF03Stalled(t *testing.T) {
	r := some(t, 10)
	r.Length = 10 * time.Second
	stalledCampaign(t, r)
}

// TestSoak is soakCampaign, sampled.
func TestSoak(t *testing.T) {
	r := some(t, 0)
	r.Length = 15 * time.Second
	if wide() {
		r.Length = 5 * time.Minute
	}
	soakCampaign(t, r, single)
}
