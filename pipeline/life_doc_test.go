package pipeline

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of a table's life in docs/states.md is the one that become obeys.
func TestLifeIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/states.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## A table's life beside the stream")
	if !found {
		t.Fatal("the section is missing")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| ([a-z-]+) \| ([a-z, -]+) \|$`).FindAllStringSubmatch(section, -1)
	documented := map[TableState][]TableState{}
	for _, row := range rows {
		if row[1] == "from" {
			continue
		}
		for _, to := range strings.Split(row[2], ", ") {
			documented[TableState(row[1])] = append(documented[TableState(row[1])], TableState(to))
		}
	}
	if len(documented) != len(lifeMoves) {
		t.Errorf("%d states are documented; want %d", len(documented), len(lifeMoves))
	}
	for from, to := range lifeMoves {
		if !slices.Equal(documented[from], to) {
			t.Errorf("from %s: documented %v; want %v", from, documented[from], to)
		}
	}
}
