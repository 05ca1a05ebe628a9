package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/campaign"
)

// asked are the cases that have to be on the page: a prefix, then numbers.
var asked = []string{
	"PG- 01 02 05 07 08 09 10 11 12 13 14 15 16 18 19 21 22 23 25 26 28 29 31 33",
	"MY- 01 02 04 05 06 07",
	"ST- 01 03 04 05 07 09 10",
	"CO- 01 03 04 06 08 09 10 11 13 14 15 16 17 18",
	"CR- 01 02 03 04 07 08",
	"BI- 01 02 05",
	"SE- 01 02 04 05 06 07 08 10 12 13",
	"PF- 01 03 04 05 06",
	"checker_ 1 2 3 4 5 6 7 8",
	"bug_ 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18",
}

// TestRowsAreTrue: each case is there once, says what shows it or why nothing does, and
// what it names exists.
func TestRowsAreTrue(t *testing.T) {
	var want, got []string
	for _, line := range asked {
		words := strings.Fields(line)
		for _, number := range words[1:] {
			want = append(want, strings.ReplaceAll(words[0], "_", " ")+number)
		}
	}
	source := sources{}
	for _, g := range groups() {
		for _, r := range g.rows {
			got = append(got, r.id)
			for _, text := range r.wrong(source) {
				t.Errorf("%s: %s", r.id, text)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the cases are\n%q, want\n%q", got, want)
	}
	for _, c := range campaign.Cases() {
		for _, id := range c.IDs {
			if !slices.Contains(got, id) {
				t.Errorf("campaign %s shows %s, which is no case", c.Name, id)
			}
		}
	}
}

// wrong is what is wrong with a row.
func (r row) wrong(s sources) []string {
	var found []string
	shown := r.tests != "" || len(showing(r.id)) > 0
	if shown == (r.missing != "") {
		found = append(found, "a case has either what shows it or the reason why nothing does")
	}
	if r.title == "" || r.short != "" && !shown {
		found = append(found, "the title lacks, or what is not shown of nothing is named")
	}
	return append(found, s.lacking(r.tests)...)
}

// TestWrongRowsAreSeen: the check above can fail.
func TestWrongRowsAreSeen(t *testing.T) {
	for name, r := range map[string]row{
		"nothing":            {id: "PG-33", title: "x"},
		"shown and missing":  {id: "PG-33", title: "x", tests: "capture.TestCapture", missing: "y"},
		"missing with a run": {id: "CR-02", title: "x", missing: "y"},
		"no function":        {id: "PG-33", title: "x", tests: "capture.TestNobodyWrote"},
		"no test":            {id: "PG-33", title: "x", tests: "capture.runCase"},
		"no folder":          {id: "PG-33", title: "x", tests: "nowhere.TestCapture"},
		"no case of capture": {id: "PG-33", title: "x", tests: "capture.TestCapture/no-case-of-that-name"},
		"no subtest":         {id: "PG-33", title: "x", tests: "kafka.TestOwnBroker/no-case-of-that-name"},
		"short of nothing":   {id: "PG-33", title: "x", short: "z", missing: "y"},
	} {
		if len(r.wrong(sources{})) == 0 {
			t.Errorf("%s: passes", name)
		}
	}
	r := row{id: "PG-33", title: "x", tests: "capture.TestCapture/toast kafka.TestOwnBroker/denied_topic pgoutput.FuzzParse"}
	if text := r.wrong(sources{}); text != nil {
		t.Errorf("a good row: %q", text)
	}
}

// TestFoundIsTrue: what guards a finding exists.
func TestFoundIsTrue(t *testing.T) {
	e, err := readEvidence(filepath.Join("..", reportsFolder))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.found) == 0 || len(e.found) > 60 {
		t.Errorf("%d findings; want some, and not more than people read", len(e.found))
	}
	for _, f := range e.found {
		if f.by == "" || f.wrong == "" || f.guard == "" {
			t.Errorf("a part of %+v is empty", f)
		}
		for _, text := range (sources{}).lacking(f.guard) {
			t.Errorf("%s: %s", f.wrong, text)
		}
	}
}

// sources are the test functions and the texts in quotes of folders' test files.
type sources map[string]map[string]bool

// lacking says which of the names of tests are those of none.
func (s sources) lacking(names string) []string {
	var found []string
	for _, name := range testNames(names) {
		if name.folder == "" || !s.has(name) {
			found = append(found, fmt.Sprintf("there is no test %s", name))
		}
	}
	return found
}

func (s sources) has(name testName) bool {
	if s[name.folder] == nil {
		s[name.folder] = testSource(filepath.Join("..", filepath.FromSlash(name.folder)))
	}
	top, sub, divided := strings.Cut(name.name, "/")
	if !s[name.folder]["func "+top] || !strings.HasPrefix(top, "Test") && !strings.HasPrefix(top, "Fuzz") {
		return false
	}
	if !divided || s[name.folder][sub] {
		return true
	}
	_, err := os.Stat(filepath.Join("..", "testdata", "capture", sub, "setup.sql"))
	return top == "TestCapture" && err == nil
}

// testSource reads a folder's test files: "func " and the name of each function, and
// each text in quotes as go test names a subtest after it.
func testSource(folder string) map[string]bool {
	names := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(folder, "*_test.go"))
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // its names lack
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					names["func "+n.Name.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil {
					names[strings.ReplaceAll(text, " ", "_")] = true
				}
			}
			return true
		})
	}
	return names
}
