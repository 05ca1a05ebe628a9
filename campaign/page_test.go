package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/internal/campaign"
)

// TestPageIsCurrent: docs/proof.md is what is written from its inputs, so that nobody
// edits it, and it is not older than they are.
func TestPageIsCurrent(t *testing.T) {
	folder := filepath.Join("..", reportsFolder)
	e, err := readEvidence(folder)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(folder + ".md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.page(groups()), string(got)); diff != "" {
		t.Errorf("go run ./campaign proof writes it anew (-written +there):\n%s", diff)
	}
}

// TestPage: a page has what its inputs have, results that lack included.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "kept")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*campaign.Report{
		{Name: "postmaster", Verdict: campaign.Passed, About: "a | b", Seed: 7, Commit: "abc", PostgreSQL: 15, Seconds: 65, Outcome: campaign.Outcome{Changes: 200}},
		{Name: "mutants", Verdict: campaign.Failed, Commit: "def", PostgreSQL: 15, Table: [][]string{{"bug", "in", "tried", "by"}, {"bug one", "a", "b", "2 s"}, {"skip truncates", "a", "b", "rows"}}},
	} {
		text, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		write(r.Name+"-pg15.json", string(text))
	}
	write(foundFile, "the kill campaign | it was <bad> | capture.TestCapture apply.TestAlter\n")
	write(testsFile, `{"commit":"abc","date":"2001-02-03","go":"go1","postgresql":"15","passed":2,"failed":1,"failures":["a.TestB"],
"tests":[{"package":"connector/postgres/capture","name":"TestCapture/toast","result":"pass","seconds":1.25,"claims":["7 values"]}]}`)
	if code, err := keepPage(folder + string(filepath.Separator)); err != nil || code != exitOK {
		t.Fatalf("code %d, %v", code, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kept.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"2 passed, 1 failed", "FAILED: `a.TestB`", "2 reports, at commit `def`, `abc`",
		`| [postmaster](kept/postmaster-pg15.md) | a \| b | passed | 0 lost, 0 duplicated, 0 reordered of 0 changes counted one by one, in a load of 200, under 0 faults | 7 | ` + "`abc` | 15 | 1m5s |",
		"| kill | the program is killed at random while servers crash and sessions are cut | no result kept |",
		"| bug | in | tried | by |\n|---|---|---|---|\n| bug one | a | b | 2 s |", "failed, skip truncates: by rows<br>", "failed, resume by row: no result kept<br>", "In part: campaign.TestMutantsAreCaught plants two", "`connector/postgres/capture.TestCapture/toast`: passed, 1.2 s; 7 values<br>",
		"`connector/postgres/capture.TestCopySharedLSN`: no result kept", "| CR-02 | the source's and the target's server are killed 100 times each | campaign [postmaster](kept/postmaster-pg15.md): passed, 0 lost",
		"Not possible yet: there is no capture by polling.", "| it was &lt;bad> | `connector/postgres/capture.TestCapture`: no result kept<br>`connector/postgres/apply.TestAlter`: no result kept |",
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// TestReportsCanBeHadAgain: what is kept is of a commit without changes, and of a
// campaign that there is.
func TestReportsCanBeHadAgain(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "docs", "proof", "*-pg*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d reports, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := campaign.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, known := campaign.Find(r.Name); !known || !commitHash.MatchString(r.Commit) {
			t.Errorf("%s: campaign %s at commit %s", file, r.Name, r.Commit)
		}
	}
}

// TestCovers: what spares a campaign is a whole run that passed, of the same commit.
func TestCovers(t *testing.T) {
	now := settings{commit: "0123456789"}
	good := campaign.Report{Verdict: campaign.Passed, Commit: "0123456789"}
	if !now.covers(&good, "") {
		t.Error("a good report does not count")
	}
	for what, spoil := range map[string]func(r *campaign.Report, s *settings){
		"it failed":            func(r *campaign.Report, _ *settings) { r.Verdict = campaign.Failed },
		"it was skipped":       func(r *campaign.Report, _ *settings) { r.Verdict = campaign.Skipped },
		"less was asked for":   func(r *campaign.Report, _ *settings) { r.Asked = " --faults 3" },
		"of another commit":    func(_ *campaign.Report, s *settings) { s.commit = "abcdef0123" },
		"files were changed":   func(r *campaign.Report, s *settings) { r.Commit, s.commit = "0123456789+", "0123456789+" },
		"nobody knows of what": func(r *campaign.Report, s *settings) { r.Commit, s.commit = "unknown", "unknown" },
	} {
		r, s := good, now
		if spoil(&r, &s); s.covers(&r, "") {
			t.Errorf("it counts, though %s", what)
		}
	}
}

// TestFoundIsRead: a line of another form is an error, not left out.
func TestFoundIsRead(t *testing.T) {
	if _, err := readFound("a | b | c\nd | e\n"); err == nil {
		t.Error("a line of two parts is a finding")
	}
	found, err := readFound("a | b | c\n")
	if diff := cmp.Diff([]finding{{"a", "b", "c"}}, found, cmp.AllowUnexported(finding{})); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// TestPaperUsage: what is no flag of record and proof is a wrong command line.
func TestPaperUsage(t *testing.T) {
	for _, args := range [][]string{{"record", "much"}, {"proof", "--seed", "1"}, {"proof", "--out", t.TempDir(), "more"}} {
		if code := run(t.Context(), args, output{t.Output(), t.Output()}); code != exitUsage {
			t.Errorf("%q: code %d", args, code)
		}
	}
}
