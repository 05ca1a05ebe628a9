package capture

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

var updateCapture = flag.Bool("update-capture", false, "rewrite testdata/capture/*/want.jsonl")

const captureDir = "../../../testdata/capture"

// TestCapture runs every case of testdata/capture on every version: what the
// changes of changes.sql become in native format is want.jsonl (P1, P3, P4).
// testdata/capture/README.md has the form of a case.
func TestCapture(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join(captureDir, "*", "setup.sql"))
	if err != nil || len(cases) < 10 {
		t.Fatalf("only %d cases found: %v", len(cases), err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) { captureCase(t, dir) })
	}
}

func captureCase(t *testing.T, dir string) {
	since := oldestMajor(t, dir)
	updated := map[string]bool{}
	for _, major := range pgtest.Majors(t) {
		if major < since {
			continue
		}
		t.Run(versionName(major), func(t *testing.T) {
			if !*updateCapture {
				t.Parallel()
			}
			wantFile := wantFile(dir, major)
			got := strings.Join(runCase(t, dir, pgtest.CreateDatabase(t, pgtest.Shared(t, major))), "\n") + "\n"
			if *updateCapture && !updated[wantFile] {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				updated[wantFile] = true
			}
			if diff := cmp.Diff(readText(t, wantFile), got); diff != "" {
				t.Errorf("%s differs (-want +got):\n%s", wantFile, diff)
			}
		})
	}
}

// oldestMajor is the first version that has what the case needs.
func oldestMajor(t *testing.T, dir string) int {
	t.Helper()
	words := directive(readText(t, filepath.Join(dir, "setup.sql")), "since")
	if len(words) == 0 {
		return 0
	}
	since, err := strconv.Atoi(words[0])
	if err != nil {
		t.Fatalf("%s: since: %v", dir, err)
	}
	return since
}

// wantFile is what a version captures: want-N.jsonl of the latest N that it is
// not older than, else want.jsonl.
func wantFile(dir string, major int) string {
	for n := major; n >= pgserver.OldestMajor; n-- {
		file := filepath.Join(dir, fmt.Sprintf("want-%d.jsonl", n))
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return filepath.Join(dir, "want.jsonl")
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runCase sets up the case, captures its changes and returns the normalised
// lines.
func runCase(t *testing.T, dir, url string) []string {
	t.Helper()
	setup := readText(t, filepath.Join(dir, "setup.sql"))
	pgtest.Exec(t, url, paragraphs(setup)...)
	cfg := sourceConfig(t, url)
	cfg.Tables = Tables{Include: directive(setup, "include"), Exclude: directive(setup, "exclude")}
	cfg.Publications = directive(setup, "publications")
	src := mustSource(t, cfg)
	from := createSlot(t, src)
	changes := strings.ReplaceAll(readText(t, filepath.Join(dir, "changes.sql")), "ORIGIN", cfg.Slot)
	pgtest.Exec(t, url, paragraphs(changes)...)
	got := captureNow(t, src, from)
	lines := normalise(got.lines)
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], cfg.Slot, "ORIGIN")
	}
	return lines
}

// paragraphs cuts a script at its empty lines: each part is sent as one query,
// a transaction of its own unless it says BEGIN itself.
func paragraphs(script string) []string {
	var parts []string
	for part := range strings.SplitSeq(script, "\n\n") {
		if strings.TrimSpace(part) != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// directive returns the words behind "-- name:" lines of a script.
func directive(script, name string) []string {
	var words []string
	for line := range strings.Lines(script) {
		if rest, found := strings.CutPrefix(line, "-- "+name+":"); found {
			words = append(words, strings.Fields(rest)...)
		}
	}
	return words
}

var (
	eventID = regexp.MustCompile(`^\{"v":1,"id":"source/[0-9]+-[0-9a-f]+/([0-9]+)/`)
	txText  = regexp.MustCompile(`"tx":\{"id":([0-9]+),"version":"[0-9]+","time":("[^"]*"|null)`)
)

// normalise takes out of the lines what differs between two runs: the history,
// versions, transaction ids and times, and shortens long values to a hash.
func normalise(lines []string) []string {
	out := make([]string, len(lines))
	n, version := 0, ""
	for i, line := range lines {
		if m := eventID.FindStringSubmatch(line); m != nil && m[1] != version {
			n, version = n+1, m[1]
		}
		line = eventID.ReplaceAllString(line, fmt.Sprintf(`{"v":1,"id":"tx%d/`, n))
		line = txText.ReplaceAllStringFunc(line, func(text string) string { return normaliseTx(text, n) })
		out[i] = shortenStrings(line)
	}
	return out
}

// shortenStrings replaces the long strings of a line of JSON by a hash.
func shortenStrings(line string) string {
	const long = 400
	var out strings.Builder
	for {
		open := strings.IndexByte(line, '"')
		if open < 0 {
			return out.String() + line
		}
		size := stringSize(line[open+1:])
		text := line[open+1 : open+1+size]
		if size >= long {
			text = fmt.Sprintf("sha256:%.8x of %d bytes", sha256.Sum256([]byte(text)), size)
		}
		out.WriteString(line[:open+1] + text + `"`)
		line = line[open+size+2:]
	}
}

// stringSize returns how many bytes there are before the quote that ends a
// string.
func stringSize(s string) int {
	n := 0
	for s[n] != '"' {
		if s[n] == '\\' {
			n++
		}
		n++
	}
	return n
}

// normaliseTx keeps whether there is a transaction id and a time.
func normaliseTx(text string, n int) string {
	m := txText.FindStringSubmatch(text)
	id, when := "xid", "time"
	if m[1] == "0" {
		id = "0"
	}
	if m[2] == "null" {
		when = "null"
	}
	return fmt.Sprintf(`"tx":{"id":"%s","version":"tx%d","time":"%s"`, id, n, when)
}
