package metrics

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestMetricsAreDocumented: docs/metrics.md has a row for each metric that is
// shown, in it all its labels or the stage's, and no row for another.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(sync_[a-z_]+)` \\|(.*)$").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2]
	}
	described := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	for _, d := range all {
		parts := described.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("not understood: %s", d)
		}
		row, ok := documented[parts[1]]
		if !ok {
			t.Errorf("%s is not documented", parts[1])
		}
		delete(documented, parts[1])
		own := strings.TrimPrefix(parts[2], strings.Join(place, ","))
		for label := range strings.SplitSeq(strings.Trim(own, ","), ",") {
			if label != "" && !strings.Contains(row, "`"+label+"`") {
				t.Errorf("%s: its label %s is not in its row", parts[1], label)
			}
		}
	}
	for name := range documented {
		t.Errorf("%s is documented and does not exist", name)
	}
	for _, name := range regexp.MustCompile(`sync_[a-z_]+[a-z]`).FindAllString(string(page), -1) {
		if !strings.Contains(string(page), "\n| `"+name+"` |") {
			t.Errorf("%s is mentioned and has no row", name)
		}
	}
}
