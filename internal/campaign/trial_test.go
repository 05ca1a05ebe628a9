package campaign

import (
	"strings"
	"testing"
)

// quiet is the handle of a campaign that nobody listens to.
func quiet(t *testing.T) *standalone { return newStandalone(t.Context(), "quiet", func(string) {}) }

// TestHarm: a fault that did not happen is done again, and those that did are counted.
func TestHarm(t *testing.T) {
	run, r, turns := quiet(t), &Trial{Options: Options{Faults: 3}}, 0
	r.harm(run, func(i int) bool {
		turns++
		if i%2 == 0 {
			return false
		}
		r.happened("a fault")
		return true
	})
	r.enough(run)
	if turns != 6 || r.count("a fault") != 3 || run.Failed() {
		t.Errorf("%d turns, %d faults, %q", turns, r.count("a fault"), run.errors)
	}
	turns = 0
	r.harm(run, func(int) bool { turns++; return false })
	if turns != mostVain || !run.Failed() {
		t.Errorf("%d turns in vain, failed: %v", turns, run.Failed())
	}
}

// TestEnough: a campaign in which fewer faults happened than were asked for has failed.
func TestEnough(t *testing.T) {
	run, r := quiet(t), &Trial{Options: Options{Faults: 2}}
	r.happened("a fault")
	r.conclude(run)
	if len(run.errors) != 1 || !strings.Contains(run.errors[0], "only 1 faults") {
		t.Errorf("%q", run.errors)
	}
}

// TestReportOfAnUnfinishedRun: a report can be made while somebody still finds something,
// and does not change behind that. The race detector looks.
func TestReportOfAnUnfinishedRun(t *testing.T) {
	run, r := quiet(t), &Trial{}
	run.Error("the first")
	began, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := range 1000 {
			run.Error("another one")
			r.happened("a fault")
			if i == 0 {
				close(began)
			}
		}
	}()
	<-began
	p := r.report(Case{Name: "quiet"}, run, r.began)
	found := len(p.Findings)
	<-done
	if p.Verdict != Failed || found < 2 || len(p.Findings) != found || p.Findings[0] != "the first" {
		t.Errorf("%s with %d findings, %d at first", p.Verdict, len(p.Findings), found)
	}
}

// TestScopeEnds: whatever was left for the end is done, also by several at once, and a
// panic there is a finding of the part.
func TestScopeEnds(t *testing.T) {
	run, done, began := quiet(t), 0, make(chan struct{})
	within(run, "a part", func(t testing.TB) {
		t.Cleanup(func() { done++ })
		t.Cleanup(func() { panic("at the end") })
		for range 8 {
			go func() {
				defer func() { began <- struct{}{} }()
				t.Cleanup(func() { done++ })
			}()
		}
		for range 8 {
			<-began
		}
	})
	if done != 9 || len(run.errors) != 1 || !strings.HasPrefix(run.errors[0], "a part: panic: at the end") {
		t.Errorf("%d were done; %q", done, run.errors)
	}
}
