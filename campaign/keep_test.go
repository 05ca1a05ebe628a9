package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entrainsync/entrain/internal/campaign"
)

// TestDiffers: what is compiled in is a change, also if git does not know it yet.
func TestDiffers(t *testing.T) {
	for status, want := range map[string]bool{"": false, "?? notes.txt\n": false, "?? a/b.go\n": true, "?? go.mod\n": true, " M README.md\n": true} {
		if differs(status) != want {
			t.Errorf("%q: %v", status, !want)
		}
	}
	if stayed("abc", "abc") != "abc" || stayed("abc", "abc+") != "abc+" || stayed("abc", "def") != "abc+" || stayed("abc+", "abc+") != "abc+" {
		t.Error("a commit that changes meanwhile")
	}
}

// TestKeep: a run that was skipped does not replace one that passed; one that failed does.
func TestKeep(t *testing.T) {
	s := settings{folder: t.TempDir()}
	for _, step := range []struct{ verdict, left string }{
		{campaign.Passed, campaign.Passed}, {campaign.Skipped, campaign.Passed}, {campaign.Failed, campaign.Failed},
	} {
		if err := s.keep(&campaign.Report{Name: "kill", Commit: "abc", PostgreSQL: 15, Verdict: step.verdict}, t.Output()); err != nil {
			t.Fatal(err)
		}
		e, err := readEvidence(s.folder)
		if err != nil || len(e.reports) != 1 || e.reports[0].Verdict != step.left {
			t.Errorf("behind %s: %v", step.verdict, err)
		}
	}
}

// TestShortIsNotWhole: a report of which less was asked is no proof of a row.
func TestShortIsNotWhole(t *testing.T) {
	s := settings{folder: t.TempDir()}
	if err := s.keep(&campaign.Report{Name: "kill", Commit: "abc", PostgreSQL: 15, Verdict: campaign.Passed, Asked: " --faults 1"}, t.Output()); err != nil {
		t.Fatal(err)
	}
	e, err := readEvidence(s.folder)
	if err != nil || len(e.of("kill")) != 1 || len(e.whole("kill")) != 0 {
		t.Errorf("%v", err)
	}
	if err := os.Rename(filepath.Join(s.folder, "kill-pg15-short.json"), filepath.Join(s.folder, "kill-pg15.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := readEvidence(s.folder); err == nil {
		t.Error("a report under another one's name is read")
	}
}

// TestFolders: what cannot be written or read is told at once.
func TestFolders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if writable(file) == nil || writable(filepath.Join(filepath.Dir(file), "new")) != nil {
		t.Error("writable")
	}
	if _, err := keepPage(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("a page of a folder that is not there")
	}
}
