package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	core "github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/config"
)

var source = map[string]string{"SOURCE_URL": "postgres://app:hunter2@127.0.0.1:9/shop", "TARGET_URL": "postgres://127.0.0.1:9/copy"}

func TestUsageErrors(t *testing.T) {
	file := writeFile(t, toFile)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"rnu"}, `unknown command "rnu"; did you mean "run"?`},
		{[]string{"config", "shwo"}, `unknown command "shwo"; did you mean "show"?`},
		{[]string{"frobnicate"}, "see: entrain --help"},
		{[]string{"run"}, "0 arguments, expected: entrain run FILE"},
		{[]string{"run", "a", "b"}, "2 arguments"},
		{[]string{"run", "--untli", "now", file}, "unknown flag: --untli; see: entrain run --help"},
		{[]string{"run", "--until", "yesterday", file}, "--until yesterday"},
		{[]string{"run", "--until", "", file}, "--until is empty"},
		{[]string{"run", "--until=", file}, "--until is empty"},
		{[]string{"run", "--until", " ", file}, "is not an LSN such as 16/B374D848"},
		{[]string{"run", "--until", "0/1/2", file}, "is not an LSN such as 16/B374D848"},
		{[]string{"run", "no/such.yaml"}, "no/such.yaml: cannot read the pipeline file: no such file or directory"},
		{[]string{"version", "--log-level", "loud"}, `--log-level "loud": expected debug, info, warn or error`},
		{[]string{"status", "-o", "xml", "shop"}, "-o xml: expected table or json"},
		{[]string{"version", "x"}, "1 arguments"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := invoke(t, source, c.args...)
			got.want(t, exitUsage, c.want)
			if got.stdout != "" {
				t.Errorf("standard output has %q", got.stdout)
			}
		})
	}
}

// Mistakes in the file are told with their place, whoever finds them.
func TestFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"source: {type: postgres, url: x, slto: y}\nsink: {type: file}\n":    "shop.yaml:1:34: unknown key \"slto\"",
		"source: {type: oracle}\nsink: {type: file}\n":                       "shop.yaml:1:16: unknown source type \"oracle\", known: postgres",
		"source: {type: file}\nsink: {type: file}\n":                         "shop.yaml:1:16: unknown source type \"file\"",
		"source: {type: postgres}\nsink: {type: file}\n":                     "shop.yaml:1:16: ",
		strings.Replace(toFile, "path:", "format: avro, path:", 1):           "shop.yaml:4:14: file sink: unknown format \"avro\", known: native",
		strings.Replace(toFile, "type: file", "type: printer", 1):            "shop.yaml:4:14: unknown sink type \"printer\", known: file",
		strings.Replace(toFile, "${SOURCE_URL}", "${NO_SUCH_VARIABLE}", 1):   "environment variable NO_SUCH_VARIABLE is not set",
		toFile + "pipeline: {buffer: 5}\n":                                   "shop.yaml:6:20: too small: expected at least 64kB",
		strings.Replace(toFile, "${SOURCE_URL}", "postgres://h:port/x y", 1): "shop.yaml:2:16: ",
	} {
		got := invoke(t, source, "run", writeFile(t, text))
		got.want(t, exitUsage, want, "    ^")
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"run", "--help"}, {"config"}, {"version"}} {
		got := invoke(t, nil, args...)
		got.want(t, exitOK)
		if !strings.Contains(got.stdout, "entrain") || got.stderr != "" {
			t.Errorf("%v: stdout %q, stderr %q", args, got.stdout, got.stderr)
		}
	}
}

// Nobody listens at the address: the environment is at fault, and the message
// says what was tried.
func TestUnreachableServer(t *testing.T) {
	got := invoke(t, source, "run", writeFile(t, toFile))
	got.want(t, exitEnvironment, "127.0.0.1:9")
	if strings.Contains(got.stderr, "hunter2") {
		t.Error("the password is shown")
	}
}

func TestStopIsThreeLines(t *testing.T) {
	file := writeFile(t, strings.Replace(toFile, "DIR/out", "DIR/no/such/out", 1))
	got := invoke(t, source, "run", file)
	got.want(t, exitEnvironment, "entrain: stopped (folder_missing)\n  what happened: the folder ",
		"\n            why: entrain makes files", fmt.Sprintf("\n           next: mkdir -p '%s'\n", filepath.Join(filepath.Dir(file), "no", "such")))
	if err := os.MkdirAll(filepath.Join(filepath.Dir(file), "no", "such"), 0o700); err != nil {
		t.Fatal(err)
	}
	invoke(t, source, "run", file).want(t, exitEnvironment, "127.0.0.1:9") // the advice led on
}

func TestExitCodes(t *testing.T) {
	stop := &core.Stop{Code: "x", What: "y"}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("odd"), 1},
		{usageError{errors.New("x")}, 2},
		{fmt.Errorf("w: %w", &config.Error{}), 2},
		{fmt.Errorf("w: %w", stop), 3},
		{fmt.Errorf("w: %w", &core.Stop{Data: true, Err: stop}), 1},
		{core.Retryable(errors.New("x")), 3},
		{fmt.Errorf("w: %w", core.ErrDisconnected), 3},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 3},
		{errors.Join(core.ErrDisconnected, signalled{syscall.SIGTERM, "x"}), 143},
		{signalled{os.Interrupt, "x"}, 130},
	} {
		p, _ := talk(nil)
		if got := p.report(c.err); got != c.want {
			t.Errorf("%v: exit code %d; want %d", c.err, got, c.want)
		}
	}
}
