package campaign

import (
	"os"
	"strings"
	"testing"
)

// TestReportTable: what a campaign says of its parts is in both forms of the report.
func TestReportTable(t *testing.T) {
	p := &Report{Name: "n", Commit: "c", Verdict: Passed, Said: "2 of 2 bugs caught", Notes: []string{"a note"}, Table: [][]string{{"bug", "by"}, {"a|b", "rows"}}}
	text := p.Markdown()
	for _, want := range []string{"# n: passed\n\n2 of 2 bugs caught (", "\n\n| bug | by |\n|---|---|\n| a\\|b | rows |\n", "\n- a note\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	kept, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(kept)
	if err != nil || again.Claim() != "2 of 2 bugs caught" || len(again.Table) != 2 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestParseRefuses: what no campaign writes is no report; one without a format's number is.
func TestParseRefuses(t *testing.T) {
	const old = `{"name":"kill","commit":"abc","verdict":"passed"}`
	if _, err := Parse([]byte(old)); err != nil {
		t.Errorf("an old report: %v", err)
	}
	for _, text := range []string{
		"{}", `{"commit":"abc","verdict":"passed"}`, `{"name":"kill","verdict":"passed"}`, `{"name":"kill","commit":"abc","verdict":"good"}`,
		`{"name":"kill","commit":"abc","verdict":"passed","findings":["x"]}`, `{"name":"kill","commit":"abc","verdict":"passed","skipped":"x"}`,
		`{"format":2,"name":"kill","commit":"abc","verdict":"passed"}`,
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is a report", text)
		}
	}
}

// TestClaimOfAFailure: it begins with what was found.
func TestClaimOfAFailure(t *testing.T) {
	p := &Report{Verdict: Failed, Findings: []string{"rows: differ\nmore", "b"}, Outcome: Outcome{Changes: 9, Counted: 4}}
	if got := p.Claim(); !strings.HasPrefix(got, "2 findings, the first: rows: differ; ") || !strings.Contains(got, "of 4 changes counted one by one, in a load of 9") {
		t.Errorf("%q", got)
	}
}

// TestKeptFolders: of a campaign that failed there is something to look at, of others
// nothing.
func TestKeptFolders(t *testing.T) {
	for _, fails := range []bool{true, false} {
		var dir, said string
		s := newStandalone(t.Context(), "x", func(line string) { said += line })
		s.do(func() {
			if dir = s.TempDir(); fails {
				s.Error("it failed")
			}
		})
		_, err := os.Stat(dir)
		if kept := err == nil; kept != fails || strings.Contains(said, "kept: "+dir) != fails {
			t.Errorf("failed %v: folder kept %v, %q", fails, kept, said)
		}
		os.RemoveAll(dir)
	}
}
