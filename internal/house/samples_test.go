package house

import (
	"fmt"
	"strings"
)

// sample breaks one rule once.
type sample struct {
	rule  string
	want  string // in the finding
	files map[string]string
}

// in makes a sample of one file.
func in(name, rule, want, text string) sample {
	return sample{rule: rule, want: want, files: map[string]string{name: text}}
}

func badSamples() []sample {
	long := "package a\n" + strings.Repeat("//\n", maxFileLines)
	body := strings.Repeat("\tf()\n", maxFuncLines-1)
	return append(badPlaces(),
		in("a.go", "file length", "a.go:1: 501 lines", long),
		in("a.go", "function length", "a.go:2: f has 61 lines", "package a\nfunc f() {\n"+body+"}\n"),
		in("a.go", "function length", "literal has 61", "package a\nvar f = func() {\n"+body+"}\n"),
		in("a.go", "nesting", "a.go:2", "package a\nfunc f() { for { if x { switch { case y: if z { g() } } } } }\n"),
		in("a.go", "nesting", "deeper than 3", "package a\nfunc f() { for { for { for { g(func() { select {} }) } } } }\n"),
		in("a.go", "nesting", "f nests", "package a\nfunc f() { if a { } else if b { for { for { for { g() } } } } }\n"),
		in("a.go", "parameters", "f has 5 parameters", "package a\nfunc f(a, b int, c, d, e string) {}\n"),
		in("a.go", "parameters", "literal has 5", "package a\nvar f = func(int, int, int, int, int) {}\n"),
		in("a.go", "parameters", "M has 5", "package a\ntype i interface { M(a, b, c, d, e int) }\n"),
		in("a.go", "parameters", "bare bool", "package a\nfunc f(a int, force bool) {}\n"),
		in("a.go", "parameters", "M has a bare bool", "package a\ntype i interface { M(bool) }\n"),
		in("a.go", "interface width", "i has 4 methods", "package a\ntype i interface { A(); B(); C(); D() }\n"),
		in("a.go", "interface width", "i has 4 methods", "package a\ntype i interface { io.Reader; j; D() }\ntype j interface { A(); B() }\n"),
		in("a.go", "interface width", "s has 4 methods", "package a\ntype s struct { f interface { A(); B(); C(); D() } }\n"),
		in("a.go", "interface width", "at most 6", "package a\n// i has 7 methods because.\ntype i interface { A(); B(); C(); D(); E(); F(); G() }\n"),
		in("README.md", "readme length", "README.md", strings.Repeat("line\n", maxReadme+1)),
		in("a/a.go", "package comments", "a: package without", "package a\n"),
		in("a.go", "comments", "exported F ", "package a\nfunc F() {}\n"),
		in("a.go", "comments", "exported M ", "package a\nfunc (t *T[int]) M() {}\n"),
		in("a.go", "comments", "exported V ", "package a\nvar (\n\tV = 1\n\t// W is documented.\n\tW = 2\n)\n"),
		in("a.go", "comments", "exported T ", "package a\n// Both.\ntype (\n\tT int\n\tu int\n)\n"),
		in("a.go", "init", "a.go:2", "package a\nfunc init() {}\n"),
		in("a.go", "unfinished work", "TODO", "package a\n// TO"+"DO: later.\n"),
	)
}

// badPlaces are samples that are wrong because of where they are.
func badPlaces() []sample {
	chain := map[string]string{}
	for i := range maxDepth + 1 {
		chain[fmt.Sprintf("p%d/a.go", i)] = fmt.Sprintf("package a\nimport %q\n", fmt.Sprintf("%s/p%d", module, i+1))
	}
	var modules strings.Builder
	for i := range maxModules + 1 {
		fmt.Fprintf(&modules, "import \"example.com/a/m%d\"\n", i)
	}
	imported := func(path string) string { return fmt.Sprintf("package a\nimport x %q\n", path) }
	drawn := "```\nthis/ the root\n├── a/ one\n│   └── b/ two\n"
	return []sample{
		{"map", "lacks c", map[string]string{mapFile: drawn + "```\n", "a/b/b.go": "package b\n", "c/c.go": "package c\n"}},
		{"map", "has c, which", map[string]string{mapFile: drawn + "└── c/ three\n```\n", "a/b/b.go": "package b\n"}},
		{"codes", "code lost_it", map[string]string{"docs/a.md": "`lost` `it`", "a.go": "package a\nvar s = Stop{Code: \"lost_it\"}\n"}},
		{"codes", "code lost_it", map[string]string{"docs/adr/a.md": "`lost_it`", "a.go": "package a\nfunc f() { s.Code, s.Next = \"lost_it\", \"\" }\n"}},
		in("a.go", "codes", "code lost_it", "package a\nconst codeLost = \"lost_it\"\n"),
		{"clocks", "lacks a, which asks", map[string]string{clocksFile: "\n## Who asks for the time\n| `b` | x | y |\n", "b/b.go": "package b\nvar x = time.Since(y)\n", "a/a.go": "package a\nvar now = time.Now\n"}},
		{"clocks", "has c, which does not", map[string]string{clocksFile: "\n## Who asks for the time\n| `c` | x | y |\n", "c/c_test.go": "package c\nvar now = time.Now()\n"}},
		{"map", "has a/b twice", map[string]string{mapFile: drawn + "│   └── b/ two\n```\n", "a/b/b.go": "package b\n"}},
		{"import depth", "6 imports deep: p0 → p1", chain},
		in("pipeline/a.go", "modules of the core", "7 modules", "package a\n"+modules.String()),
		in("connector/postgres/capture/a.go", "modules of the core", "7 modules", "package a\n"+modules.String()),
		in("a/util.go", "package names", "called util", "package util\n"),
		in("common/a_test.go", "package names", "called a", "package a_test\n"),
		in("a_test.go", "sleeping tests", "a_test.go:3", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"),
		in("a_test.go", "sleeping tests", "time.Sleep", "package a\nimport clock \"time\"\nvar f = clock.Sleep\n"),
		in("a.go", "exits", "os.Exit", "package a\nimport \"os\"\nfunc TestMain() { os.Exit(1) }\n"),
		in("a_test.go", "exits", "os.Exit", "package a\nimport \"os\"\nfunc f() { os.Exit(1) }\n"),
		in("a.go", "exits", "log.Fatalf", "package a\nimport \"log\"\nfunc f() { log.Fatalf(\"\") }\n"),
		in("pipeline/a.go", "contexts", "context.Background", "package a\nimport \"context\"\nvar c = context.Background()\n"),
		in("connector/x/a.go", "contexts", "context.TODO", "package a\nimport \"context\"\nvar c = context.TODO()\n"),
		in("Makefile", "machine paths", "Makefile:2", "all:\n\tcd /wo"+"rk/main\n"),
		in("docs/a.md", "machine paths", "docs/a.md:1", "see /ro"+"ot/x"),
		in("a_test.go", "unwanted imports", "testify", imported("github.com/stretchr/testify/require")),
		in("encoding/a.go", "doors", "encoding may not import net/http", imported("net/http")),
		in("internal/letters/a.go", "doors", "may not import os/exec", imported("os/exec")),
		in("a.go", "import direction", ". may not", imported(module+"/pipeline")),
		in("a.go", "import direction", ". may not", imported("github.com/jackc/pgx/v5")),
		in("pipeline/a.go", "import direction", "connector/file", imported(module+"/connector/file")),
		in("pipeline/sub/a.go", "import direction", "bbolt", imported("go.etcd.io/bbolt")),
		in("encoding/native/a.go", "import direction", "pipeline", imported(module+"/pipeline")),
		in("connector/a.go", "import direction", "connector/file", imported(module+"/connector/file")),
		in("connector/file/a.go", "import direction", "connector/postgres", imported(module+"/connector/postgres")),
		in("connector/file/sub/a.go", "import direction", "connector/all", imported(module+"/connector/all")),
		in("connector/postgres/capture/a.go", "import direction", "postgres/apply", imported(module+"/connector/postgres/apply")),
		in("connector/postgres/apply/a.go", "import direction", "postgres/capture", imported(module+"/connector/postgres/capture")),
		in("connector/postgres/dial/a.go", "import direction", "entrain/connector", imported(module+"/connector")),
		in("connector/postgres/capture/a.go", "import direction", "connector/postgres", imported(module+"/connector/postgres")),
	}
}

// goodSample is code at the limits, and what looks wrong but is not.
func goodSample() map[string]string {
	body := strings.Repeat("\tf()\n", maxFuncLines-2)
	head := "// Package a is good.\npackage a\n\n"
	lines := strings.Count(head+body, "\n") + 2
	return map[string]string{
		"a/a.go":          head + "func f() {\n" + body + "}\n" + strings.Repeat("\n", maxFileLines-lines),
		"README.md":       strings.Repeat("line\n", maxReadme),
		"main.go":         "// Command main exits.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }\n",
		"example_test.go": "package a_test\nimport \"log\"\nfunc Example() { log.Fatal() }\n",
		"gen/gen.go":      "// Code generated by hand. DO NOT EDIT.\n\npackage common\nfunc init() {}\n",
		"a/main_test.go": `package a
import ("os"; "context")
func TestMain(m *testing.M) { os.Exit(m.Run()) }
func ExportedInTest(wait func(bool)) { wait2(func(ok bool) {}); time := clock{}; time.Sleep(1); context.Background() }
`,
		"a/b.go": `package a

// I has 4 methods because of the test.
type I interface { A(); B(); C(); D(a, b, c, d int) }

type n interface { ~int | ~string }

// Group of constants.
const (
	X = 1
	Y = 2
)

var (
	V = 1 // V is documented behind.
)

func (unexported) Exported() {}

func (t t) init() {}

func deep() {
	for {
		if a {
		} else if b {
		} else if c {
			for { g() }
		} else {
			switch { case d: g() }
		}
	}
}
`,
		"connector/all/a.go":                   "// Package a lists.\npackage a\nimport _ \"" + module + "/connector/file\"\n",
		"connector/file/a.go":                  "// Package a is one.\npackage a\nimport (\n_ \"" + module + "/connector\"\n_ \"" + module + "/connector/file/sub\"\n)\n",
		"connector/postgres/a.go":              "// Package a is a door.\npackage a\nimport (\n_ \"" + module + "/connector/postgres/capture\"\n_ \"" + module + "/connector/postgres/apply\"\n)\n",
		"connector/postgres/capture/a_test.go": "package a\nimport _ \"" + module + "/connector/postgres/apply\"\n",
		"pipeline/a_test.go":                   "package a\nimport _ \"" + module + "/entraintest\"\n",
		mapFile: "```\nthis/\n├── a/\n├── connector/\n│   ├── all/\n│   ├── file/\n│   └── postgres/\n│       └── capture/\n" +
			"├── c/\n├── gen/\n└── pipeline/\n```\n",
		"docs/a.md": "the framework/root of work/ and network/work",
		"c/c.go":    "// Package c stops.\npackage c\n\nvar _ = Stop{Code: \"in_text\"}\nvar _ = Stop{Code: \"a_heading\", Next: \"x\"}\nvar _ = Stop{Code: code}\n",
		"docs/c.md": "`in_text`\n\n### a_heading\n",
	}
}
