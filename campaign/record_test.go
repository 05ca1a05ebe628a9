package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// said is what go test -json says, shortened: a test with a subtest and claims, one that
// fails, one that is skipped, one that nobody wants, a package that cannot be built, and
// a test whose end is cut off, and a package that began only.
const said = `# some output of a build
{"Action":"start","Package":"github.com/entrainsync/entrain/a"}
{"Action":"run","Package":"github.com/entrainsync/entrain/a","Test":"TestOne"}
{"Action":"run","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub","Output":"    one_test.go:7: 0 lost, 0 duplicated of 70 changes\n"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub","Output":"    one_test.go:8: level=INFO 7 changes\n"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub","Output":"    one_test.go:9: 7 changes in /tmp/x\n"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub","Output":"7 changes without a place\n"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestOne","Output":"    one_test.go:10: 15 of 15 caught\n"}
{"Action":"pass","Package":"github.com/entrainsync/entrain/a","Test":"TestOne/sub","Elapsed":1.5}
{"Action":"pass","Package":"github.com/entrainsync/entrain/a","Test":"TestOne","Elapsed":2}
{"Action":"run","Package":"github.com/entrainsync/entrain/a","Test":"TestTwo"}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Test":"TestTwo","Output":"    two_test.go:3: not equal\n"}
{"Action":"fail","Package":"github.com/entrainsync/entrain/a","Test":"TestTwo","Elapsed":0.5}
{"Action":"run","Package":"github.com/entrainsync/entrain/a","Test":"TestThree"}
{"Action":"skip","Package":"github.com/entrainsync/entrain/a","Test":"TestThree","Elapsed":0}
{"Action":"run","Package":"github.com/entrainsync/entrain/a","Test":"TestFour"}
{"Action":"pass","Package":"github.com/entrainsync/entrain/a","Test":"TestFour","Elapsed":0}
{"Action":"output","Package":"github.com/entrainsync/entrain/a","Output":"FAIL\tgithub.com/entrainsync/entrain/a\t3s\n"}
{"Action":"fail","Package":"github.com/entrainsync/entrain/a","Elapsed":3}
{"Action":"fail","Package":"github.com/entrainsync/entrain/b","Elapsed":0}
{"Action":"run","Package":"github.com/entrainsync/entrain/c","Test":"TestCut"}
{"Action":"start","Package":"github.com/entrainsync/entrain/d"}
`

// TestReadTests: what is wanted is kept with its end and what it counted, everything is
// counted, and what fails is shown.
func TestReadTests(t *testing.T) {
	wanted := map[testName]bool{}
	for _, name := range []string{"TestOne", "TestOne/sub", "TestTwo", "TestThree", "TestNobodyRan"} {
		wanted[testName{"a", name}] = true
	}
	var log strings.Builder
	got, err := readTests(strings.NewReader(said), wanted, &log)
	if err != nil {
		t.Fatal(err)
	}
	const lost = "0 lost, 0 duplicated of 70 changes"
	want := &record{Packages: 2, Passed: 2, Failed: 4, Skipped: 1, Failures: []string{"a.TestTwo", "b", "c.TestCut", "d"}, Tests: []result{
		{"a", "TestOne", "pass", 2, []string{lost, "15 of 15 caught"}},
		{"a", "TestOne/sub", "pass", 1.5, []string{lost}},
		{"a", "TestThree", "skip", 0, nil},
		{"a", "TestTwo", "fail", 0.5, nil},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"# some output of a build", "--- FAIL: a.TestTwo", "not equal", "--- FAIL: c.TestCut"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q: %s", part, &log)
		}
	}
}

// TestReadTestsRefuses: what is no run of tests leaves no record.
func TestReadTestsRefuses(t *testing.T) {
	var log strings.Builder
	if _, err := readTests(strings.NewReader("ok  \ta\t1s\n"), nil, &log); err == nil {
		t.Error("output of another form is a run")
	}
	broken := errors.New("broken")
	if _, err := readTests(iotest.ErrReader(broken), nil, &log); !errors.Is(err, broken) {
		t.Errorf("input that breaks: %v", err)
	}
}

// TestClaimsAreBounded: neither many nor long lines make the record large.
func TestClaimsAreBounded(t *testing.T) {
	text := claimOf("    a_test.go:1: " + strings.Repeat("ü 3 changes ", 1000))
	if n := len([]rune(text)); n != claimLength+1 {
		t.Errorf("a claim of %d characters", n)
	}
	name := testName{"a", "TestA"}
	r := &recorder{running: map[testName]*running{name: {}}}
	for i := range 3 * mostClaims {
		r.said(name, "    a_test.go:1: "+strings.Repeat("1", i+1)+" changes\n")
	}
	if n := len(r.running[name].claims); n != mostClaims {
		t.Errorf("%d claims", n)
	}
}

// TestRecordIsKept: the command writes the record, says what it was made with, and tells
// by its code that something failed.
func TestRecordIsKept(t *testing.T) {
	t.Setenv("ENTRAIN_TEST_PG", "14, 16")
	t.Setenv("ENTRAIN_TEST_WIDE", "1")
	t.Setenv("ENTRAIN_TEST_LEAST", "")
	folder := filepath.Join(t.TempDir(), "proof")
	var log strings.Builder
	if code, err := keepTests(folder, strings.NewReader(said), &log); err != nil || code != exitFindings {
		t.Fatalf("code %d, %v", code, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, testsFile))
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.PostgreSQL != "14,16" || r.Switches != "ENTRAIN_TEST_WIDE=1" || r.Commit == "" || r.Date == "" || !strings.HasPrefix(r.Go, "go") || r.Passed != 2 {
		t.Errorf("kept is %s", text)
	}
}

// TestWorstEndIsKept: of a test that ran twice.
func TestWorstEndIsKept(t *testing.T) {
	r := &recorder{}
	for _, how := range []string{"pass", "fail", "pass"} {
		r.keep(result{Package: "a", Name: "TestA", Result: how})
	}
	if len(r.Tests) != 1 || r.Tests[0].Result != "fail" {
		t.Errorf("%+v", r.Tests)
	}
}
