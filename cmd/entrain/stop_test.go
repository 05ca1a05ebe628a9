package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

func TestAdviceNamesThePlace(t *testing.T) {
	at := place{file: "my pipes/it's.yaml", state: ".entrain/shop"}
	for advice, want := range map[string]string{
		"entrain teardown FILE; entrain run FILE": `entrain teardown 'my pipes/it'\''s.yaml'; entrain run 'my pipes/it'\''s.yaml'`,
		"mv STATE/state.db STATE/state.db.old":    "mv .entrain/shop/state.db .entrain/shop/state.db.old",
		"the source's x in FILE: y's":             `the source's x in 'my pipes/it'\''s.yaml': y's`,
		`DROP "A FILE"; mv 'FILE' "STATE"`:        `DROP "A FILE"; mv 'FILE' "STATE"`,
		"PROFILE FILES ESTATE":                    "PROFILE FILES ESTATE",
		"resync FILE public.FILE STATE.STATE":     `resync 'my pipes/it'\''s.yaml' public.FILE STATE.STATE`,
	} {
		if got := at.fill(advice); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", advice, got, want)
		}
		if got := (place{}).fill(advice); got != advice {
			t.Errorf("without a pipeline %s became %s", advice, got)
		}
	}
	for half, want := range map[half]string{captureOnly: "x; entrain capture f.yaml", deliverOnly: "x; entrain deliver f.yaml"} {
		if got := (place{file: "f.yaml", half: half}).fill("x; entrain run FILE"); got != want {
			t.Errorf("a process that does one half says %s, want %s", got, want)
		}
	}
	p, stderr := talk(source)
	p.place.set(at)
	p.report(&core.Stop{Code: "x", What: "y", Next: "entrain run FILE"})
	if !strings.Contains(stderr.String(), `next: entrain run 'my pipes/`) {
		t.Errorf("report says %s", stderr)
	}
}

// What a running pipeline says of itself, in its log and to those who ask, names
// its file, too.
func TestEverythingSaidNamesTheFile(t *testing.T) {
	stop := &core.Stop{Code: "x", What: "y", Next: "entrain run FILE"}
	p, stderr := talk(source)
	p.logLevel = "info"
	if err := p.openLog(); err != nil {
		t.Fatal(err)
	}
	p.place.set(place{file: "shop.yaml"})
	p.log.Warn("a", "next", "entrain table add FILE public.orders", "error", fmt.Errorf("table public.orders: %w", stop), "table", "FILE")
	for _, want := range []string{`"entrain table add shop.yaml public.orders"`, `"table public.orders: x: y; next: entrain run shop.yaml"`, `"table":"FILE"`} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %s in %s", want, stderr)
		}
	}
	d := &desk{name: "shop", at: p.place.get()}
	if err := d.Do(t.Context(), pipeline.Order{}); !strings.Contains(err.Error(), "entrain status shop.yaml") {
		t.Errorf("between two engines: %v", err)
	}
	d.put(t.Context(), &sorry{err: stop})
	tables, err := d.Tables(t.Context())
	if err != nil || tables[0].Reason != "x: y; next: entrain run shop.yaml" {
		t.Errorf("tables: %+v, %v", tables, err)
	}
	for what, got := range map[string]string{"status": d.Report().Status.Error, "order": d.Do(t.Context(), pipeline.Order{}).Error()} {
		if got != "x: y; next: entrain run shop.yaml" {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// TestReasonsNameTheFile: what says why, and an order that is refused without a stop,
// name the file, too; data that has the word is left alone.
func TestReasonsNameTheFile(t *testing.T) {
	at := place{file: "shop.yaml"}
	stop := &core.Stop{Code: "x", What: "row (FILE)", Why: "create is false in FILE, so that people make it", Next: "entrain run FILE"}
	const want = "x: row (FILE); create is false in shop.yaml, so that people make it; next: entrain run shop.yaml"
	if got := at.fillStop(fmt.Errorf("open: %w", stop)).Error(); got != want {
		t.Errorf("an order's answer: %s", got)
	}
	if got := at.fillText(stop.Error()); got != want {
		t.Errorf("the log: %s", got)
	}
	p, stderr := talk(source)
	p.place.set(at)
	p.report(stop)
	stands := fmt.Errorf("sink a stands still, and takes nothing: entrain sink resume FILE a")
	p.report(stands)
	for _, text := range []string{"why: create is false in shop.yaml, so", "entrain: sink a stands still, and takes nothing: entrain sink resume shop.yaml a\n"} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("no %q in %s", text, stderr)
		}
	}
	d := &desk{name: "shop", at: at}
	d.put(t.Context(), &sorry{err: stands})
	if err := d.Do(t.Context(), pipeline.Order{}); !errors.Is(err, stands) || !strings.HasSuffix(err.Error(), "entrain sink resume shop.yaml a") {
		t.Errorf("an order says %v", err)
	}
}

// sorry is an engine that has failed.
type sorry struct {
	fakeEngine
	err error
}

func (s *sorry) Status() pipeline.Status { return pipeline.Status{Error: s.err.Error()} }

func (s *sorry) Tables(context.Context) ([]pipeline.TableStatus, error) {
	return []pipeline.TableStatus{{Reason: s.err.Error()}}, nil
}

func (s *sorry) Do(context.Context, pipeline.Order) error { return s.err }

// Names and values of somebody's choice neither end a line nor change what the
// advice does.
func TestAdviceStaysInItsLine(t *testing.T) {
	for advice, want := range map[string]string{
		"DROP TABLE \"new\nline\".\"plain\";":      `DROP TABLE U&"new\000aline"."plain";`,
		"a \"b\\u000a \"\"\x1b[2J\u202e\" c":       `a U&"b\\u000a ""\001b[2J\202e" c`,
		"id = 'a\nb''c\\'":                         `id = U&'a\000ab''c\\'`,
		"id =  E'a\nb\\\\'":                        `id =  E'a\u000ab\\'`,
		"the table's line\nand the next one's end": "the table's line\nand the next one's end",
		`"🦀\" 'é'`:                                 `"🦀\" 'é'`,
	} {
		if got := sqlLine(advice); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", advice, got, want)
		}
	}
	text := describeStop(&core.Stop{Code: "x", What: "table a\nb", Why: "c\rd", Next: "DROP \"a\nb\""}, place{})
	if want := "entrain: stopped (x)\n  what happened: table a\\u000ab\n            why: c\\u000dd\n           next: DROP U&\"a\\000ab\"\n"; text != want {
		t.Errorf("got  %q\nwant %q", text, want)
	}
}

// Neither does the cause, whose lines stay lines of the answer.
func TestErrorsCannotMislead(t *testing.T) {
	const evil = "table \x1b[2J\u202eevil\r\x07\nentrain: stopped (fake)\n\ttab"
	const shown = `table \u001b[2J\u202eevil\u000d\u0007`
	for err, want := range map[error]string{
		&core.Stop{Code: "x", What: "y", Err: errors.New(evil)}: "entrain: stopped (x)\n  what happened: y: " + shown +
			"\n                 entrain: stopped (fake)\n                 \ttab\n",
		errors.New(evil): "entrain: " + shown + "\n  entrain: stopped (fake)\n  \ttab\n",
	} {
		p, stderr := talk(nil)
		p.report(err)
		if stderr.String() != want {
			t.Errorf("got  %q\nwant %q", stderr, want)
		}
	}
}

// Whatever command loaded the file, its stops are about it.
func TestEveryCommandKnowsItsFile(t *testing.T) {
	file := writeFile(t, toFile)
	got := invoke(t, source, "status", file)
	got.want(t, exitEnvironment, "(not_running)", "next: entrain run "+file+"\n")
	p, _ := talk(source)
	if _, err := p.load(file); err != nil {
		t.Fatal(err)
	}
	want := place{file: file, state: filepath.Join(filepath.Dir(file), "state", "shop")}
	if got := p.place.get(); got != want {
		t.Errorf("place %+v; want %+v", got, want)
	}
}

// No advice in the repository has a blank that stays open: every capitalised
// stand-in next to our own commands is one that is filled in.
func TestAllAdviceCanBeFilledIn(t *testing.T) {
	command := regexp.MustCompile(`entrain (?:run|teardown|status|config show|table [a-z]+|snapshot [a-z]+) ([A-Z]+)`)
	seen := 0
	for _, root := range []string{"../../connector", "../../pipeline", "../../internal/store"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, m := range command.FindAllStringSubmatch(readText(t, path), -1) {
				seen++
				if m[1] != "FILE" {
					t.Errorf("%s: %q does not name the file", path, m[0])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 5 {
		t.Errorf("%d commands found in advice; the search finds nothing", seen)
	}
}

// advice returns the commands that a stop printed behind what it says first.
func (p *process) advice(t *testing.T, code string) string {
	t.Helper()
	p.exit(t, exitEnvironment)
	text := p.stderr.String()
	_, next, _ := strings.Cut(text, "           next: ")
	at := strings.Index(next, ": mv ")
	if !strings.Contains(text, "stopped ("+code+")") || at < 0 {
		t.Fatalf("not the stop %s with a command: %s", code, text)
	}
	return strings.TrimSpace(next[at+2:])
}

// shell executes advice; entrain in it is this program, with an end.
func shell(t *testing.T, url, advice string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := "entrain() { " + asProgram + `=1 "$PROGRAM" "$@" --until now; }` + "\n" + advice
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = append(os.Environ(), "PROGRAM="+program, "SOURCE_URL="+pgtest.SourceURL(url))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", advice, err, out)
	}
}

// The advice for a file that is not as it was left is executed as it is
// printed, wherever the state is; what was not confirmed arrives (P1, P5).
func TestAdviceOnAChangedFile(t *testing.T) {
	for code, harm := range map[string]func(path string) error{
		"file_replaced":  func(path string) error { return os.Rename(path, path+".1") },
		"file_truncated": func(path string) error { return os.Truncate(path, 10) },
		"file_changed":   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("note\n", 9999)), 0) },
		"file_foreign":   nil,
	} {
		t.Run(code, func(t *testing.T) {
			url := shop(t)
			file := writeFile(t, strings.ReplaceAll(strings.Replace(toFile, "DIR/state", `"DIR/my state"`, 1), "out.jsonl", "o'ut.jsonl"))
			out := filepath.Join(filepath.Dir(file), "o'ut.jsonl")
			if harm == nil {
				harm = func(path string) error {
					return os.RemoveAll(filepath.Join(filepath.Dir(file), "my state"))
				}
			}
			launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
			order(t, url, -10, -1)
			launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
			if err := harm(out); err != nil {
				t.Fatal(err)
			}
			order(t, url, 1, 20)
			shell(t, url, launch(t, url, "run", "--until", "now", file).advice(t, code))
			orders(t, readText(t, out), 20)
		})
	}
}
