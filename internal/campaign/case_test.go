package campaign

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCasesUseTheirNumbers: what a campaign has a number of is an option that it uses, no
// option is made up, and what is done can be understood without the line before.
func TestCasesUseTheirNumbers(t *testing.T) {
	for _, c := range Cases() {
		for o, has := range map[Option]bool{Faults: c.Full.Faults > 0, Changes: c.Full.Changes > 0, Minutes: c.Full.Length > 0, Major: c.Oldest > 0} {
			if has && !c.Takes(o) {
				t.Errorf("%s has a number of %s and does not use it", c.Name, o)
			}
		}
		if c.Takes(Minutes) && c.Full.Length == 0 {
			t.Errorf("%s goes by time and has none", c.Name)
		}
		if c.Takes(Major) != c.Takes(Seed) {
			t.Errorf("%s: %q: a report has both or neither", c.Name, c.Uses)
		}
		for _, o := range c.Uses {
			if !slices.Contains([]Option{Seed, Major, Faults, Changes, Minutes}, o) {
				t.Errorf("%s uses %q", c.Name, o)
			}
		}
		if strings.HasPrefix(c.About, "the same") || c.About == "" {
			t.Errorf("%s: %q", c.Name, c.About)
		}
	}
}

// TestSqueezeEnds: a campaign that is broken off does not go on squeezing a program that
// the kernel does not kill.
func TestSqueezeEnds(t *testing.T) {
	sleeping, err := startProgram("sleep", nil, "300")
	if err != nil {
		t.Fatal(err)
	}
	defer sleeping.kill()
	p := &pen{folder: t.TempDir(), limit: "limit", events: "events"}
	if err := os.WriteFile(filepath.Join(p.folder, p.events), []byte("oom_kill 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	run := newStandalone(ctx, "squeeze", func(string) {})
	a := &arena{chaos: &chaos{t: run, trial: &Trial{}, rng: rand.New(rand.NewPCG(1, 1))}, programs: []*supervisor{{current: sleeping}}}
	began := time.Now()
	time.AfterFunc(200*time.Millisecond, cancel)
	run.do(func() { p.squeeze(a) })
	if took := time.Since(began); took > 30*time.Second || len(run.errors) != 1 || !strings.Contains(run.errors[0], context.Canceled.Error()) {
		t.Errorf("it took %s: %q", took, run.errors)
	}
}

// TestNextJump: a clock is never set to what it is.
func TestNextJump(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	clocks := []*clock{{}, {ahead: time.Hour}}
	for range 1000 {
		d := next(rng, clocks)
		if d == clocks[0].ahead || d == clocks[1].ahead {
			t.Fatalf("the next is %s of %s and %s", d, clocks[0].ahead, clocks[1].ahead)
		}
		clocks[rng.IntN(2)].ahead = d
	}
}

// TestAnyEnded: sessions that were gone before they could be cut are no fault.
func TestAnyEnded(t *testing.T) {
	if anyEnded(nil) || anyEnded([][]string{{"f"}, {"f"}}) || !anyEnded([][]string{{"f"}, {"t"}}) {
		t.Error("anyEnded")
	}
}
