package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// zoo are tables with names that are hard to write down; those of the second
// half cannot be captured as they are.
var zoo = []string{
	`CREATE TABLE plain (id int PRIMARY KEY)`,
	`CREATE SCHEMA "Sales.*"`,
	`CREATE TABLE "Sales.*"."a ""b"" \ ?" ("${HOME}" int PRIMARY KEY)`,
	`CREATE TABLE "Sales.*"."${HOME} # é" (id int PRIMARY KEY)`,
	`CREATE TABLE nokey (id int)`,
	`CREATE TABLE "nokey*" (id int)`,
	"CREATE TABLE \"Sales.*\".\"no\nkey: \"\"x\"\"\" (id int)",
}

// TestInit: what init writes for a database passes check, holds no credential,
// and leaves out by name, and only those, the tables that cannot be captured.
func TestInit(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		srv := pgtest.Shared(t, major)
		source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
		pgtest.Exec(t, source, zoo...)
		pgtest.Exec(t, target, zoo[:4]...)
		dir := t.TempDir()
		output := filepath.Join(dir, "made.yaml")
		secret := strings.Replace(source, "postgres@", "postgres:c4n4ry@", 1)
		made := invoke(t, nil, "init", "--from", secret, "--to", target, "--name", "made", "--output", output)
		made.want(t, exitOK, "3 tables, 3 left out", "entrain check "+output)
		text := readText(t, output)
		if strings.Contains(text+made.stdout+made.stderr, "c4n4ry") {
			t.Errorf("the credential shows:\n%s%s", text, made.stderr)
		}
		env := map[string]string{"SOURCE_URL": source, "TARGET_URL": target}
		checked := invoke(t, env, "check", output, "-o", "json")
		checked.want(t, exitOK)
		var view checkView
		if err := json.Unmarshal([]byte(checked.stdout), &view); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(checked.stdout, "nokey") {
			t.Errorf("a table that was left out is examined:\n%s", checked.stdout)
		}
		env["TARGET_URL"] = pgtest.CreateDatabase(t, srv) // which has no tables
		invoke(t, env, "check", output).want(t, exitOK)
		without := writeFile(t, strings.Replace(text, "create_tables: true", "create_tables: false", 1))
		if bare := invoke(t, env, "check", without); bare.code != exitDiffer || !strings.Contains(bare.stdout, "create_tables: true") {
			t.Errorf("without create_tables: exit code %d\n%s", bare.code, bare.stdout)
		}
		invoke(t, env, "config", "show", output).want(t, exitOK)
		if schema := readText(t, filepath.Join(dir, schemaFile)); schema != invoke(t, nil, "config", "schema").stdout {
			t.Error("the schema beside the file is another one")
		}

		again := invoke(t, nil, "init", "--from", source, "--to", target, "--output", output)
		again.want(t, exitUsage, "exists already", "--force")
		if readText(t, output) != text {
			t.Error("a refused init has changed the file")
		}
		invoke(t, nil, "init", "--from", source, "--to", "out.jsonl", "--output", output, "--force").want(t, exitOK)
		if text := readText(t, output); !strings.Contains(text, "path: \"out.jsonl\"") || strings.Contains(text, "TARGET_URL") ||
			strings.Contains(text, "create_tables") {
			t.Errorf("for a file sink:\n%s", text)
		}
	}
}

// TestInitWritesNoCredential: P8. What may be a connection string is never
// written as a file's path, however it is spelt.
func TestInitWritesNoCredential(t *testing.T) {
	source := pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	pgtest.Exec(t, source, "CREATE TABLE plain (id int PRIMARY KEY)")
	for _, to := range []string{
		"sslmode=disable host=db user=u password=c4n4ry dbname=x", "password=c4n4ry host=db", "PASSWORD = c4n4ry", "passfile=x password='c4n4ry'",
		"application_name=a\tpassword=c4n4ry", "POSTGRES://u:c4n4ry@db/x", "Postgresql://u:c4n4ry@db/x", "postgre://u:c4n4ry@db/x",
		"postgres:/u:c4n4ry@db/x", "u:c4n4ry@db/x", "sslpassword=c4n4ry",
	} {
		output := filepath.Join(t.TempDir(), "made.yaml")
		made := invoke(t, nil, "init", "--from", source, "--to", to, "--output", output)
		text, err := os.ReadFile(output)
		if (err == nil) != (made.code == exitOK) {
			t.Errorf("%s: exit code %d, file: %v", to, made.code, err)
		}
		if strings.Contains(string(text)+made.stdout+made.stderr, "c4n4ry") {
			t.Errorf("%s shows its credential:\n%s%s", to, text, made.stderr)
		}
	}
	for _, to := range []string{"-", "out.jsonl", "/var/lib/out.jsonl", "./day=3/my password.jsonl", "a@b.jsonl", "C:out"} {
		if isServer(connector.Secret(to)) {
			t.Errorf("%s is a file", to)
		}
	}
}

// Every name that a database can give a pipeline is written so that it is read
// back as it is.
func TestInitNames(t *testing.T) {
	for _, name := range []string{"shop", "null", "true", "no", "123", "0x1f", "1e5", "1_0", "-", "--", "---", "2026-11-22"} {
		d := draft{Name: name, SourceVariable: sourceVariable, Include: []string{"*.*"}, Path: "-"}
		file, err := config.Load(writeFile(t, d.text()), func(string) (string, bool) { return "postgres://h/x", true })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if file.Name != name {
			t.Errorf("%s is read back as %s", name, file.Name)
		}
	}
}

// TestInitRuns: the file that init writes to standard output is one that run
// takes as it is.
func TestInitRuns(t *testing.T) {
	url := pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	pgtest.Exec(t, url, "CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (3)")
	dir := t.TempDir()
	lines := filepath.Join(dir, "out.jsonl")
	made := invoke(t, nil, "init", "--from", url, "--to", lines, "--output", "-")
	made.want(t, exitOK)
	text := strings.Replace(made.stdout, "{dir: .entrain}", "{dir: "+dir+"}", 1)
	file := filepath.Join(dir, "it.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"SOURCE_URL": url}
	invoke(t, env, "run", file, "--until", "now").want(t, exitOK)
	pgtest.Exec(t, url, "INSERT INTO orders VALUES (7)")
	invoke(t, env, "run", file, "--until", "now").want(t, exitOK)
	var ops []string
	ids := map[string]bool{}
	for line := range strings.Lines(readText(t, lines)) {
		var e struct{ ID, Op string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		ops = append(ops, e.Op)
		ids[e.ID] = true
	}
	if got := strings.Join(ops, " "); got != "read read_end read_end insert" || len(ids) != 4 {
		t.Errorf("delivered %q with ids %v", got, ids)
	}
	invoke(t, env, "teardown", file, "--yes").want(t, exitOK)
}

func TestInitUsage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.yaml")
	invoke(t, nil, "init").want(t, exitUsage, "--from and --to are needed")
	invoke(t, nil, "init", "--from", "postgres://h/db?sslmode=bad", "--to", "-", "--output", out).want(t, exitUsage, "source.url")
	invoke(t, nil, "init", "--from", "postgres://h/db", "--to", "-", "--name", "No Name", "--output", out).want(t, exitUsage, "not fit to be a pipeline's name")
	invoke(t, nil, "init", "--from", "postgres://u:s3cret@127.0.0.1:1/db", "--to", "-", "--output", out).want(t, exitEnvironment, "127.0.0.1:1")
	if _, err := os.Stat(out); err == nil {
		t.Error("a failed init has written a file")
	}
}

func TestNameFor(t *testing.T) {
	for from, want := range map[string]string{
		"postgres://u@h/Shop-1?sslmode=disable": "shop-1", "postgres://u@h": "pipeline", "postgres://u@h/": "pipeline",
		"host=h dbname=x": "pipeline", "postgresql://h/a%20b": "a_20b", "postgres:///x?host=/run/pg": "x",
	} {
		if got := nameFor(connector.Secret(from)); got != want {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
	}
}

// TestCompletion: the shells are offered pipeline files, and the codes of check.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := invoke(t, nil, "completion", shell); got.code != exitOK || !strings.Contains(got.stdout, "entrain") {
			t.Errorf("%s: %d %s", shell, got.code, got.stderr)
		}
	}
	for _, args := range [][]string{{"run", ""}, {"check", ""}, {"status", ""}, {"teardown", ""}, {"config", "show", ""}, {"table", "add", ""}, {"snapshot", "status", ""}} {
		got := invoke(t, nil, append([]string{"__complete"}, args...)...)
		if !strings.HasPrefix(got.stdout, "yaml\nyml\n") {
			t.Errorf("%v: %q", args, got.stdout)
		}
	}
	path := writeFile(t, betweenTwo)
	env := map[string]string{"SOURCE_URL": "postgres://h/a", "SINK_URL": "postgres://h/b"}
	got := invoke(t, env, "__complete", "check", path, "--only", "")
	for _, code := range []string{"slot_lost", "table_missing", "open_files", "transform"} {
		if !strings.Contains(got.stdout, code+"\n") {
			t.Errorf("--only does not offer %s: %q", code, got.stdout)
		}
	}
}

// TestDraftNamesFiles: what the file that init writes points to is there.
func TestDraftNamesFiles(t *testing.T) {
	for _, d := range []draft{{Name: "x"}, {Name: "x", Path: "out.json"}} {
		named := regexp.MustCompile(`[\w/]+\.md`).FindAllString(d.text(), -1)
		if len(named) < 4 {
			t.Errorf("only %q are named", named)
		}
		for _, name := range named {
			if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
				t.Error(err)
			}
		}
	}
}
