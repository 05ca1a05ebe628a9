package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const betweenTwo = `
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: postgres, url: "${SINK_URL}"}
state: {dir: DIR/state}
`

// odd is a table whose name tries to look like something else.
const odd = `"t""; \n--
error  fake"`

// TestCheckBeforeAndAfterItsFixes: P5. What --fix-sql prints goes through psql
// as it is, to both servers, and leaves no finding of status error.
func TestCheckBeforeAndAfterItsFixes(t *testing.T) {
	major := pgtest.Majors(t)[0]
	srv := pgtest.Shared(t, major)
	env := map[string]string{"SOURCE_URL": pgtest.CreateDatabase(t, srv), "SINK_URL": pgtest.CreateDatabase(t, srv)}
	pgtest.Exec(t, env["SOURCE_URL"], "CREATE TABLE "+odd+" (id int, v text)", "CREATE TABLE b (id int PRIMARY KEY)")
	pgtest.Exec(t, env["SINK_URL"], "CREATE TABLE b (id int2 PRIMARY KEY)")
	path := writeFile(t, betweenTwo)

	found := invoke(t, env, "check", path)
	found.want(t, exitDiffer, "2 errors: ")
	for _, text := range []string{"error    replica_identity  table \"public\".", "error    table_missing", "warning  column_narrower",
		"warning  slot_retention", "doc  docs/postgres.md#replica_identity", "2 errors, "} {
		if !strings.Contains(found.stdout, text) {
			t.Errorf("%q is not in\n%s", text, found.stdout)
		}
	}
	if strings.Contains(found.stdout, "\nerror  fake\"  ") || strings.Contains(found.stdout, "ok       ") {
		t.Errorf("output\n%s", found.stdout)
	}

	if strings.Contains(found.stdout, "dead letter") || !strings.Contains(found.stdout, "is refused and stops the pipeline") {
		t.Errorf("without dead letters a value that is refused stops the pipeline:\n%s", found.stdout)
	}
	parking := writeFile(t, betweenTwo+"\ndead_letter: {}\n")
	if o := invoke(t, env, "check", parking); !strings.Contains(o.stdout, "is refused and is a dead letter") {
		t.Errorf("with dead letters it is one:\n%s%s", o.stdout, o.stderr)
	}

	script := invoke(t, env, "check", path, "--fix-sql", "--only", "replica_identity,table_missing,column_narrower")
	if !strings.HasPrefix(script.stdout, "\\set ON_ERROR_STOP on\n") || !strings.Contains(script.stdout, "\n-- it has no primary key") {
		t.Errorf("the script does not stop at an error, or does not say why it does what it does:\n%s", script.stdout)
	}
	pgtest.Script(t, srv, script.stdout)
	invoke(t, env, "check", path).want(t, exitOK)
	if got := invoke(t, env, "check", path, "--only", "column_narrower"); !strings.Contains(got.stdout, "0 errors, 0 warnings, 1 ok") {
		t.Errorf("output\n%s", got.stdout)
	}
}

// TestCheckReportsWhatItReaches: an end that cannot be reached hides nothing of
// the other one, and what depends on it is left out.
func TestCheckReportsWhatItReaches(t *testing.T) {
	srv := pgtest.Shared(t, pgtest.Majors(t)[0])
	there, away := pgtest.CreateDatabase(t, srv), "postgres://nobody:s3cret@127.0.0.1:1/none"
	pgtest.Exec(t, there, "CREATE TABLE t (id int)")
	path := writeFile(t, betweenTwo)
	for _, c := range []struct{ source, sink, end, code string }{
		{there, away, "sink", "replica_identity"}, {away, there, "source", "position_rights"},
	} {
		got := invoke(t, map[string]string{"SOURCE_URL": c.source, "SINK_URL": c.sink}, "check", path, "-o", "json")
		got.want(t, exitEnvironment, "127.0.0.1:1")
		var view checkView
		if err := json.Unmarshal([]byte(got.stdout), &view); err != nil {
			t.Fatalf("%v\n%s", err, got.stdout)
		}
		if len(view.Failures) != 1 || view.Failures[0].End != c.end || !strings.Contains(got.stdout, c.code) {
			t.Errorf("output\n%s", got.stdout)
		}
		if strings.Contains(got.stdout, "table_missing") || strings.Contains(got.stdout+got.stderr, "s3cret") {
			t.Errorf("output\n%s", got.stdout)
		}
	}
}

func TestCheckUsage(t *testing.T) {
	env := map[string]string{"SOURCE_URL": "postgres://127.0.0.1:1/x"}
	path := writeFile(t, toFile)
	invoke(t, env, "check", path, "--only", "wal_levle").want(t, exitUsage, `did you mean "wal_level"?`)
	invoke(t, env, "check", path, "--only", "sink_space,nonsense_of_a_code").want(t, exitUsage, "known: ", "open_files")
	invoke(t, env, "check", path, "-o", "xml").want(t, exitUsage, "table or json")
	invoke(t, env, "check", path, "--timeout", "0s").want(t, exitUsage, "--timeout")
	invoke(t, env, "check", path, "--fix-sql", "-o", "json").want(t, exitUsage, "--fix-sql")
	invoke(t, env, "check").want(t, exitUsage, "check FILE")
}

// mute is an end that does not answer.
type mute struct{ leaver }

func (mute) Codes() []string { return nil }

func (mute) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	<-ctx.Done()
	return entrain.Report{}, ctx.Err()
}

func TestCheckIsBounded(t *testing.T) {
	p, said := talk(source)
	p.stdout = said
	l, err := p.load(writeFile(t, toFile))
	if err != nil {
		t.Fatal(err)
	}
	l.source = mute{}
	err = p.check(t.Context(), l, checkOptions{output: "table", timeout: 10 * time.Millisecond})
	if exitCode(err) != exitEnvironment || !strings.Contains(fmt.Sprint(err), "--timeout") {
		t.Errorf("%v", err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not say why", err)
	}
	if text := said.String(); !strings.Contains(text, " ok; cut short, not examined: source\n") {
		t.Errorf("the summary does not say that it is none:\n%s", text)
	}
}

func TestHost(t *testing.T) {
	for _, f := range []entrain.Finding{host{space: leastState - 1}.judgeSpace(), host{files: leastFiles - 1}.judgeFiles()} {
		if f.Status != entrain.FindingWarning || f.Why == "" {
			t.Errorf("%+v", f)
		}
	}
	well := host{space: leastState, files: leastFiles}
	if well.judgeSpace().Status != entrain.FindingOK || well.judgeFiles().Status != entrain.FindingOK {
		t.Error("found where all is well")
	}
	dir := t.TempDir()
	if got := existing(filepath.Join(dir, "a", "b")); got != dir {
		t.Errorf("%s exists, got %s", dir, got)
	}
	if space, err := connector.FreeSpace(dir); err != nil || space <= 0 {
		t.Errorf("free: %d, %v", space, err)
	}
}

// Every code that the stock program can print has its section in the docs.
func TestDocsDescribeEveryCode(t *testing.T) {
	text, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := talk(source)
	l, err := p.load(writeFile(t, toFile))
	if err != nil {
		t.Fatal(err)
	}
	codes := append(hostCodes(), codeTransform)
	for _, end := range l.ends() {
		codes = append(codes, end.(entrain.Checker).Codes()...)
	}
	more, err := os.ReadFile("../../docs/dedup.md")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, more...)
	for _, code := range append(codes, codeDeduplication, "redis_keys") {
		if !regexp.MustCompile("(?m)^### " + code + "$").Match(text) {
			t.Errorf("no section %s", code)
		}
	}
}
