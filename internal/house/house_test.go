package house

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// rules are all rules over the tree, by the name under which they fail.
var rules = map[string]rule{
	"file length":         longFiles,
	"function length":     longFunctions,
	"nesting":             deepNesting,
	"parameters":          manyParameters,
	"interface width":     wideInterfaces,
	"readme length":       longReadme,
	"package comments":    undocumentedPackages,
	"comments":            undocumentedNames,
	"init":                inits,
	"package names":       emptyPackageNames,
	"sleeping tests":      sleeps,
	"exits":               exits,
	"contexts":            ownContexts,
	"unfinished work":     unfinishedWork,
	"machine paths":       machinePaths,
	"unwanted imports":    unwantedImports,
	"import direction":    wrongWay,
	"import depth":        longChains,
	"modules of the core": manyModules,
	"map":                 untrueMap,
	"codes":               unexplainedCodes,
	"doors":               strangeDoors,
	"clocks":              unlistedClocks,
}

// TestHouseRules holds the repository to the rules.
func TestHouseRules(t *testing.T) {
	all, err := load(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(all.files) < 10 {
		t.Fatalf("only %d Go files found", len(all.files))
	}
	for name, check := range rules {
		t.Run(name, func(t *testing.T) {
			for _, finding := range check(all) {
				t.Error(finding)
			}
		})
	}
}

// TestEmbedderLinksNothingElse asks the go command what pipeline and
// connector/postgres bring along.
func TestEmbedderLinksNothingElse(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./pipeline", "./connector/postgres")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 10 {
		t.Fatalf("go list -deps names only %v", packages)
	}
	for _, finding := range foreignToEmbedder(packages) {
		t.Error(finding)
	}
}

func TestForeignToEmbedderFindsThem(t *testing.T) {
	good := []string{"fmt", "internal/abi", "vendor/golang.org/x/net", module, module + "/pipeline", module + "/connector",
		module + "/connector/postgres", module + "/connector/postgres/capture", module + "/internal/failpoint", "github.com/jackc/pgx/v5/pgconn", "golang.org/x/text/unicode/norm"}
	if found := foreignToEmbedder(good); len(found) != 0 {
		t.Errorf("found wrongly: %v", found)
	}
	for _, bad := range []string{module + "/connector/file", module + "/connector/all", module + "/cmd/entrain", "go.etcd.io/bbolt",
		module + "/connector/nats", "github.com/nats-io/nats-server/v2/server", "github.com/nats-io/nats.go"} {
		if found := foreignToEmbedder(append([]string{bad}, good...)); len(found) != 1 || !strings.Contains(found[0], bad) {
			t.Errorf("%s: found %v, want it named once", bad, found)
		}
	}
}

// TestEveryRuleHasABadSample makes sure that no rule goes unproven.
func TestEveryRuleHasABadSample(t *testing.T) {
	proven := map[string]bool{}
	for _, s := range badSamples() {
		proven[s.rule] = true
	}
	for name := range rules {
		if !proven[name] {
			t.Errorf("rule %q has no sample that breaks it", name)
		}
	}
}

// TestRulesFindBadSamples runs each rule on what breaks it.
func TestRulesFindBadSamples(t *testing.T) {
	for i, s := range badSamples() {
		t.Run(fmt.Sprintf("%s %d", s.rule, i), func(t *testing.T) {
			bad, err := parse(s.files)
			if err != nil {
				t.Fatal(err)
			}
			found := rules[s.rule](bad)
			if len(found) != 1 || !strings.Contains(found[0], s.want) {
				t.Errorf("found %q, want one finding with %q", found, s.want)
			}
		})
	}
}

// TestRulesLeaveGoodSamplesAlone runs every rule on code at its limits.
func TestRulesLeaveGoodSamplesAlone(t *testing.T) {
	good, err := parse(goodSample())
	if err != nil {
		t.Fatal(err)
	}
	for name, check := range rules {
		for _, finding := range check(good) {
			t.Errorf("%s: %s", name, finding)
		}
	}
}
