package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/verify"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	output  string
	tables  []string
	sink    string
	timeout time.Duration
}

func (p *program) verifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Prove that source and sink have the same rows, while changes go on flowing; changes no row",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.output != "table" && o.output != "json":
				return usageError{fmt.Errorf("-o %s: expected table or json", o.output)}
			case o.timeout <= 0:
				return usageError{fmt.Errorf("--timeout %s: expected a time such as 60s", o.timeout)}
			}
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			return p.verify(cmd.Context(), l, o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table or json")
	cmd.Flags().StringArrayVar(&o.tables, "table", nil, "compare only this `schema.table` of the source; * and ? match; may be repeated")
	addSink(cmd, &o.sink)
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for the sink to come to where the source was")
	return cmd
}

// errDiffer ends a comparison that found differences; what they are was printed.
var errDiffer = errors.New("source and sink differ")

// verify compares and prints. What was compared is printed even if the rest
// could not be.
func (p *program) verify(ctx context.Context, l *loaded, o verifyOptions) error {
	options := verify.Options{Timeout: o.timeout, Log: p.log, Map: l.mapping}
	var err error
	if options.Wants, err = wanted(o.tables); err != nil {
		return err
	}
	source, sink, end, err := l.digesters(o.sink)
	if err != nil {
		return err
	}
	options.Wants = l.ofClass(end, options.Wants)
	if options.Source, err = source.Digest(ctx); err != nil {
		return unexamined{fmt.Errorf("source: %w", err)}
	}
	defer options.Source.Close()
	if options.Sink, err = sink.Digest(ctx); err != nil {
		return unexamined{fmt.Errorf("sink: %w", err)}
	}
	defer func() { options.Sink.Close() }()
	traced, err := l.trace(options.Sink, end)
	if err != nil {
		return err
	}
	options.Sink = traced
	aside := p.states(ctx, l)
	options.Aside = aside.of
	tables, err := verify.Run(ctx, options)
	var behind *verify.ErrBehind
	if err != nil && !errors.As(err, &behind) {
		return unexamined{err}
	}
	if len(tables) == 0 {
		return p.nothingToVerify(o)
	}
	if err := p.printVerified(tables, o); err != nil {
		return err
	}
	return verified(tables, behind, p.whereTablesAre(aside))
}

// onlyDigester names the one sink of several whose rows can be compared; empty if there
// are more or none.
func (l *loaded) onlyDigester() string {
	var names []string
	for i := range l.sinks {
		if _, can := l.sinks[i].sink.(entrain.Digester); can {
			names = append(names, l.sinks[i].section.Name)
		}
	}
	if len(names) != 1 {
		return ""
	}
	return names[0]
}

// digesters are both ends, if they can be compared.
func (l *loaded) digesters(name string) (source, sink entrain.Digester, end *sinkEnd, err error) {
	source, canSource := l.source.(entrain.Digester)
	if name == "" {
		name = l.onlyDigester()
	}
	if end, err = l.deliveryNamed("verify", name); err != nil {
		return nil, nil, nil, err
	}
	sink, canSink := end.sink.(entrain.Digester)
	if !canSource {
		return nil, nil, nil, usageError{fmt.Errorf("verify: the rows of a source of type %s cannot be compared", l.sourceType())}
	}
	if !canSink {
		return nil, nil, nil, usageError{fmt.Errorf("verify: the rows of a sink of type %s cannot be compared: it keeps changes, not rows", end.section.Type)}
	}
	return source, sink, end, nil
}

// wanted is what the flags choose; without any, everything.
func wanted(tables []string) (func(schema, name string) bool, error) {
	if len(tables) == 0 {
		return func(string, string) bool { return true }, nil
	}
	match, err := connector.MatchTables(tables)
	if err != nil {
		return nil, usageError{fmt.Errorf("--table: %w", err)}
	}
	return match, nil
}

// mapping is what the rules of the file make of a table.
func (l *loaded) mapping(t *entrain.Table) (verify.Mapping, error) {
	if l.rules == nil {
		m := verify.Mapping{Table: t, From: make([]int, len(t.Columns))}
		for i := range m.From {
			m.From[i] = i
		}
		return m, nil
	}
	m, err := l.rules.Map(t)
	return verify.Mapping(m), err
}

func (p *program) nothingToVerify(o verifyOptions) error {
	if len(o.tables) > 0 {
		return usageError{fmt.Errorf("--table %q: the source captures no such table", o.tables)}
	}
	return unexamined{errors.New("the source captures no table; see: entrain check " + p.place.get().file)}
}

// whereTablesAre leads on from tables that are not compared for where they are in
// their lives.
func (p *program) whereTablesAre(aside states) string {
	if len(aside) == 0 {
		return ""
	}
	return "; what to type for tables that do not flow: entrain table list " + shellWord(p.place.get().file)
}

// verified is the error that the comparison ends with, then what it ends its text
// with.
func verified(tables []*verify.Table, behind *verify.ErrBehind, then string) error {
	differ, lacking := 0, 0
	for _, t := range tables {
		switch t.Outcome {
		case verify.Differs:
			differ++
		case verify.NotCompared:
			lacking++
		}
	}
	switch {
	case differ > 0:
		return fmt.Errorf("%s: %w", plural(differ, "table"), errDiffer)
	case behind != nil:
		return &entrain.Stop{
			Code: "sink_behind",
			What: behind.Why,
			Why:  "what differs may be on its way; it can be told from a difference when the sink has come there",
			Next: "entrain run FILE",
		}
	case lacking > 0:
		return unexamined{fmt.Errorf("%s could not be compared%s", plural(lacking, "table"), then)}
	}
	return nil
}
