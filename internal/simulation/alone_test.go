package simulation

import (
	"os/exec"
	"strings"
	"testing"
)

// TestAlone: outside of a test the same seed is the same run, with and without a
// violation.
func TestAlone(t *testing.T) {
	got, err := exec.CommandContext(t.Context(), "go", "run", "./testdata/alone").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	want := Run(t, Config{Seed: 3, Steps: 300}).String() + "\n" +
		Run(t, Config{Seed: 3, Steps: 2500, Plant: PlantFeedbackBeforeSaved}).String() + "\n"
	if string(got) != want || !strings.Contains(want, "P7 broken") {
		t.Errorf("the program says\n%s, want\n%s", got, want)
	}
}
