package campaign

import (
	"strings"
	"testing"
)

// TestReportTable: what a campaign says of its parts is in both forms of the report.
func TestReportTable(t *testing.T) {
	p := &Report{Name: "n", Verdict: Passed, Said: "2 of 2 bugs caught", Notes: []string{"a note"}, Table: [][]string{{"bug", "by"}, {"a|b", "rows"}}}
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
