package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain/internal/campaign"
)

// cell makes text fit into a cell of a table, where nothing of it means anything.
var cell = strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "*", `\*`)

const noResult = "no result kept"

const about = "<!-- Written by `go run ./campaign proof`. Not edited by hand: a test compares it with what it is made of. -->\n\n" +
	"# What is proven, and by what\n\n" +
	"Every claim here has a test or a campaign that anybody can repeat, and the figures of its last run that was kept. A campaign is a load on real\n" +
	"servers, faults from outside and checkers that trust none of entrain's code ([ADR 17](adr/0017-campaigns.md)); tests sample nearly all of them.\n" +
	"What is not shown, or only in part, says so.\n\n" +
	"Each report is of the commit that it names, not of this one: `git diff COMMIT` says what has changed since. Counted one by one are changes that\n" +
	"have a number: a target without any unique key has to have each of them once and in the source's order. Those three figures are of these; inserts into\n" +
	"the log without a key are in the count, too, but a lost or doubled one is a finding, not in the figures. The other changes of a load are looked at by\n" +
	"the rows that they left. Reads of the ledger look, while changes arrive, for a transaction of which only a part is there. A seed repeats the choices of\n" +
	"load and faults, as far as a campaign draws them; not when the machine does what.\n\n"

// page is docs/proof.md.
func (e *evidence) page(all []group) string {
	var b strings.Builder
	b.WriteString(about)
	b.WriteString(e.head(all))
	b.WriteString(e.campaigns())
	b.WriteString(e.bugs())
	for _, g := range all {
		fmt.Fprintf(&b, "## %s\n\n| | what has to hold | shown by, and what came out last |\n|---|---|---|\n", g.title)
		for _, r := range g.rows {
			b.WriteString(e.line(r))
		}
		b.WriteString("\n")
	}
	b.WriteString(e.history())
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// head says how much is shown, by which runs, and how to repeat them.
func (e *evidence) head(all []group) string {
	var b strings.Builder
	rows, part, missing := 0, 0, 0
	for _, g := range all {
		for _, r := range g.rows {
			rows++
			switch {
			case r.missing != "":
				missing++
			case r.part() != "":
				part++
			}
		}
	}
	fmt.Fprintf(&b, "- Of %d cases %d have tests or campaigns, %d of them for a part of what they ask, which the page names; %d have none, with the reason.\n", rows, rows-missing, part, missing)
	if t := e.tests; t == nil {
		b.WriteString("- No run of the tests is kept.\n")
	} else {
		fmt.Fprintf(&b, "- Tests: %d passed, %d failed, %d were skipped in %d packages, at commit `%s` on %s, %s, PostgreSQL %s", t.Passed, t.Failed, t.Skipped, t.Packages, t.Commit, t.Date, t.Go, t.PostgreSQL)
		if t.Switches != "" {
			fmt.Fprintf(&b, ", `%s`", t.Switches)
		}
		b.WriteString(".\n")
		for _, name := range t.Failures {
			fmt.Fprintf(&b, "  - FAILED: `%s`\n", name)
		}
	}
	b.WriteString("- " + e.named(all) + "\n- Campaigns: " + e.commits() + ".\n")
	b.WriteString("- Again: `make proof` runs the tests and writes this page, `make campaign` begins the campaigns that end within 100 minutes, or goes on with them;\n" +
		"  `go run ./campaign NAME --seed N --pg N` repeats one. `ENTRAIN_TEST_SEED` repeats the choices of a sampled one.\n\n")
	return b.String()
}

// named says how the tests that the rows name have ended.
func (e *evidence) named(all []group) string {
	ends, names := map[string]int{}, namedTests(all, e.found)
	for name := range names {
		how := ""
		if t := e.result(name); t != nil {
			how = t.Result
		}
		ends[how]++
	}
	return fmt.Sprintf("Of %d tests that are named here %d passed, %d failed, %d were skipped, and of %d no result is kept.",
		len(names), ends["pass"], ends["fail"], ends["skip"], ends[""])
}

// commits says at which commits the campaigns ran.
func (e *evidence) commits() string {
	var commits []string
	for _, r := range e.reports {
		if text := "`" + r.Commit + "`"; !slices.Contains(commits, text) {
			commits = append(commits, text)
		}
	}
	if commits == nil {
		return "no report is kept"
	}
	return fmt.Sprintf("%d reports, at commit %s", len(e.reports), strings.Join(commits, ", "))
}

// campaigns is the table of the campaigns, those that have no report included.
func (e *evidence) campaigns() string {
	var b strings.Builder
	b.WriteString("## The campaigns\n\n| campaign | what is done | verdict | what came out | seed | commit | PostgreSQL | took |\n|---|---|---|---|---|---|---|---|\n")
	var names []string
	for _, c := range campaign.Cases() {
		names = append(names, c.Name)
		reports := e.of(c.Name)
		if reports == nil {
			fmt.Fprintf(&b, "| %s | %s | %s | | | | | about %d min |\n", c.Name, cell.Replace(c.About), noResult, c.Minutes)
		}
		for _, r := range reports {
			b.WriteString(e.reportLine(r))
		}
	}
	for _, r := range e.reports {
		if !slices.Contains(names, r.Name) { // of a campaign that there is no more
			b.WriteString(e.reportLine(r))
		}
	}
	return b.String() + "\n"
}

func (e *evidence) reportLine(r kept) string {
	seed, major := "", ""
	if r.Serves() {
		seed, major = fmt.Sprint(r.Seed), fmt.Sprint(r.PostgreSQL)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | `%s` | %s | %s |\n", e.linkTo(r), cell.Replace(r.About), r.Verdict, cell.Replace(r.Claim()+r.Asked),
		seed, r.Commit, major, time.Duration(r.Seconds)*time.Second)
}

func (e *evidence) linkTo(r kept) string {
	return fmt.Sprintf("[%s](%s/%s.md)", r.Name, e.link, r.file)
}

// bugs is what the campaign of planted bugs noted, a bug a line.
func (e *evidence) bugs() string {
	var b strings.Builder
	for _, r := range e.reports {
		if !strings.HasPrefix(r.file, "mutants-") {
			continue
		}
		fmt.Fprintf(&b, "## The campaign of planted bugs\n\nPostgreSQL %d, %s, %s%s:\n\n", r.PostgreSQL, e.linkTo(r), r.Verdict, cell.Replace(r.Asked))
		for i, line := range r.Table {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
			if i == 0 {
				b.WriteString(strings.Repeat("|---", len(line)) + "|\n")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// line is a row of a group's table.
func (e *evidence) line(r row) string {
	var by []string
	for _, c := range showing(r.id) {
		by = append(by, e.campaignResult(c, plantedIn[r.id]))
	}
	for _, name := range testNames(r.tests) {
		by = append(by, e.testResult(name))
	}
	if part := r.part(); part != "" {
		by = append(by, "In part: "+cell.Replace(part)+".")
	}
	if r.missing != "" {
		by = append(by, "Not possible yet: "+cell.Replace(r.missing)+".")
	}
	return fmt.Sprintf("| %s | %s | %s |\n", r.id, cell.Replace(r.title), strings.Join(by, "<br>"))
}

// campaignResult is what the last whole runs of a campaign came to; of planted bugs, what
// their own lines say.
func (e *evidence) campaignResult(c campaign.Case, bugs []string) string {
	reports := e.whole(c.Name)
	if reports == nil {
		return fmt.Sprintf("campaign %s: %s", c.Name, noResult)
	}
	var texts []string
	for _, r := range reports {
		came := r.Claim()
		if bugs != nil {
			came = r.ofBugs(bugs)
		}
		texts = append(texts, fmt.Sprintf("campaign %s: %s, %s", e.linkTo(r), r.Verdict, cell.Replace(came)))
	}
	return strings.Join(texts, "<br>")
}

// ofBugs is what a report's table says of bugs.
func (r kept) ofBugs(bugs []string) string {
	var texts []string
	for _, bug := range bugs {
		text := bug + ": " + noResult
		for _, line := range r.Table {
			if len(line) > 3 && line[0] == bug {
				text = bug + ": " + r.Table[0][3] + " " + line[3]
			}
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

var verdicts = map[string]string{"pass": "passed", "fail": "FAILED", "skip": "skipped"}

// testResult is how a test ended, and what it counted.
func (e *evidence) testResult(name testName) string {
	t := e.result(name)
	if t == nil {
		return fmt.Sprintf("`%s`: %s", name, noResult)
	}
	text := fmt.Sprintf("`%s`: %s, %.1f s", name, verdicts[t.Result], t.Seconds)
	for _, claim := range t.Claims {
		text += "; " + cell.Replace(claim)
	}
	return text
}

// history is what was found and mended.
func (e *evidence) history() string {
	if e.found == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString("## Found and mended\n\nWhat campaigns and attacks found while entrain was made, and what would find it again.\n\n| found by | what was wrong | what guards it now |\n|---|---|---|\n")
	for _, f := range e.found {
		var guards []string
		for _, name := range testNames(f.guard) {
			guards = append(guards, e.testResult(name))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell.Replace(f.by), cell.Replace(f.wrong), strings.Join(guards, "<br>"))
	}
	return b.String()
}
