package simulation

import (
	"strings"
	"testing"
)

// stepsOfSeed is how long one seed is followed: long enough for several stretches with
// faults, short enough for many seeds.
const stepsOfSeed = 2500

// TestPromises is the simulation itself: a million steps, each judged (P1 to P4, P7,
// P9). Twenty times as many with ENTRAIN_TEST_WIDE=1.
func TestPromises(t *testing.T) {
	want := 1_000_000
	if wide() {
		want *= 20
	}
	steps, events, faults, crashes, seeds := 0, 0, 0, 0, 0
	for seed := uint64(0); steps < want; seed++ {
		r := Run(t, Config{Seed: seed, Steps: stepsOfSeed})
		if r.Violation != nil {
			t.Errorf("%s\n%s", r, strings.Join(r.Last, "\n"))
		}
		if r.Events == 0 {
			t.Errorf("%s: nothing happened", r)
		}
		steps, events, faults, crashes, seeds = steps+r.Steps, events+r.Events, faults+r.Faults, crashes+r.Crashes, seeds+1
	}
	t.Logf("%d steps of %d seeds: %d events, %d faults, %d crashes", steps, seeds, events, faults, crashes)
	if faults < steps/200 || crashes < steps/1000 {
		t.Errorf("%d faults and %d crashes in %d steps are too few to say anything", faults, crashes, steps)
	}
}

// TestSameSeedSameRun: ten runs of a seed take the same course, step by step.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range uint64(8) {
		first := Run(t, Config{Seed: seed, Steps: stepsOfSeed})
		for range 9 {
			if again := Run(t, Config{Seed: seed, Steps: stepsOfSeed}); again.String() != first.String() {
				t.Errorf("two runs of one seed differ:\n%s\n%s", first, again)
			}
		}
	}
	if a, b := Run(t, Config{Seed: 1, Steps: 500}), Run(t, Config{Seed: 2, Steps: 500}); a.Hash == b.Hash {
		t.Error("two seeds took the same course")
	}
}
