package campaign

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// simulatedTests are what has to pass.
var simulatedTests = []string{"TestPromises", "TestSameSeedSameRun", "TestPlantedBugs"}

var simulatedSteps = regexp.MustCompile(`\d+ steps of \d+ seeds: .*`)

// simulatedCampaign runs the wide tests of the simulation, as the campaign of planted
// bugs does those of pure cores: what is claimed is what CI runs, only longer. It takes
// the seeds from 0 on, whatever the trial's is. No server is started.
func simulatedCampaign(t testing.TB, r *Trial) {
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-timeout", "60m",
		"-run", "^("+strings.Join(simulatedTests, "|")+")$", "github.com/entrainsync/entrain/internal/simulation")
	cmd.Env = append(os.Environ(), "ENTRAIN_TEST_WIDE=1", "ENTRAIN_TEST_SEED=")
	cmd.WaitDelay = 10 * time.Second // what go test has started outlives it
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(string(out), 8000))
	}
	for _, name := range simulatedTests {
		if !strings.Contains("\n"+string(out), "\n--- PASS: "+name+" (") { // one that is renamed or skipped fails nothing
			t.Errorf("%s did not pass:\n%s", name, tail(string(out), 8000))
		}
	}
	steps := simulatedSteps.FindString(string(out))
	if steps == "" {
		t.Fatalf("no steps were told of:\n%s", tail(string(out), 8000))
	}
	r.claims(t, "no promise broken in "+strings.TrimSpace(steps), nil)
}
