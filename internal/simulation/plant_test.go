package simulation

import (
	"fmt"
	"strings"
	"testing"
)

// mostSeeds is after how many seeds a planted bug has to be found.
const mostSeeds = 300

// TestPlantedBugs: each bug is found, within seconds; the seed that finds it does so ten
// times of ten, at the same step and in the same words.
func TestPlantedBugs(t *testing.T) {
	for _, p := range Plants() {
		t.Run(p.String(), func(t *testing.T) {
			found := hunt(t, p)
			if found.Violation == nil {
				t.Fatalf("%d seeds do not find it", mostSeeds)
			}
			t.Log(found)
			if !strings.Contains(breaks[p], found.Violation.Promise) {
				t.Errorf("it is taken for something else: want %s", breaks[p])
			}
			for n := range 10 {
				again := Run(t, Config{Seed: found.Seed, Steps: stepsOfSeed, Plant: p})
				if again.String() != found.String() {
					t.Fatalf("replay %d of a failing seed took another course:\n%s", n+1, again)
				}
			}
		})
	}
}

// breaks is what each bug may be taken for.
var breaks = map[Plant]string{
	PlantAckBeforeDurable: "P1 P7", PlantFeedbackBeforeSaved: "P7", PlantSkipAfterReconnect: "P1", PlantDropRarely: "P1",
	PlantSwapKey: "P1 P3", PlantWriteTwice: "P2", PlantPositionApart: "P2", PlantForgetKeys: "P2", PlantNoFence: "P1 P2",
	PlantPartsVisible: "P4", PlantSaveLater: "P2 P5 P7", PlantMarkForgotten: "P2", PlantStreamForgets: "P1 P7",
	PlantStreamUnfenced: "P1 P2 P5", PlantTrimAhead: "P5", PlantMissedWake: "P9", PlantReuseMemory: "P1 P5", PlantGivesUp: "P9", PlantLetterLost: "P1 P3",
}

// hunt tries seeds until one finds the bug.
func hunt(t *testing.T, p Plant) (r Report) {
	t.Helper()
	for seed := range uint64(mostSeeds) {
		if r = Run(t, Config{Seed: seed, Steps: stepsOfSeed, Plant: p}); r.Violation != nil {
			return r
		}
	}
	return r
}

// TestPlantsHaveNames: ENTRAIN_TEST_PLANT finds a bug by its name.
func TestPlantsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Plants() {
		if name := p.String(); name == "" || seen[name] {
			t.Errorf("bug %d is called %q", p, name)
		}
		seen[p.String()] = true
	}
	if got := fmt.Sprint(PlantNone, plants); got != "none letter lost" {
		t.Errorf("the first and what is behind the last are %s", got)
	}
}
