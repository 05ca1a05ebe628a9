package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
)

// defaultMargin is how many numbers the target's sequences are set ahead: what
// the source gives out between two runs of the command, and what its sessions
// have put by.
const defaultMargin = 1000

// sequencesOptions are the flags of sequences sync.
type sequencesOptions struct {
	output string
	margin int64
	sink   string
}

func (p *program) sequencesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sequences",
		Short: "Sequences, which do not travel in the source's log",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(p.sequencesSyncCommand())
	return cmd
}

func (p *program) sequencesSyncCommand() *cobra.Command {
	var o sequencesOptions
	cmd := &cobra.Command{
		Use:   "sync FILE",
		Short: "Set the target's sequences ahead of the source's; never back",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.output != "table" && o.output != "json":
				return usageError{fmt.Errorf("-o %s: expected table or json", o.output)}
			case o.margin < 0:
				return usageError{fmt.Errorf("--margin %d: expected 0 or more", o.margin)}
			}
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			return p.syncSequences(cmd.Context(), l, o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table or json")
	addSink(cmd, &o.sink)
	cmd.Flags().Int64Var(&o.margin, "margin", defaultMargin, "how many `numbers` further than the source's last one; 0 when nothing writes there any more")
	return cmd
}

// sequenceView is what became of a sequence, in JSON.
type sequenceView struct {
	Table    string `json:"table"`
	Column   string `json:"column"`
	Sequence string `json:"sequence"`
	Sink     string `json:"sink_sequence,omitempty"`
	Last     int64  `json:"last"`
	Before   int64  `json:"before"`
	After    int64  `json:"after"`
	Outcome  string `json:"outcome"`
	Why      string `json:"why,omitempty"`
}

type sequencesView struct {
	Sequences []sequenceView `json:"sequences"`
}

func (p *program) syncSequences(ctx context.Context, l *loaded, o sequencesOptions) error {
	source, sink, err := l.sequencers(o.sink)
	if err != nil {
		return err
	}
	all, err := source.Sequences(ctx)
	if err != nil {
		return unexamined{fmt.Errorf("source: %w", err)}
	}
	delivered, err := l.deliveredSequences(all)
	if err != nil {
		return err
	}
	done, err := sink.Advance(ctx, delivered, o.margin)
	if err != nil {
		return unexamined{fmt.Errorf("sink: %w", err)}
	}
	view := sequencesView{Sequences: []sequenceView{}}
	refused := 0
	for i, s := range delivered {
		v := viewSequence(s, done[i])
		view.Sequences = append(view.Sequences, v)
		if v.Outcome == "refused" {
			refused++
		}
	}
	if o.output == "json" {
		err = writeJSON(p.stdout, view)
	} else {
		err = writeSequences(p.stdout, view)
	}
	if err == nil && refused > 0 {
		return unexamined{fmt.Errorf("%s could not be set", plural(refused, "sequence"))}
	}
	return err
}

// sequencers are both ends, if they have sequences.
func (l *loaded) sequencers(name string) (source entrain.Sequencer, sink entrain.Advancer, err error) {
	source, canSource := l.source.(entrain.Sequencer)
	end, err := l.sinkNamed("sequences sync", name)
	if err != nil {
		return nil, nil, err
	}
	sink, canSink := end.sink.(entrain.Advancer)
	if !canSource {
		return nil, nil, usageError{fmt.Errorf("sequences sync: a source of type %s has no sequences", l.sourceType())}
	}
	if !canSink {
		return nil, nil, usageError{fmt.Errorf("sequences sync: a sink of type %s has no sequences", end.section.Type)}
	}
	return source, sink, nil
}

// deliveredSequences are those of columns that the rules of the file let pass,
// under the names that the sink gets.
func (l *loaded) deliveredSequences(all []entrain.Sequence) ([]entrain.Sequence, error) {
	var delivered []entrain.Sequence
	for _, s := range all {
		m, err := l.mapping(s.Table)
		if err != nil {
			return nil, err
		}
		if at := slices.Index(m.From, s.Column); at >= 0 {
			s.Table, s.Column = m.Table, at
			delivered = append(delivered, s)
		}
	}
	return delivered, nil
}

func viewSequence(s entrain.Sequence, a entrain.Advance) sequenceView {
	v := sequenceView{Table: s.Table.String(), Column: s.Table.Columns[s.Column].Name, Sequence: s.Name, Sink: a.Name,
		Last: s.Last, Before: a.Before, After: a.After}
	switch {
	case s.Refused != "":
		v.Outcome, v.Why = "refused", "at the source "+s.Refused
	case a.Name == "":
		v.Outcome, v.Why = "left", "the target's column has no sequence"
		if a.Lacks != "" {
			v.Why += ", which this gives it, and then this command a number: " + a.Lacks
		}
	case !s.Drawn:
		v.Outcome, v.Why = "left", "the source has given out no number yet"
	case a.Refused != "":
		v.Outcome, v.Why = "refused", "at the target "+a.Refused
	case a.After == a.Before && a.Drawn:
		v.Outcome, v.Why = "left", "it is that far already"
	case a.Short:
		v.Outcome, v.Why = "set", "without a margin, for which there is no room"
	default:
		v.Outcome = "set"
	}
	return v
}

func writeSequences(out io.Writer, view sequencesView) error {
	if len(view.Sequences) == 0 {
		_, err := fmt.Fprintln(out, "no column of the captured tables takes its values from a sequence")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, v := range view.Sequences {
		text := v.Outcome
		if v.Outcome == "set" {
			text = fmt.Sprintf("%d → %d", v.Before, v.After)
		} else if v.Sink != "" {
			text = fmt.Sprintf("%d %s", v.Before, v.Outcome)
		}
		if v.Why != "" {
			text += ", " + v.Why
		}
		fmt.Fprintf(w, "%s.%s\t%s\t%s\n", oneLine(v.Table), oneLine(v.Column), oneLine(v.Sink), oneLine(text))
	}
	return w.Flush()
}
