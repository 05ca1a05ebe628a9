// Command campaign attacks the built binary on real servers and writes down what
// came out: "0 lost, 0 duplicated, 0 reordered of N changes under M faults".
//
//	go run ./campaign list
//	go run ./campaign NAME [--seed N] [--pg N] [--faults N] [--changes N] [--minutes M] [--out DIR]
//	go run ./campaign all [--budget MINUTES] [...]
//	go test -json ./... | go run ./campaign record [--out DIR]
//	go run ./campaign proof [--out DIR]
//
// A campaign is a load, faults from outside and checkers that trust none of
// entrain's code; package internal/campaign has them, and its tests run the same
// ones in small. The report goes to DIR (docs/proof) as NAME-pgMAJOR.json and .md, with -short in
// the name if other numbers were asked for; that of one without a server as NAME.json.
//
// A flag that has no effect on what is to be done is refused. all gives each campaign
// those that it takes. It runs one after the other and leaves out those that have passed at
// this commit already, so that it can be broken off and resumed; --budget begins
// none that would not end within so many minutes. --minutes is for campaigns that
// are measured by time. A second Ctrl-C ends at once and may leave servers behind.
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
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
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

func main() {
	ctx, stop := untilSignal(context.Background())
	code := run(ctx, os.Args[1:], output{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// untilSignal returns a context that ends with the first Ctrl-C. The second one then
// ends the process at once, also while servers are being removed.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// output is where results go, and what goes on.
type output struct{ result, log io.Writer }

func run(ctx context.Context, args []string, to output) int {
	code, err := command(ctx, args, to)
	if removed := campaign.Remove(); removed != nil {
		err = errors.Join(err, fmt.Errorf("remove the servers: %w", removed))
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(to.result, help())
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintln(to.log, "campaign:", err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(to.log, "campaign:", err)
		return exitRuntime
	}
	return code
}

func command(ctx context.Context, args []string, to output) (int, error) {
	if len(args) == 0 {
		return 0, wrong("it lacks what to do")
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		return 0, flag.ErrHelp
	}
	a, err := parse(args[0], args[1:])
	if err != nil {
		return 0, err
	}
	switch a.name {
	case "list":
		return exitOK, list(to.result)
	case "all":
		return a.all(ctx, to)
	case "record":
		return keepTests(a.folder, os.Stdin, to.log)
	case "proof":
		return keepPage(a.folder)
	}
	return a.one(ctx, a.campaign, to)
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
	o := s.options(c)
	if err := writable(s.folder); err != nil {
		return 0, err
	}
	on := ""
	if c.Takes(campaign.Major) {
		if _, err := pgserver.Obtain(ctx, o.Major); err != nil {
			return 0, err
		}
		on = fmt.Sprintf("seed %d, PostgreSQL %d, ", o.Seed, o.Major)
	}
	fmt.Fprintf(to.log, "==> %s: %scommit %s\n", c.Name, on, s.commit)
	began := time.Now()
	report := c.Run(ctx, o, func(line string) { fmt.Fprintf(to.log, "%6.0f s  %s\n", time.Since(began).Seconds(), line) })
	if ctx.Err() != nil {
		return 0, fmt.Errorf("%s was broken off; no report is kept", c.Name)
	}
	report.Commit, report.Asked = stayed(s.commit, commit()), s.asked(c)
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
	base := r.Name
	if r.Serves() {
		base += fmt.Sprintf("-pg%d", r.PostgreSQL)
	}
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
		case time.Now().Add(s.estimate(c)).After(end):
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
func (s settings) covers(r *campaign.Report, asked string) bool {
	return r.Verdict == campaign.Passed && r.Asked == asked && r.Commit == s.commit && commitHash.MatchString(r.Commit)
}

// commitHash is a commit without changes.
var commitHash = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// passed reports whether a campaign's last report is of this commit and good.
func (s settings) passed(c campaign.Case) bool {
	like := &campaign.Report{Name: c.Name, Asked: s.asked(c)}
	if c.Takes(campaign.Major) {
		like.PostgreSQL = s.options(c).Major
	}
	text, err := os.ReadFile(filepath.Join(s.folder, baseName(like)+".json"))
	if err != nil {
		return false
	}
	r, err := campaign.Parse(text)
	return err == nil && s.covers(r, like.Asked)
}
