package house

import (
	"fmt"
	"go/token"
	"maps"
	"slices"
	"strings"
)

const (
	maxDepth   = 5
	maxModules = 6
)

// direction says what the code (not the tests) of the packages in a folder may
// import besides the standard library.
type direction struct {
	dir  string
	may  []string // import paths, from the module's root; "" is the root package
	deep bool     // also holds below dir
}

var directions = []direction{
	{dir: "."},
	{dir: "connector", may: []string{""}},
	{dir: "stream", may: []string{""}},
	{dir: "fanout", may: []string{"", "stream", "pipeline", "fanout/window"}},
	{dir: "fanout/window", may: []string{""}}, // pure
	{dir: "contract", may: []string{""}},      // pure
	{dir: "pipeline", may: []string{"", "contract", "pipeline/backfill", "pipeline/dedup", "pipeline/parking"}},
	{dir: "pipeline", may: []string{""}, deep: true}, // what is below it is pure
	{dir: "encoding", may: []string{"", "encoding"}, deep: true},
}

// wall is between two folders: the code (not the tests) of one may not import
// the other.
type wall struct{ dir, from string }

// walls are those between the rooms of connector/postgres: source and sink do
// not know each other, the connections know neither of them nor what a
// connector is, and nobody inside knows the door.
var walls = []wall{
	{"connector/postgres/capture", "connector/postgres/apply"},
	{"connector/postgres/apply", "connector/postgres/capture"},
	{"connector/postgres/snapshot", "connector/postgres/capture"},
	{"connector/postgres/snapshot", "connector/postgres/apply"},
	{"connector/postgres/capture", "connector/postgres/snapshot"},
	{"connector/postgres/apply", "connector/postgres/snapshot"},
	{"connector/postgres/dial", "connector/postgres/snapshot"},
	{"connector/postgres/dial", "connector/postgres/capture"},
	{"connector/postgres/dial", "connector/postgres/apply"},
	{"connector/postgres/dial", "connector"},
	{"connector/postgres/capture", "connector/postgres"},
	{"connector/postgres/apply", "connector/postgres"},
	{"connector/postgres/snapshot", "connector/postgres"},
	{"connector/postgres/dial", "connector/postgres"},
}

// wrongWay finds imports that go up or sideways: the root imports nothing,
// engine and encodings only the root and what is pure, no connector another one and no room of
// the PostgreSQL connector one behind a wall.
func wrongWay(t tree) []string {
	var found []string
	for _, f := range t.files {
		if f.isTest() {
			continue
		}
		eachImport(f, func(pos token.Pos, imported string) {
			if !isStd(imported) && (!allowed(f.dir(), imported) || otherConnector(f.dir(), imported) || walled(f.dir(), imported)) {
				found = append(found, t.at(pos, "%s may not import %s", f.dir(), imported))
			}
		})
	}
	return found
}

func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func allowed(dir, imported string) bool {
	for _, d := range directions {
		if dir == d.dir || d.deep && strings.HasPrefix(dir, d.dir+"/") {
			local, inside := inModule(imported)
			return inside && slices.Contains(d.may, local)
		}
	}
	return true
}

// inModule returns the path of a package below the module's root.
func inModule(imported string) (local string, inside bool) {
	if imported == module {
		return "", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func otherConnector(dir, imported string) bool {
	own, theirs := connectorOf(dir), ""
	if local, inside := inModule(imported); inside {
		theirs = connectorOf(local)
	}
	return own != "" && own != "all" && theirs != "" && theirs != own
}

func walled(dir, imported string) bool {
	local, inside := inModule(imported)
	return inside && slices.Contains(walls, wall{dir, local})
}

// connectorOf returns the connector that a folder belongs to, or "".
func connectorOf(dir string) string {
	rest, below := strings.CutPrefix(dir, "connector/")
	if !below {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// graph is which package of the module imports which, without tests; packages
// are named from the module's root.
type graph map[string][]string

func imports(t tree) graph {
	g := graph{}
	for _, f := range t.files {
		if f.isTest() {
			continue
		}
		from := strings.TrimPrefix(f.dir(), ".")
		eachImport(f, func(_ token.Pos, imported string) {
			if local, inside := inModule(imported); inside && !slices.Contains(g[from], local) {
				g[from] = append(g[from], local)
			}
		})
	}
	return g
}

// longest returns the longest chain of imports that begins at pkg.
func (g graph) longest(pkg string) []string {
	var best []string
	for _, next := range g[pkg] {
		if chain := g.longest(next); len(chain) > len(best) {
			best = chain
		}
	}
	return append([]string{pkg}, best...)
}

// longChains finds packages from which more than five imports lead down.
func longChains(t tree) []string {
	var found []string
	g := imports(t)
	for _, pkg := range slices.Sorted(maps.Keys(g)) {
		if chain := g.longest(pkg); len(chain)-1 > maxDepth {
			found = append(found, fmt.Sprintf("%d imports deep: %s", len(chain)-1, strings.Join(chain, " → ")))
		}
	}
	return found
}

// manyModules finds more than six foreign modules (by the first three parts of
// the import path) imported by the root, pipeline and connector/postgres with
// all its rooms.
func manyModules(t tree) []string {
	modules := map[string]bool{}
	for _, f := range t.files {
		if f.isTest() || !inCore(f.dir()) {
			continue
		}
		eachImport(f, func(_ token.Pos, imported string) {
			if _, inside := inModule(imported); !inside && !isStd(imported) {
				parts := strings.SplitN(imported, "/", 4)
				modules[strings.Join(parts[:min(3, len(parts))], "/")] = true
			}
		})
	}
	if len(modules) > maxModules {
		return []string{fmt.Sprintf("%d modules imported by the core, at most %d: %v", len(modules), maxModules, slices.Sorted(maps.Keys(modules)))}
	}
	return nil
}

func inCore(dir string) bool {
	return dir == "." || dir == "pipeline" || dir == "connector/postgres" || strings.HasPrefix(dir, "connector/postgres/")
}

// foreignToEmbedder finds in a list of packages, which is all that an embedder
// of pipeline and connector/postgres links, those that have no business there:
// other connectors, our internals, modules that pgx does not bring.
func foreignToEmbedder(packages []string) []string {
	var found []string
	for _, pkg := range packages {
		local, inside := inModule(pkg)
		connector := connectorOf(local)
		switch {
		case isStd(pkg), !inside && isPgx(pkg):
		case inside && connector == "postgres":
		case inside && connector == "" && !strings.HasPrefix(local, "cmd/"):
		default:
			found = append(found, "an embedder links "+pkg)
		}
	}
	return found
}

func isPgx(pkg string) bool {
	return strings.HasPrefix(pkg, "github.com/jackc/") || strings.HasPrefix(pkg, "golang.org/x/")
}
