package house

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
)

const clocksFile = "docs/clocks.md"

// toolFolders are packages that only tests, the demo and measurements use.
var toolFolders = []string{"bench", "campaign", "internal/campaign", "internal/pgserver", "internal/kafkaserver", "internal/redisserver",
	"internal/registryserver", "internal/natsserver", "internal/throwaway", "internal/demo", "internal/debezium", "internal/house", "internal/simulation"}

// unlistedClocks finds packages that ask what time it is and are not in the list of
// docs/clocks.md, and lines of the list for packages that do not ask: whether a
// decision about data depends on a clock has to be thought about.
func unlistedClocks(t tree) []string {
	_, list, _ := strings.Cut(t.texts[clocksFile], "\n## Who asks for the time\n")
	if list == "" {
		return nil
	}
	listed := map[string]bool{}
	for line := range strings.Lines(list) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			listed[name] = true
		}
	}
	ask := map[string]bool{}
	for _, f := range t.files {
		if !f.isTest() && !isTool(f.dir()) && asksForTime(f.ast) {
			ask[f.dir()] = true
		}
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(ask)) {
		if !listed[dir] {
			found = append(found, clocksFile+": the list lacks "+dir+", which asks what time it is: say for what and by which clock")
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(listed)) {
		if !ask[dir] {
			found = append(found, clocksFile+": the list has "+dir+", which does not ask what time it is")
		}
	}
	return found
}

func isTool(dir string) bool {
	return slices.ContainsFunc(toolFolders, func(tool string) bool { return dir == tool || strings.HasPrefix(dir, tool+"/") })
}

// asksForTime reports whether a file calls time.Now, time.Since or time.Until, or hands
// one of them on.
func asksForTime(file *ast.File) (asks bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			pkg, named := s.X.(*ast.Ident)
			asks = asks || named && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until"}, s.Sel.Name)
		}
		return !asks
	})
	return asks
}
