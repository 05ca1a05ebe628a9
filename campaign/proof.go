package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/entrainsync/entrain/internal/campaign"
)

// The files of the folder of reports that are no reports.
const (
	testsFile = "tests.json"
	foundFile = "found.txt"
)

// evidence is all that the page is made of, besides the rows.
type evidence struct {
	link    string // the folder, from the page
	reports []kept
	tests   *record // nil if no run is kept
	found   []finding
}

// kept is a report and its file's name without the ending.
type kept struct {
	*campaign.Report
	file string
}

// finding is something that was wrong: a line of found.txt, three parts between bars.
type finding struct{ by, wrong, guard string }

// readEvidence reads a folder of reports. What is not there is no evidence, and no error.
func readEvidence(folder string) (*evidence, error) {
	e := &evidence{link: path.Base(filepath.ToSlash(folder))}
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if filepath.Base(file) == testsFile {
			e.tests = &record{}
			if err := json.Unmarshal(text, e.tests); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			continue
		}
		report, err := campaign.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if want := baseName(report); name != want {
			return nil, fmt.Errorf("%s: the report in it belongs into %s.json", file, want)
		}
		e.reports = append(e.reports, kept{report, name})
	}
	e.found, err = readFoundIn(folder)
	return e, err
}

// readFoundIn reads a folder's found.txt, which need not be there.
func readFoundIn(folder string) ([]finding, error) {
	text, err := os.ReadFile(filepath.Join(folder, foundFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readFound(string(text))
}

// readFound reads found.txt.
func readFound(text string) ([]finding, error) {
	var all []finding
	for line := range strings.Lines(text) {
		parts := strings.Split(strings.TrimSpace(line), " | ")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%s: a line has to be WHAT FOUND IT | WHAT WAS WRONG | WHAT GUARDS IT: %q", foundFile, line)
		}
		all = append(all, finding{parts[0], parts[1], parts[2]})
	}
	return all, nil
}

// keepPage writes the page of a folder of reports beside that folder.
func keepPage(folder string) (int, error) {
	if _, err := os.ReadDir(folder); err != nil {
		return 0, err
	}
	e, err := readEvidence(folder)
	if err != nil {
		return 0, err
	}
	return exitOK, os.WriteFile(filepath.Clean(folder)+".md", []byte(e.page(groups())), 0o644)
}

// result returns how a test ended last, or nil.
func (e *evidence) result(name testName) *result {
	if e.tests == nil {
		return nil
	}
	for i := range e.tests.Tests {
		if t := &e.tests.Tests[i]; t.Package == name.folder && t.Name == name.name {
			return t
		}
	}
	return nil
}

// of returns the reports of a campaign, one for each version that it ran on.
func (e *evidence) of(name string) []kept {
	var found []kept
	for _, r := range e.reports {
		if r.Name == name {
			found = append(found, r)
		}
	}
	return found
}

// whole returns those of the reports of a campaign for which nothing less was asked.
func (e *evidence) whole(name string) []kept {
	return slices.DeleteFunc(e.of(name), func(r kept) bool { return r.Asked != "" })
}

// showing are the campaigns that show a case.
func showing(id string) []campaign.Case {
	var cases []campaign.Case
	for _, c := range campaign.Cases() {
		for _, shown := range c.IDs {
			if shown == id {
				cases = append(cases, c)
			}
		}
	}
	return cases
}
