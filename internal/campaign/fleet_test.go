package campaign

import "testing"

// TestWorkers is ST-03, sampled.
func TestWorkers(t *testing.T) {
	t.Parallel()
	r := sampled(t, 4, 0)
	if wide() {
		r.Faults = 200
	}
	workersCampaign(t, r)
}

// TestWorkersKeepTransactions is the same with one partition.
func TestWorkersKeepTransactions(t *testing.T) {
	t.Parallel()
	r := sampled(t, 2, 0)
	if wide() {
		r.Faults = 100
	}
	orderedWorkersCampaign(t, r)
}
