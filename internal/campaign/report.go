package campaign

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Report is what a campaign says at its end. It is kept as JSON and as text.
type Report struct {
	// Format is the form of a kept report: 1, or 0 in those from before it was numbered.
	Format int `json:"format,omitempty"`
	// Name and IDs are those of the campaign.
	Name string   `json:"name"`
	IDs  []string `json:"ids"`
	// About says what was done.
	About string `json:"about"`
	// Verdict is "passed", "failed" or "skipped".
	Verdict string `json:"verdict"`
	// Seed repeats the choices.
	Seed uint64 `json:"seed"`
	// Commit is what was built, with "+" behind it if files were changed.
	Commit string `json:"commit"`
	// PostgreSQL is the major version, Go that of the compiler and its platform.
	PostgreSQL int    `json:"postgresql,omitempty"`
	Go         string `json:"go"`
	// Began is when, in UTC; Seconds how long it took.
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// Asked are the other flags that were given.
	Asked string `json:"asked,omitempty"`
	// Outcome is what was counted.
	Outcome Outcome `json:"outcome"`
	// Findings are what was wrong, in words; empty if nothing was.
	Findings []string `json:"findings,omitempty"`
	// Skipped says why nothing was done.
	Skipped string `json:"skipped,omitempty"`
	// Notes are what the campaign counted besides.
	Notes []string `json:"notes,omitempty"`
	// Said is what the campaign claims in place of the usual figures.
	Said string `json:"said,omitempty"`
	// Table has what it did, part by part, under a line of headings.
	Table [][]string `json:"table,omitempty"`
	// Faults are what was done, in order.
	Faults []Fault `json:"faults"`
}

// The verdicts.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

const reportFormat = 1

// report gathers what is known at the end.
func (r *Trial) report(c Case, run *standalone, began time.Time) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.mu.Lock() // somebody may still be at work who was not waited for
	defer run.mu.Unlock()
	p := &Report{
		Format: reportFormat, Name: c.Name, IDs: c.IDs, About: c.About, Verdict: Passed, Seed: r.Seed, PostgreSQL: r.Major,
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Began: began.UTC().Truncate(time.Second), Seconds: since(began).Seconds(),
		Outcome: r.result, Findings: slices.Clone(run.errors), Skipped: run.skipped, Notes: r.notes, Faults: slices.Clone(r.faults), Said: r.claim, Table: r.table,
	}
	if !c.Takes(Major) { // no server is started
		p.PostgreSQL = 0
	}
	if !c.Takes(Seed) {
		p.Seed = 0
	}
	switch {
	case len(run.errors) > 0:
		p.Verdict = Failed
	case run.skipped != "":
		p.Verdict = Skipped
	}
	return p
}

// Serves reports whether the campaign starts servers. One that does not has neither a
// version of PostgreSQL nor a seed.
func (p *Report) Serves() bool { return p.PostgreSQL != 0 }

// JSON is the report for programs.
func (p *Report) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(p, "", " ")
	return append(text, '\n'), err
}

// Claim is the one line that says it all. That of a failure begins with what was found.
func (p *Report) Claim() string {
	if p.Verdict != Failed || len(p.Findings) == 0 {
		return p.figures()
	}
	first, _, _ := strings.Cut(strings.TrimSpace(p.Findings[0]), "\n")
	if runes := []rune(first); len(runes) > 200 {
		first = string(runes[:200]) + "…"
	}
	return fmt.Sprintf("%d findings, the first: %s; counted: %s", len(p.Findings), first, p.figures())
}

// figures are what was counted, or what the campaign says in their place.
func (p *Report) figures() string {
	switch o := p.Outcome; {
	case p.Verdict == Skipped:
		return "skipped: " + p.Skipped
	case p.Said != "":
		return p.Said
	case o.Changes == 0 && len(p.Notes) > 0:
		return strings.Join(p.Notes, "; ")
	default:
		return fmt.Sprintf("%d lost, %d duplicated, %d reordered of %d changes counted one by one, in a load of %d, under %d faults",
			o.Lost, o.Duplicated, o.Reordered, o.Counted, o.Changes, len(p.Faults))
	}
}

// Markdown is the report for people.
func (p *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n%s (%s): %s.\n\n", p.Name, p.Verdict, p.Claim(), strings.Join(p.IDs, ", "), p.About)
	fmt.Fprintf(&b, "| | |\n|---|---|\n| commit | `%s` |\n", p.Commit)
	again := p.Asked
	if p.Serves() {
		fmt.Fprintf(&b, "| seed | %d |\n| PostgreSQL | %d |\n", p.Seed, p.PostgreSQL)
		again = fmt.Sprintf(" --seed %d --pg %d%s", p.Seed, p.PostgreSQL, p.Asked)
	}
	fmt.Fprintf(&b, "| Go | %s |\n| began | %s |\n| took | %s |\n", p.Go, p.Began.Format(time.RFC3339), time.Duration(p.Seconds)*time.Second)
	if o := p.Outcome; o.Changes > 0 {
		fmt.Fprintf(&b, "| changes, transactions | %d, %d |\n| counted one by one | %d |\n| reads of the ledger meanwhile | %d |\n", o.Changes, o.Transactions, o.Counted, o.Reads)
	}
	fmt.Fprintf(&b, "| faults | %d |\n", len(p.Faults))
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "\n- %s\n", note)
	}
	writeTable(&b, p.Table)
	if len(p.Faults) > 0 {
		fmt.Fprintf(&b, "\nFaults: %s. The file beside this one has each with its time.\n", inWords(p.Faults))
	}
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "\n```\n%s\n```\n", f)
	}
	fmt.Fprintf(&b, "\nAgain: `go run ./campaign %s%s`\n", p.Name, again)
	return b.String()
}

// writeTable writes lines of cells, the first of which is the headings.
func writeTable(b *strings.Builder, lines [][]string) {
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for i, line := range lines {
		if i == 0 {
			b.WriteString("\n")
		}
		for _, text := range line {
			b.WriteString("| " + cell.Replace(text) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(line)) + "|\n")
		}
	}
}

// Parse reads a report that was kept.
func Parse(text []byte) (*Report, error) {
	p := new(Report)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("read a report: %w", err)
	}
	return p, p.check()
}

// check refuses what no campaign has written.
func (p *Report) check() error {
	switch {
	case p.Format < 0 || p.Format > reportFormat:
		return fmt.Errorf("read a report: format %d is unknown", p.Format)
	case p.Name == "" || p.Commit == "":
		return errors.New("read a report: it lacks the campaign's name or the commit")
	case p.Verdict != Passed && p.Verdict != Failed && p.Verdict != Skipped:
		return fmt.Errorf("read a report: verdict %q is unknown", p.Verdict)
	case p.Verdict == Passed && (len(p.Findings) > 0 || p.Skipped != ""):
		return errors.New("read a report: it passed, and has findings or was skipped")
	}
	return nil
}
