package simulation

import (
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wide reports whether the long run was asked for.
func wide() bool { return os.Getenv("ENTRAIN_TEST_WIDE") != "" }

// TestSeed runs the one seed of ENTRAIN_TEST_SEED and prints its trace;
// ENTRAIN_TEST_PLANT is the name of a bug that is planted.
func TestSeed(t *testing.T) {
	text := os.Getenv("ENTRAIN_TEST_SEED")
	if text == "" {
		t.Skip("ENTRAIN_TEST_SEED names no seed")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Seed: seed, Steps: stepsOfSeed, Trace: os.Stdout}
	for _, p := range Plants() {
		if p.String() == os.Getenv("ENTRAIN_TEST_PLANT") {
			c.Plant = p
		}
	}
	r := Run(t, c)
	if r.Violation != nil {
		t.Fatal(r)
	}
	t.Log(r)
}
