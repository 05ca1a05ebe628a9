package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// record is what is kept of a run of the tests: docs/proof/tests.json.
type record struct {
	Commit     string `json:"commit"`
	Date       string `json:"date"`
	Go         string `json:"go"`
	PostgreSQL string `json:"postgresql"`
	Switches   string `json:"switches,omitempty"`
	// Packages had tests; Passed, Failed and Skipped are their test functions.
	Packages int `json:"packages"`
	Passed   int `json:"passed"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
	// Failures are the functions, and packages without one, that failed.
	Failures []string `json:"failures,omitempty"`
	// Tests are those that a row names, sorted.
	Tests []result `json:"tests"`
}

// result is how one test ended.
type result struct {
	Package string   `json:"package"`
	Name    string   `json:"name"`
	Result  string   `json:"result"` // pass, fail or skip
	Seconds float64  `json:"seconds"`
	Claims  []string `json:"claims,omitempty"`
}

// testEvent is a line of go test -json.
type testEvent struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

const (
	module      = "github.com/entrainsync/entrain/"
	mostClaims  = 4
	claimLength = 300
	keptOutput  = 200 // lines of a test that are shown if it fails
)

// running is a test that has begun.
type running struct {
	claims []string
	output []string
}

// recorder reads the events of a run.
type recorder struct {
	record
	wanted   map[testName]bool
	running  map[testName]*running
	packages map[string]bool // with tests
	broken   map[string]bool // with a test that failed
	started  map[string]bool // packages that have not ended
	log      io.Writer       // gets what failed, and a line a package
}

// readTests makes a record of what go test -json says. Output that is no JSON, as that
// of a build, is passed on to log. Input that ends before its tests do is a failure of
// these tests.
func readTests(in io.Reader, wanted map[testName]bool, log io.Writer) (*record, error) {
	r := &recorder{wanted: wanted, running: map[testName]*running{}, packages: map[string]bool{}, broken: map[string]bool{}, started: map[string]bool{}, log: log}
	events := 0
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		var e testEvent
		switch {
		case strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil:
			events++
			r.take(e)
		default:
			io.WriteString(log, line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the tests' events: %w", err)
		}
	}
	if events == 0 {
		return nil, errors.New("no events: the input has to be that of go test -json")
	}
	for name := range r.running {
		r.end(name, "fail", 0)
	}
	for folder := range r.started { // cut off
		r.failPackage(folder)
	}
	r.Packages = len(r.packages)
	slices.Sort(r.Failures)
	slices.SortFunc(r.Tests, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Name, b.Name))
	})
	return &r.record, nil
}

func (r *recorder) take(e testEvent) {
	folder := strings.TrimPrefix(e.Package, module)
	if e.Test == "" {
		r.takePackage(folder, e)
		return
	}
	name := testName{folder, e.Test}
	switch e.Action {
	case "run":
		r.packages[folder] = true
		r.running[name] = &running{}
	case "output":
		r.said(name, e.Output)
	case "pass", "fail", "skip":
		r.end(name, e.Action, e.Elapsed)
	}
}

// takePackage takes an event that is about no test: what cannot be built, or ends
// outside of its tests, is a failure of its own.
func (r *recorder) takePackage(folder string, e testEvent) {
	switch e.Action {
	case "output", "build-output":
		if !strings.HasPrefix(e.Output, "PASS") && strings.TrimSpace(e.Output) != "" {
			io.WriteString(r.log, e.Output)
		}
	case "start":
		r.started[folder] = true
	case "pass", "skip":
		delete(r.started, folder)
	case "fail":
		delete(r.started, folder)
		r.failPackage(folder)
	}
}

// failPackage counts a package that failed, unless a test of it did.
func (r *recorder) failPackage(folder string) {
	if !r.broken[folder] {
		r.Failed++
		r.Failures = append(r.Failures, folder)
	}
}

// said takes a line that a test has written: it is the test's, and that of the
// function that it is a subtest of.
func (r *recorder) said(name testName, line string) {
	now := r.running[name]
	if now == nil {
		return
	}
	if now.output = append(now.output, line); len(now.output) > keptOutput {
		now.output = now.output[1:]
	}
	claim := claimOf(line)
	if claim == "" {
		return
	}
	for _, of := range []testName{name, {name.folder, name.top()}} {
		if to := r.running[of]; to != nil && len(to.claims) < mostClaims && !slices.Contains(to.claims, claim) {
			to.claims = append(to.claims, claim)
		}
	}
}

// end takes how a test ended.
func (r *recorder) end(name testName, how string, seconds float64) {
	now := r.running[name]
	if now == nil {
		return
	}
	delete(r.running, name)
	if how == "fail" {
		fmt.Fprintf(r.log, "--- FAIL: %s\n%s", name, strings.Join(now.output, ""))
		r.broken[name.folder] = true
	}
	if name.top() == name.name {
		switch how {
		case "pass":
			r.Passed++
		case "skip":
			r.Skipped++
		default:
			r.Failed++
			r.Failures = append(r.Failures, name.String())
		}
	}
	if r.wanted[name] {
		r.keep(result{name.folder, name.name, how, seconds, now.claims})
	}
}

// keep keeps how a test ended: the worst end if it ran more than once.
func (r *recorder) keep(t result) {
	order := []string{"pass", "skip", "fail"}
	for i, old := range r.Tests {
		if old.Package != t.Package || old.Name != t.Name {
			continue
		}
		if slices.Index(order, t.Result) > slices.Index(order, old.Result) {
			r.Tests[i] = t
		}
		return
	}
	r.Tests = append(r.Tests, t)
}

var (
	claimWords  = regexp.MustCompile(`\b(lost|duplicated|changes|faults|values|comparisons|histories|steps|kills)\b|\b[0-9]+ of [0-9]+ caught\b`)
	claimNumber = regexp.MustCompile(`\b[0-9]`)
	claimPlace  = regexp.MustCompile(`^\s*[a-z0-9_]+\.go:[0-9]+: `)
	notAClaim   = regexp.MustCompile(`level=|(^|[\s"'=(:])/[a-z]|^\s*(===|---)`) // a log's line, a path of this machine
)

// claimOf returns what a line of a test's log counts, or "".
func claimOf(line string) string {
	text := strings.TrimSpace(claimPlace.ReplaceAllString(line, ""))
	if !claimPlace.MatchString(line) || notAClaim.MatchString(text) || !claimWords.MatchString(text) || !claimNumber.MatchString(text) {
		return ""
	}
	if runes := []rune(text); len(runes) > claimLength {
		return string(runes[:claimLength]) + "…"
	}
	return text
}

// keepTests reads events and writes the record of them into a folder.
func keepTests(folder string, in io.Reader, log io.Writer) (int, error) {
	tested := commit() // before somebody goes on working
	found, err := readFoundIn(folder)
	if err != nil {
		return 0, err
	}
	r, err := readTests(in, namedTests(groups(), found), log)
	if err != nil {
		return 0, err
	}
	r.Commit, r.Date = tested, time.Now().UTC().Format(time.DateOnly)
	r.Go = runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	r.PostgreSQL = cmp.Or(strings.ReplaceAll(os.Getenv("ENTRAIN_TEST_PG"), " ", ""), "15,18")
	var switches []string
	for _, name := range []string{"ENTRAIN_TEST_WIDE", "ENTRAIN_TEST_LEAST"} {
		if value := os.Getenv(name); value != "" { // any text switches it on
			switches = append(switches, name+"="+value)
		}
	}
	r.Switches = strings.Join(switches, " ")
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(folder, testsFile), append(text, '\n'), 0o644); err != nil {
		return 0, err
	}
	fmt.Fprintf(log, "%d tests passed, %d failed, %d were skipped; %d are kept\n", r.Passed, r.Failed, r.Skipped, len(r.Tests))
	if r.Failed > 0 {
		return exitFindings, nil
	}
	return exitOK, nil
}
