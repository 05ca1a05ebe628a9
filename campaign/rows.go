package main

import (
	"slices"
	"strings"
)

// row is a case of what has to be proven, and what proves it. Campaigns name the
// rows that they show by themselves (campaign.Case.IDs).
type row struct {
	id, title string
	tests     string // what shows it: FOLDER.TestName or FOLDER.TestName/subtest, with a short name of folders, separated by spaces
	short     string // which part of the case that does not show
	missing   string // why nothing shows it: what the product or the tests lack
}

// group is rows that belong together.
type group struct {
	title string
	rows  []row
}

// groups are all rows, each id once. TestRowsAreTrue holds them to the source.
func groups() []group {
	return []group{
		{"Capture: PostgreSQL", captureRows},
		{"Capture: MySQL and MariaDB", mysqlRows},
		{"Stream", streamRows},
		{"Engine and sinks", sinkRows},
		{"Campaigns", campaignRows},
		{"Both ways", bothWaysRows},
		{"Security", securityRows},
		{"Bounds", boundRows},
		{"Checkers: what looks, and what shows that it would see", checkerRows},
		{"Planted bugs", mutantRows},
	}
}

// folders are the short names of folders in rows and in found.txt.
var folders = map[string]string{
	"admin":       "internal/admin",
	"apply":       "connector/postgres/apply",
	"applyplan":   "connector/postgres/applyplan",
	"backfill":    "pipeline/backfill",
	"blockconn":   "connector/postgres/blockconn",
	"campaign":    "internal/campaign",
	"capture":     "connector/postgres/capture",
	"contract":    "contract",
	"corpus":      "internal/corpus",
	"dedup":       "pipeline/dedup",
	"dial":        "connector/postgres/dial",
	"encoding":    "encoding",
	"entrain":     "cmd/entrain",
	"entraintest": "entraintest",
	"fanout":      "fanout",
	"file":        "connector/file",
	"frame":       "stream/frame",
	"kafka":       "connector/kafka",
	"letters":     "internal/letters",
	"nats":        "connector/nats",
	"packed":      "stream/packed",
	"parking":     "pipeline/parking",
	"pgbinary":    "connector/postgres/pgbinary",
	"pgoutput":    "connector/postgres/pgoutput",
	"pipeline":    "pipeline",
	"preflight":   "connector/postgres/preflight",
	"redis":       "connector/redis",
	"registry":    "registry",
	"sbom":        "internal/sbom",
	"simulation":  "internal/simulation",
	"snapshot":    "connector/postgres/snapshot",
	"store":       "internal/store",
	"throwaway":   "internal/throwaway",
	"versiongate": "connector/postgres/versiongate",
	"window":      "fanout/window",
}

// testName names a test of the repository.
type testName struct {
	folder string // from the repository's root
	name   string // of the function, and behind a slash of the subtest
}

// top is the test function's name.
func (n testName) top() string {
	top, _, _ := strings.Cut(n.name, "/")
	return top
}

func (n testName) String() string { return n.folder + "." + n.name }

// testNames reads names that are separated by spaces. What has another form, or an
// unknown folder, has no folder.
func testNames(text string) []testName {
	var names []testName
	for word := range strings.FieldsSeq(text) {
		short, name, _ := strings.Cut(word, ".")
		names = append(names, testName{folders[short], name})
	}
	return names
}

// part says which part of the case is not shown.
func (r row) part() string {
	const byChance = "campaign.TestMutantsAreCaught plants two bugs by chance, all of them in the wide run"
	switch {
	case !slices.Contains(strings.Fields(r.tests), sampleCaught):
		return r.short
	case r.short == "":
		return byChance
	}
	return r.short + "; " + byChance
}

// namedTests are the tests that rows and the guards of findings name.
func namedTests(all []group, found []finding) map[testName]bool {
	named := map[testName]bool{}
	for _, g := range all {
		for _, r := range g.rows {
			for _, name := range testNames(r.tests) {
				named[name] = true
			}
		}
	}
	for _, f := range found {
		for _, name := range testNames(f.guard) {
			named[name] = true
		}
	}
	return named
}
