package sbom

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// run returns what a go command says.
func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, &said)
	}
	return string(out)
}

// TestListIsTheBuilds: SE-13. The list of entrain's parts is what the go command says of the
// program, and what the packages that it links come from: nothing more, nothing less, each
// with its version and the checksum of go.sum.
func TestListIsTheBuilds(t *testing.T) {
	program := filepath.Join(t.TempDir(), "entrain")
	run(t, "build", "-o", program, "./cmd/entrain")
	d, err := Read(program)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, c := range d.Components {
		listed[c.Name+"@"+c.Version] = ""
		for _, h := range c.Hashes {
			listed[c.Name+"@"+c.Version] += h.Content
		}
	}
	said, linked := map[string]string{}, map[string]string{}
	for line := range strings.Lines(run(t, "version", "-m", program)) {
		if word := strings.Fields(line); word[0] == "dep" {
			said[word[1]+"@"+word[2]] = hexSum(t, word[3])
		}
	}
	sums := goSum(t)
	for line := range strings.Lines(run(t, "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/entrain")) {
		if word := strings.Fields(line); len(word) == 2 {
			linked[word[0]+"@"+word[1]] = hexSum(t, sums[word[0]+" "+word[1]])
		}
	}
	version := "std@" + strings.TrimPrefix(strings.TrimSpace(run(t, "env", "GOVERSION")), "go")
	said[version], linked[version] = "", ""
	if diff := cmp.Diff(said, listed); diff != "" || len(said) < 20 {
		t.Errorf("go version -m (-) and the list (+): %s", diff)
	}
	if diff := cmp.Diff(linked, listed); diff != "" {
		t.Errorf("go list -deps (-) and the list (+): %s", diff)
	}
	whole, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if of := d.Metadata.Component; of.Name != "github.com/entrainsync/entrain" || of.Hashes[0].Content != fmt.Sprintf("%x", sha256.Sum256(whole)) {
		t.Errorf("the list is about %+v", of)
	}
}

func hexSum(t *testing.T, h1 string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(h1, "h1:"))
	if err != nil || len(raw) != sha256.Size {
		t.Fatalf("%q is no checksum of a module: %v", h1, err)
	}
	return hex.EncodeToString(raw)
}

func goSum(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if word := strings.Fields(lines.Text()); !strings.HasSuffix(word[1], "/go.mod") {
			sums[word[0]+" "+word[1]] = word[2]
		}
	}
	return sums
}

// TestForm: what stands for a module is what CycloneDX and package URLs say.
func TestForm(t *testing.T) {
	sum := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xab}, 32))
	d := Of(&debug.BuildInfo{
		GoVersion: "go1.26.11", Main: debug.Module{Path: "example.com/a", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.com/z", Version: "v2.0.0+incompatible", Sum: "h1:" + sum},
			{Path: "example.com/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1"}},
		},
		Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "amd64"}},
	}, "00ff")
	text, err := d.Text()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Component Component }
		Components             []Component
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []Component{
		{Type: "library", Ref: "pkg:golang/example.com/fork@v1.0.1", Name: "example.com/fork", Version: "v1.0.1", PURL: "pkg:golang/example.com/fork@v1.0.1"},
		{Type: "library", Ref: "pkg:golang/example.com/z@v2.0.0%2Bincompatible", Name: "example.com/z", Version: "v2.0.0+incompatible",
			PURL: "pkg:golang/example.com/z@v2.0.0%2Bincompatible", Hashes: []Hash{{"SHA-256", strings.Repeat("ab", 32)}}},
		{Type: "library", Ref: "pkg:golang/std@1.26.11", Name: "std", Version: "1.26.11", PURL: "pkg:golang/std@1.26.11"},
	}
	if diff := cmp.Diff(want, got.Components); diff != "" {
		t.Errorf("(-want +got): %s", diff)
	}
	if of := got.Metadata.Component; got.BOMFormat != "CycloneDX" || got.SpecVersion != "1.6" || of.PURL != "pkg:golang/example.com/a" ||
		of.Version != "" || of.Properties[0] != (Property{"go:build:GOARCH", "amd64"}) {
		t.Errorf("it is %+v", got)
	}
	if _, err := Read("sbom_test.go"); err == nil {
		t.Error("a text has a list of parts")
	}
}
