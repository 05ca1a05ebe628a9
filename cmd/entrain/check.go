package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/config"
)

// checkOptions are the flags of check.
type checkOptions struct {
	output  string
	fixSQL  bool
	ddl     bool
	only    []string
	timeout time.Duration
}

func (p *program) checkCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Examine both ends of a pipeline before it runs: what would go wrong, and what mends it; changes nothing",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.output != "table" && o.output != "json":
				return usageError{fmt.Errorf("-o %s: expected table or json", o.output)}
			case o.fixSQL && o.output == "json":
				return usageError{errors.New("--fix-sql prints SQL; -o json has the fixes of each finding in it")}
			case o.timeout <= 0:
				return usageError{fmt.Errorf("--timeout %s: expected a time such as 10s", o.timeout)}
			}
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			if o.ddl {
				return p.printDDLScript(l, o)
			}
			return p.check(cmd.Context(), l, o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&o.fixSQL, "fix-sql", false, "print nothing but the SQL of the fixes, for psql")
	cmd.Flags().BoolVar(&o.ddl, "ddl", false, "print nothing but the SQL that makes the source tell of DDL statements; asks no server")
	cmd.Flags().StringSliceVar(&o.only, "only", nil, "examine only these `codes`")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 10*time.Second, "how long one server may take")
	_ = cmd.RegisterFlagCompletionFunc("only", p.codesOf) // fails only for a flag that is not there
	return cmd
}

// errFindings ends a check that found errors; what they are was printed.
var errFindings = errors.New("the pipeline would not run as it should")

// part is one end of a pipeline as it was examined.
type part struct {
	name   string // source, sink or host
	report entrain.Report
	err    error // it could not be examined
}

// check examines what it can: an end that cannot be reached hides nothing of
// the other one.
func (p *program) check(ctx context.Context, l *loaded, o checkOptions) error {
	if err := l.knownCodes(o.only); err != nil {
		return err
	}
	source := examine(ctx, part{name: "source"}, l.source, checkInput{timeout: o.timeout})
	delivered, rules := l.delivered(source)
	if delivered != nil && l.hasClasses() {
		delivered.Class = classes(l.file.Classes).of
	}
	parts := []part{source}
	if l.log != nil {
		stream := examine(ctx, part{name: "stream"}, l.log, checkInput{delivered, o.timeout})
		if delivered != nil {
			delivered.Partitions = stream.report.Partitions
		}
		parts = append(parts, stream)
	}
	for _, end := range l.sinks {
		sink := examine(ctx, part{name: end.part()}, end.sink, checkInput{delivered, o.timeout})
		sink.park(deadLetters(l.file.DeadLetter.On()))
		parts = append(parts, sink)
	}
	if l.letters != nil {
		parts = append(parts, examine(ctx, part{name: "dead letters"}, l.letters, checkInput{timeout: o.timeout}))
	}
	if l.late != nil {
		parts = append(parts, examine(ctx, part{name: "reconciliation"}, l.late, checkInput{timeout: o.timeout}))
	}
	if l.keys != nil {
		parts = append(parts, examine(ctx, part{name: "deduplication"}, l.keys, checkInput{timeout: o.timeout}))
	}
	parts = append(parts, part{name: "host", report: entrain.Report{Server: "this machine", Findings: slices.Concat(rules, l.checkPattern(), l.checkClassTables(delivered), l.checkRenamed(ctx, o.timeout), checkHost(l))}})
	for i := range parts {
		parts[i].keep(o.only)
		at := p.place.get()
		if i > 1 && l.log != nil && i-2 < len(l.sinks) { // behind source and stream
			at.sink = l.sinks[i-2].section.Name
		}
		parts[i].fill(at)
	}
	if o.output == "table" && !o.fixSQL && len(o.only) == 0 {
		if err := errors.Join(l.writeGuarantees(p.stdout), l.writeClasses(p.stdout)); err != nil {
			return err
		}
	}
	if err := p.printParts(parts, o, l); err != nil {
		return err
	}
	return verdict(parts)
}

// parkedCodes are about values that a sink refuses of single rows.
var parkedCodes = []string{"column_narrower", "column_type"}

// park says of values that are refused what becomes of them with this file.
func (of *part) park(letters deadLetters) {
	const stops = "stops the pipeline"
	for i := range of.report.Findings {
		if f := &of.report.Findings[i]; bool(letters) && slices.Contains(parkedCodes, f.Code) {
			f.Why = strings.Replace(f.Why, stops, "is a dead letter (one of a row that is copied "+stops+")", 1)
		}
	}
}

// deadLetters says whether the file has what is refused parked.
type deadLetters bool

// checkInput is what an examination goes by; source is nil if not known.
type checkInput struct {
	source  *entrain.Report
	timeout time.Duration
}

func examine(ctx context.Context, of part, end any, in checkInput) part {
	checker, ok := end.(entrain.Checker)
	if !ok {
		return of
	}
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	of.report, of.err = checker.Check(ctx, in.source)
	if of.err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		of.err = fmt.Errorf("not examined within %s (see --timeout): %w", in.timeout, of.err)
	}
	return of
}

// codeTransform is about the rules for tables and columns.
const codeTransform = "transform"

// delivered is what the sink gets: the source's tables after the rules. A
// truncate of them all is put through these, as it has no rows.
func (l *loaded) delivered(source part) (*entrain.Report, []entrain.Finding) {
	finding := entrain.Finding{Code: codeTransform, Object: "pipeline file", Doc: "postgres.md#" + codeTransform}
	if source.err != nil || source.report.Database == "" {
		return nil, nil
	}
	report := source.report
	if l.transform == nil || len(report.Tables) == 0 {
		return &report, []entrain.Finding{finding}
	}
	out, err := l.transform(&entrain.Batch{Events: []entrain.Event{{
		Op: entrain.OpTruncate, Truncate: &entrain.Truncate{Tables: report.Tables},
	}}})
	if err != nil {
		finding.Status, finding.Why = entrain.FindingError, err.Error()
		return nil, []entrain.Finding{finding}
	}
	report.Tables = out.Events[0].Truncate.Tables
	err = l.reshape(&report)
	if err != nil {
		finding.Status, finding.Why = entrain.FindingError, err.Error()
		return nil, []entrain.Finding{finding}
	}
	return &report, []entrain.Finding{finding}
}

// reshape puts what the report says of tables through the rules.
func (l *loaded) reshape(report *entrain.Report) (err error) {
	if report.Keys, err = l.deliveredKeys(report.Keys); err != nil {
		return err
	}
	if report.Sequences, err = l.deliveredSequences(report.Sequences); err != nil {
		return err
	}
	report.Copies, err = l.shaped(report.Copies)
	return err
}

// deliveredKeys are the columns of the keys under the names that the rules give.
func (l *loaded) deliveredKeys(keys map[*entrain.Table][]string) (map[*entrain.Table][]string, error) {
	all := make(map[*entrain.Table][]string, len(keys))
	for table, key := range keys {
		m, err := l.mapping(table)
		if err != nil {
			return nil, err
		}
		for _, name := range key {
			i := slices.IndexFunc(m.From, func(from int) bool { return table.Columns[from].Name == name })
			if i >= 0 {
				all[m.Table] = append(all[m.Table], m.Table.Columns[i].Name)
			}
		}
	}
	return all, nil
}

// shaped is what the rules make of the tables that are copied. How the source
// makes a table does not fit one of another shape.
func (l *loaded) shaped(copies []entrain.TableCopy) ([]entrain.TableCopy, error) {
	all := slices.Clone(copies)
	for i := range all {
		to, err := l.snapshot.TransformTable(all[i].Table)
		if err != nil {
			return nil, err
		}
		all[i].Defined = all[i].Defined && to == all[i].Table
		all[i].Table = to
	}
	return all, nil
}

// keep drops the findings of other codes; without codes it keeps all.
func (of *part) keep(codes []string) {
	of.report.Findings = slices.DeleteFunc(of.report.Findings, func(f entrain.Finding) bool {
		return len(codes) > 0 && !slices.Contains(codes, f.Code)
	})
}

// fill puts the pipeline's file into commands of ours that mend a finding.
func (of *part) fill(at place) {
	for _, f := range of.report.Findings {
		for i := range f.Fix {
			f.Fix[i].Shell = at.fill(at.named(f.Fix[i].Shell))
		}
	}
}

// knownCodes refuses a code that nothing here can find.
func (l *loaded) knownCodes(only []string) error {
	known := l.codes()
	for _, code := range only {
		if slices.Contains(known, code) {
			continue
		}
		if near := config.Nearest(code, known); near != "" {
			return usageError{fmt.Errorf("--only %s: no finding has this code; did you mean %q?", code, near)}
		}
		return usageError{fmt.Errorf("--only %s: no finding has this code; known: %s", code, strings.Join(known, ", "))}
	}
	return nil
}

// verdict is the error that the examination ends with: an end that could not
// be examined goes before what was found at the other.
func verdict(parts []part) error {
	var unreachable []error
	found := 0
	for _, of := range parts {
		if of.err != nil {
			unreachable = append(unreachable, fmt.Errorf("%s: %w", of.name, of.err))
		}
		for _, f := range of.report.Findings {
			if f.Status == entrain.FindingError {
				found++
			}
		}
	}
	switch {
	case unreachable != nil:
		return unexamined{errors.Join(unreachable...)}
	case found > 0:
		return fmt.Errorf("%s: %w", plural(found, "error"), errFindings)
	}
	return nil
}

// unexamined says that an end could not be reached or did not answer in time.
type unexamined struct{ error }

func (e unexamined) Unwrap() error { return e.error }
