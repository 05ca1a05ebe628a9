// Command campaign attacks the built binary on real servers and writes down what
// came out: "0 lost, 0 duplicated, 0 reordered of N changes under M faults".
//
//	go run ./campaign list
//	go run ./campaign NAME [--seed N] [--minutes M] [--pg 14..18] [--faults N] [--changes N] [--out DIR]
//	go run ./campaign all [--budget MINUTES] [...]
//	go test -json ./... | go run ./campaign record [--out DIR]
//	go run ./campaign proof [--out DIR]
//
// A campaign is a load, faults from outside and checkers that trust none of
// entrain's code; package internal/campaign has them, and its tests run the same
// ones in small. The report goes to DIR (docs/proof) as NAME-pgMAJOR.json and .md, with -short in
// the name if less was asked for.
//
// all runs one campaign after the other and leaves out those that have passed at
// this commit already, so that it can be broken off and resumed; --budget begins
// none that would not end within so many minutes. --minutes shortens campaigns that
// are measured by time.
//
// record keeps what a run of the tests came to in DIR/tests.json; proof writes the
// page beside DIR (docs/proof.md), which says what shows each case: from the rows of
// this package, the reports, that record and DIR/found.txt.
//
// It exits with 0 if everything passed, 1 if it could not be done, 2 for a wrong command
// line, 3 if all left campaigns out for the budget, 4 if something was found or skipped (go run makes 1 of each but 0). The servers run as an unprivileged user if this runs as root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/campaign"
	"github.com/entrainsync/entrain/internal/pgserver"
)

// The exit codes.
const (
	exitOK       = 0
	exitRuntime  = 1
	exitUsage    = 2
	exitLeft     = 3
	exitFindings = 4
)

// reportsFolder is the folder of the reports unless --out names another one.
var reportsFolder = filepath.Join("docs", "proof")

// errUsage marks mistakes of the command line.
var errUsage = errors.New("usage: go run ./campaign list|all|record|proof|NAME [flags]; go run ./campaign list says which there are")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], output{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// output is where results go, and what goes on.
type output struct{ result, log io.Writer }

func run(ctx context.Context, args []string, to output) int {
	code, err := command(ctx, args, to)
	if removed := campaign.Remove(); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove the servers: %w", removed))
	}
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(to.log, err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(to.log, "campaign:", err)
		return exitRuntime
	}
	return code
}

func command(ctx context.Context, args []string, to output) (int, error) {
	if len(args) == 0 {
		return 0, errUsage
	}
	name := args[0]
	if name == "record" || name == "proof" {
		return paper(name, args[1:], to.log)
	}
	s, err := parse(name, args[1:], to.log)
	if err != nil {
		return 0, err
	}
	switch name {
	case "list":
		return exitOK, list(to.result)
	case "all":
		return s.all(ctx, to)
	}
	c, found := campaign.Find(name)
	if !found {
		return 0, fmt.Errorf("%w\nthere is no campaign %q", errUsage, name)
	}
	return s.one(ctx, c, to)
}

// paper does what is about reports and runs nothing.
func paper(name string, args []string, log io.Writer) (int, error) {
	flags := flag.NewFlagSet("campaign "+name, flag.ContinueOnError)
	flags.SetOutput(log)
	folder := flags.String("out", reportsFolder, "folder of the reports")
	if err := flags.Parse(args); err != nil {
		return 0, fmt.Errorf("%w\n%w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return 0, fmt.Errorf("%w\n%q is too much", errUsage, flags.Arg(0))
	}
	if name == "record" {
		return keepTests(*folder, os.Stdin, log)
	}
	return keepPage(*folder)
}

// settings are what the command line says.
type settings struct {
	campaign.Options
	folder string
	budget time.Duration
	commit string
	asked  string // the flags that make the campaign another one
}

// minutes is a flag in minutes.
type minutes struct{ d *time.Duration }

// String implements flag.Value.
func (m minutes) String() string {
	if m.d == nil {
		return ""
	}
	return strconv.FormatFloat(m.d.Minutes(), 'f', -1, 64)
}

// Set implements flag.Value.
func (m minutes) Set(text string) (err error) {
	*m.d, err = time.ParseDuration(text + "m")
	return err
}

func parse(name string, args []string, log io.Writer) (settings, error) {
	s := settings{folder: reportsFolder, budget: 24 * time.Hour, commit: commit()}
	flags := flag.NewFlagSet("campaign "+name, flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Uint64Var(&s.Seed, "seed", rand.Uint64(), "where random choices come from")
	flags.IntVar(&s.Major, "pg", 15, "major version of PostgreSQL")
	flags.IntVar(&s.Faults, "faults", 0, "how many faults, instead of the campaign's own number")
	flags.Int64Var(&s.Changes, "changes", 0, "how many changes, instead of the campaign's own number")
	flags.Var(minutes{&s.Length}, "minutes", "how long, for campaigns that are measured by time")
	flags.Var(minutes{&s.budget}, "budget", "minutes that all may take together")
	flags.StringVar(&s.folder, "out", s.folder, "folder of the reports")
	if err := flags.Parse(args); err != nil {
		return s, fmt.Errorf("%w\n%w", errUsage, err)
	}
	flags.Visit(func(f *flag.Flag) {
		if slices.Contains([]string{"faults", "changes", "minutes"}, f.Name) {
			s.asked += " --" + f.Name + " " + f.Value.String()
		}
	})
	if bug := os.Getenv("ENTRAIN_MUTANT"); bug != "" {
		s.asked += " with ENTRAIN_MUTANT=" + strconv.Quote(bug)
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%w\n%q is too much", errUsage, flags.Arg(0))
	case s.Major < pgserver.OldestMajor:
		return s, fmt.Errorf("%w\nPostgreSQL %d is too old", errUsage, s.Major)
	case s.Faults < 0 || s.Changes < 0 || s.Length < 0 || s.budget <= 0:
		return s, fmt.Errorf("%w\na number is negative", errUsage)
	}
	return s, nil
}

// commit is what is being tested: the last commit, with a mark if files differ from it.
func commit() string {
	hash, err := exec.Command("git", "rev-parse", "--short=10", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(hash))
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=all", "--", ":/", ":!/docs/proof", ":!/docs/proof.md").Output(); err != nil || differs(string(changed)) {
		name += "+"
	}
	return name
}

// differs reports whether git status tells of anything that may be built: files of the
// commit that were changed, and new ones of Go.
func differs(status string) bool {
	for line := range strings.Lines(status) {
		path, isNew := strings.CutPrefix(strings.TrimSpace(line), "?? ")
		path = strings.Trim(path, `"`)
		if !isNew || strings.HasSuffix(path, ".go") || slices.Contains([]string{"go.mod", "go.sum", "go.work"}, filepath.Base(path)) {
			return true
		}
	}
	return false
}

// stayed is the commit of a campaign: with a mark if files changed since it began.
func stayed(before, after string) string {
	if before != after && !strings.HasSuffix(before, "+") {
		return before + "+"
	}
	return before
}

func list(out io.Writer) error {
	for _, c := range campaign.Cases() {
		if _, err := fmt.Fprintf(out, "%-16s %-12s about %3d min  %s\n", c.Name, strings.Join(c.IDs, " "), c.Minutes, c.About); err != nil {
			return err
		}
	}
	return nil
}

// one runs a campaign and keeps its report.
func (s settings) one(ctx context.Context, c campaign.Case, to output) (int, error) {
	o := c.Full
	o.Seed, o.Major = s.Seed, max(s.Major, c.Oldest)
	if s.Faults > 0 {
		o.Faults = s.Faults
		o.Changes = 0
	}
	if s.Changes > 0 {
		o.Changes = s.Changes
	}
	if s.Length > 0 {
		o.Length = s.Length
	}
	if err := writable(s.folder); err != nil {
		return 0, err
	}
	if _, err := pgserver.Obtain(ctx, o.Major); err != nil {
		return 0, err
	}
	fmt.Fprintf(to.log, "==> %s: seed %d, PostgreSQL %d, commit %s\n", c.Name, o.Seed, o.Major, s.commit)
	began := time.Now()
	report := c.Run(ctx, o, func(line string) { fmt.Fprintf(to.log, "%6.0f s  %s\n", time.Since(began).Seconds(), line) })
	if ctx.Err() != nil {
		return 0, fmt.Errorf("%s was broken off; no report is kept", c.Name)
	}
	report.Commit, report.Asked = stayed(s.commit, commit()), s.asked
	_, said := fmt.Fprintf(to.result, "%s: %s: %s\n", c.Name, report.Verdict, report.Claim())
	if err := errors.Join(said, s.keep(report, to.log)); err != nil {
		return 0, err
	}
	if report.Verdict != campaign.Passed {
		return exitFindings, nil
	}
	return exitOK, nil
}

// writable makes a folder and tries to write into it, before a campaign rather than after.
func writable(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	probe, err := os.CreateTemp(folder, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// baseName is the name of a report's files, without the ending.
func baseName(r *campaign.Report) string {
	base := fmt.Sprintf("%s-pg%d", r.Name, r.PostgreSQL)
	if r.Asked != "" {
		base += "-short" // beside the whole one
	}
	return base
}

// keep writes both forms of a report. One that failed replaces one that passed, one that
// was skipped does not.
func (s settings) keep(r *campaign.Report, log io.Writer) error {
	text, err := r.JSON()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.folder, 0o755); err != nil {
		return err
	}
	base := filepath.Join(s.folder, baseName(r))
	if text, err := os.ReadFile(base + ".json"); err == nil && r.Verdict != campaign.Passed {
		old, err := campaign.Parse(text)
		switch {
		case err != nil || old.Verdict != campaign.Passed:
		case r.Verdict == campaign.Skipped:
			fmt.Fprintf(log, "==> %s.json stays: it passed at commit %s, this run was skipped\n", base, old.Commit)
			return nil
		default:
			fmt.Fprintf(log, "==> %s.json is replaced: it had passed at commit %s\n", base, old.Commit)
		}
	}
	return errors.Join(os.WriteFile(base+".json", text, 0o644), os.WriteFile(base+".md", []byte(r.Markdown()), 0o644))
}

// all runs what has not passed at this commit, as far as the budget reaches.
func (s settings) all(ctx context.Context, to output) (int, error) {
	end := time.Now().Add(s.budget)
	worst, left := exitOK, 0
	for _, c := range campaign.Cases() {
		switch {
		case s.passed(c):
			fmt.Fprintf(to.log, "==> %s has passed already\n", c.Name)
			continue
		case time.Now().Add(time.Duration(c.Minutes) * time.Minute).After(end):
			fmt.Fprintf(to.log, "==> %s does not end within the budget\n", c.Name)
			left++
			continue
		}
		code, err := s.one(ctx, c, to)
		if err != nil {
			return 0, err
		}
		worst = max(worst, code)
	}
	if left > 0 {
		fmt.Fprintf(to.log, "==> %d campaigns are left: the same command again goes on\n", left)
		worst = max(worst, exitLeft)
	}
	return worst, nil
}

// covers reports whether a report says that a campaign need not be run: it passed, was
// the same one, and of a commit that can be had again.
func (s settings) covers(r *campaign.Report) bool {
	return r.Verdict == campaign.Passed && r.Asked == s.asked && r.Commit == s.commit && commitHash.MatchString(r.Commit)
}

// commitHash is a commit without changes.
var commitHash = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// passed reports whether a campaign's last report is of this commit and good.
func (s settings) passed(c campaign.Case) bool {
	text, err := os.ReadFile(filepath.Join(s.folder, fmt.Sprintf("%s-pg%d.json", c.Name, max(s.Major, c.Oldest))))
	if err != nil {
		return false
	}
	r, err := campaign.Parse(text)
	return err == nil && s.covers(r)
}
