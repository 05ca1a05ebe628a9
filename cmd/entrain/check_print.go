package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/entrainsync/entrain"
)

// findingView is a finding in JSON.
type findingView struct {
	End    string    `json:"end"`
	Code   string    `json:"code"`
	Status string    `json:"status"`
	Object string    `json:"object"`
	Why    string    `json:"why,omitempty"`
	Fix    []fixView `json:"fix,omitempty"`
	Doc    string    `json:"doc"`
}

type fixView struct {
	Where   string `json:"where"`
	SQL     string `json:"sql,omitempty"`
	Shell   string `json:"shell,omitempty"`
	Config  string `json:"config,omitempty"`
	Restart bool   `json:"restart,omitempty"`
}

type failureView struct {
	End   string `json:"end"`
	Error string `json:"error"`
}

// checkView is the whole of -o json.
type checkView struct {
	Findings []findingView `json:"findings"`
	Failures []failureView `json:"failures"`
	// Guarantees of each sink, by its name.
	Guarantees map[string]guaranteesView `json:"guarantees"`
}

type guaranteesView struct {
	Promises string `json:"promises"`
	Why      string `json:"why,omitempty"`
}

func (p *program) printParts(parts []part, o checkOptions, l *loaded) error {
	switch {
	case o.output == "json":
		view := viewOf(parts)
		view.Guarantees = map[string]guaranteesView{}
		for name, g := range l.guarantees() {
			promises := entrain.Guarantees{Once: g.Once, Whole: g.Whole}
			view.Guarantees[name] = guaranteesView{promises.String(), g.Why}
		}
		return writeJSON(p.stdout, view)
	case o.fixSQL:
		return writeFixSQL(p.stdout, parts)
	}
	return writeFindings(p.stdout, parts, o)
}

func viewOf(parts []part) checkView {
	view := checkView{Findings: []findingView{}, Failures: []failureView{}}
	for _, of := range parts {
		if of.err != nil {
			view.Failures = append(view.Failures, failureView{of.name, of.err.Error()})
		}
		for _, f := range of.report.Findings {
			v := findingView{End: of.name, Code: f.Code, Status: f.Status.String(), Object: f.Object, Why: f.Why, Doc: f.Doc}
			for _, fix := range f.Fix {
				v.Fix = append(v.Fix, fixView(fix))
			}
			view.Findings = append(view.Findings, v)
		}
	}
	return view
}

// writeFindings prints what is not well, worst first, and how much is. What was
// asked for by its code is shown in any case.
func writeFindings(out io.Writer, parts []part, o checkOptions) error {
	var all []entrain.Finding
	var unseen []string
	for _, of := range parts {
		all = append(all, of.report.Findings...)
		if of.err != nil {
			unseen = append(unseen, of.name)
		}
	}
	slices.SortStableFunc(all, func(a, b entrain.Finding) int { return int(b.Status) - int(a.Status) })
	counts := map[entrain.FindingStatus]int{}
	for _, f := range all {
		counts[f.Status]++
		if f.Status != entrain.FindingOK || len(o.only) > 0 {
			writeFinding(out, f)
		}
	}
	cut := ""
	if len(unseen) > 0 {
		cut = "; cut short, not examined: " + strings.Join(unseen, ", ")
	}
	_, err := fmt.Fprintf(out, "%s, %s, %d ok%s\n", plural(counts[entrain.FindingError], "error"), plural(counts[entrain.FindingWarning], "warning"),
		counts[entrain.FindingOK], cut)
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// writeFinding prints one finding, a paragraph each.
func writeFinding(out io.Writer, f entrain.Finding) {
	fmt.Fprintf(out, "%-7s  %s  %s\n", f.Status, f.Code, oneLine(f.Object))
	if f.Why != "" {
		fmt.Fprintf(out, "  why  %s\n", oneLine(f.Why))
	}
	for i, fix := range f.Fix {
		if i == 0 || fix.Where != f.Fix[i-1].Where {
			fmt.Fprintf(out, "  fix  %s:\n", oneLine(fix.Where))
		}
		text := fix.Shell + strings.TrimSuffix(fix.Config, "\n")
		if fix.SQL != "" {
			text = sqlLine(fix.SQL) + ";"
		}
		fmt.Fprintf(out, "       %s\n", strings.ReplaceAll(text, "\n", "\n       "))
		if fix.Restart {
			fmt.Fprintf(out, "       then restart the server\n")
		}
	}
	if f.Status != entrain.FindingOK {
		fmt.Fprintf(out, "  doc  docs/%s\n", f.Doc)
	}
	fmt.Fprintln(out)
}

// misleads reports whether a character in a name of somebody's choice ends a
// line, or makes a terminal do or order something.
func misleads(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// oneLine keeps a name of somebody's choice from looking like lines of ours.
func oneLine(s string) string { return escape(s, `\u%04x`) }

func escape(s, format string) string {
	if !strings.ContainsFunc(s, misleads) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if misleads(r) {
			fmt.Fprintf(&b, format, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// quotedSQL finds the quoted names and texts in SQL, but no apostrophe of prose.
var quotedSQL = regexp.MustCompile(`"(?:[^"]|"")*"|(?:\bE|\B)'(?:[^']|'')*'`)

// sqlLine writes names and texts that mislead in SQL's other ways: a statement
// says the same, and can be read and copied.
func sqlLine(sql string) string {
	return quotedSQL.ReplaceAllStringFunc(sql, func(quoted string) string {
		switch {
		case !strings.ContainsFunc(quoted, misleads):
			return quoted
		case quoted[0] == 'E':
			return oneLine(quoted)
		}
		return "U&" + escape(strings.ReplaceAll(quoted, `\`, `\\`), `\%04x`)
	})
}

// writeFixSQL prints the fixes as a script: each server's statements follow a
// command that brings psql there, and what is no SQL is a comment. At an error
// psql goes no further, since steps build on those before.
func writeFixSQL(out io.Writer, parts []part) error {
	w := &bytes.Buffer{}
	w.WriteString("\\set ON_ERROR_STOP on\n")
	for _, of := range parts {
		begun := false
		for _, f := range of.report.Findings {
			if f.Status == entrain.FindingOK {
				continue
			}
			if !begun {
				begun = true
				writeServer(w, of.report)
			}
			writeFixes(w, f)
		}
	}
	_, err := out.Write(w.Bytes())
	return err
}

func writeServer(out io.Writer, r entrain.Report) {
	fmt.Fprintf(out, "\n-- ---- %s\n", oneLine(r.Server))
	if r.Connect != "" {
		fmt.Fprintf(out, "\\connect -reuse-previous=on %s\n", psqlWord(r.Connect))
	}
}

// psqlWord quotes an argument of psql's own commands.
func psqlWord(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`).Replace(s) + "'"
}

func writeFixes(out io.Writer, f entrain.Finding) {
	fmt.Fprintf(out, "\n-- %s: %s\n", f.Code, oneLine(f.Object))
	if f.Why != "" {
		fmt.Fprintf(out, "-- %s\n", oneLine(f.Why))
	}
	for i, fix := range f.Fix {
		if i == 0 || fix.Where != f.Fix[i-1].Where {
			fmt.Fprintf(out, "-- %s:\n", oneLine(fix.Where))
		}
		if fix.SQL != "" {
			fmt.Fprintf(out, "%s;\n", fix.SQL)
		}
		for line := range strings.Lines(fix.Shell + fix.Config) {
			fmt.Fprintf(out, "--   %s\n", oneLine(strings.TrimSuffix(line, "\n")))
		}
		if fix.Restart {
			fmt.Fprintf(out, "-- then restart the server\n")
		}
	}
}
