package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/letters"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

func (p *program) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "The dead letters of a running pipeline: list, show, export, replay, edit, drop",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(p.dlqListCommand(), p.dlqShowCommand(), p.dlqExportCommand())
	cmd.AddCommand(p.dlqEditCommand())
	for _, v := range letterVerbs {
		cmd.AddCommand(p.dlqOrderCommand(v))
	}
	return cmd
}

// letterView is what the lists show of a dead letter.
type letterView struct {
	entrain.DeadLetter
	Event json.RawMessage `json:"event"`
}

// viewLetters makes JSON of letters.
func viewLetters(all []parking.Letter) ([]json.RawMessage, error) {
	views := make([]json.RawMessage, 0, len(all))
	for i := range all {
		kept, err := letters.Encode(&all[i])
		if err != nil {
			return nil, err
		}
		view, err := letters.View(&kept)
		if err != nil {
			return nil, err
		}
		views = append(views, view)
	}
	return views, nil
}

// letters asks for the dead letters, as they came and read.
func (r running) letters(ctx context.Context) ([]json.RawMessage, []letterView, error) {
	all, err := admin.Letters(ctx, r.folder)
	if err != nil {
		return nil, nil, r.explain(err)
	}
	views := make([]letterView, len(all))
	for i := range all {
		if err := json.Unmarshal(all[i], &views[i]); err != nil {
			return nil, nil, err
		}
	}
	return all, views, nil
}

func (p *program) dlqListCommand() *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "list FILE|NAME",
		Short: "Show the events that the sink refused and those that wait behind them, in their order",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			all, views, err := r.letters(cmd.Context())
			switch {
			case err != nil:
				return err
			case f.output == "json":
				return writeJSON(p.stdout, all)
			}
			return writeLetters(p.stdout, views)
		},
	}
	f.addDir(cmd)
	f.addOutput(cmd)
	return cmd
}

func writeLetters(out io.Writer, views []letterView) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTABLE\tOP\tPARKED\tATTEMPTS\tREASON")
	for _, v := range views {
		why := v.Reason
		if why == "" {
			why = "behind " + v.Behind
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", v.ID, oneLine(v.Table), v.Op, v.Parked.Format(time.RFC3339), v.Attempts, shorten(oneLine(why)))
	}
	return w.Flush()
}

// shorten cuts a text that is too long for a line.
func shorten(text string) string {
	const most = 120
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

func (p *program) dlqShowCommand() *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "show FILE|NAME ID...",
		Short: "Show dead letters whole, as JSON; an ID that ends with / is that of a transaction",
		Args:  atLeast(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			all, views, err := r.letters(cmd.Context())
			if err != nil {
				return err
			}
			var some []json.RawMessage
			for i := range views {
				if names(args[1:], views[i].ID) {
					some = append(some, all[i])
				}
			}
			if err := r.haveAll(views, args[1:]); err != nil {
				return err
			}
			return writeJSON(p.stdout, some)
		},
	}
	f.addDir(cmd)
	return cmd
}

// haveAll refuses words that name none of the letters, before anybody is asked anything.
func (r running) haveAll(views []letterView, words []string) error {
	for _, w := range words {
		if !slices.ContainsFunc(views, func(v letterView) bool { return names([]string{w}, v.ID) }) {
			return usageError{fmt.Errorf("there is no dead letter %s; see: %s", w, r.command("dlq list"))}
		}
	}
	return nil
}

// names reports whether one of the words is the event's id, or that of its
// transaction.
func names(words []string, id string) bool {
	for _, w := range words {
		if w == id || strings.HasSuffix(w, "/") && strings.HasPrefix(id, w) {
			return true
		}
	}
	return false
}

func (p *program) dlqExportCommand() *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "export FILE|NAME PATH",
		Short: "Write all dead letters to a new file, a JSON object a line; - for the standard output",
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			all, _, err := r.letters(cmd.Context())
			if err != nil {
				return err
			}
			out := p.stdout
			if args[1] != "-" {
				file, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return usageError{err}
				}
				defer func() { err = errors.Join(err, file.Close()) }()
				out = file
			}
			if err := writeLines(out, all); err != nil {
				return err
			}
			p.say("%s", counted(len(all), "dead letter"))
			return nil
		},
	}
	f.addDir(cmd)
	return cmd
}

// writeLines writes JSON values, a line each.
func writeLines(out io.Writer, all []json.RawMessage) error {
	var line bytes.Buffer
	for _, one := range all {
		line.Reset()
		if err := json.Compact(&line, one); err != nil {
			return err
		}
		line.WriteByte('\n')
		if _, err := out.Write(line.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// letterVerb is an order about dead letters.
type letterVerb struct {
	order       pipeline.Verb
	name, short string
	done        string
	loses       bool // what was in the letters; a person is asked before
}

var letterVerbs = []letterVerb{
	{order: pipeline.OrderReplay, name: "replay", done: "replayed",
		short: "Deliver dead letters once more, in their order, and remove them: those of the IDs, or --all"},
	{order: pipeline.OrderDrop, name: "drop", done: "dropped", loses: true,
		short: "Remove dead letters for good: their changes are lost; those of the IDs, or --all"},
}

func (p *program) dlqOrderCommand(v letterVerb) *cobra.Command {
	var f runningFlags
	var all, yes bool
	var sink string
	cmd := &cobra.Command{
		Use:   v.name + " FILE|NAME [ID...]",
		Short: v.short,
		Args:  atLeast(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err == nil && all == (len(args) > 1) {
				err = usageError{errors.New("name either IDs (see: " + r.command("dlq list") + ") or --all")}
			}
			if err != nil {
				return err
			}
			_, before, err := r.letters(cmd.Context())
			if err == nil {
				err = r.haveAll(before, args[1:])
			}
			if err == nil && v.loses && !yes {
				err = p.ask(fmt.Sprintf("drop %s of %s? Their changes are lost [y/N] ", someLetters(args[1:]), args[0]), "nothing was dropped")
			}
			if err != nil {
				return err
			}
			again := args[1:]
			if all {
				again = []string{"--all"}
			}
			if sink != "" {
				again = append(slices.Clone(again), "--sink", sink)
			}
			err = replayNext(r.order(cmd.Context(), pipeline.Order{Do: v.order, Letters: args[1:], Sink: sink}), r.command("dlq "+v.name, again...))
			_, after, uncounted := r.letters(cmd.Context())
			if uncounted == nil {
				p.say("%s %s, %d are left", v.done, counted(max(0, len(before)-len(after)), "dead letter"), len(after))
			}
			return err
		},
	}
	f.addDir(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.Flags().StringVar(&sink, "sink", "", "only those of this sink, by its `name`, behind a stream")
	if v.loses {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// someLetters names the letters of an order, for a question.
func someLetters(ids []string) string {
	if len(ids) == 0 {
		return "all dead letters"
	}
	return "the dead letters " + strings.Join(ids, ", ")
}

// runsCommand is the command that runs a pipeline, with its file filled in or not.
var runsCommand = regexp.MustCompile(`entrain (?:run|deliver) (?:'(?:[^']|'\\'')*'|\S+)`)

// replayNext has the advice of a stop end with the command that was refused: the
// pipeline runs, and the letters wait.
func replayNext(err error, command string) error {
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		return err
	}
	again := *stop
	again.Next = runsCommand.ReplaceAllLiteralString(stop.Next, command)
	return &again
}

// Letters implements engine.
func (f *flow) Letters(ctx context.Context) ([]parking.Letter, error) {
	var all []parking.Letter
	for _, e := range f.out.Engines("") {
		some, err := e.Letters(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// direct is the engine of a file without a stream, whose one sink has a name all the
// same.
type direct struct {
	*pipeline.Pipeline
	sink string
}

// Do implements engine.
func (d direct) Do(ctx context.Context, o pipeline.Order) error {
	if o.Do.AboutLetters() && o.Sink != "" && o.Sink != d.sink {
		return noSink(o.Sink, d.sink)
	}
	return d.Pipeline.Do(ctx, o)
}

func noSink(name string, known ...string) error {
	return &pipeline.Mistake{Text: fmt.Sprintf("the pipeline has no sink %q, only %q", name, known)}
}

// onLetters has each delivery do with its letters what was ordered; nothing is done if
// one of those that have some stands still.
func (f *flow) onLetters(ctx context.Context, o pipeline.Order) error {
	if o.Sink != "" && !f.knows(o.Sink) {
		return noSink(o.Sink, slices.Sorted(maps.Keys(f.cursors))...)
	}
	type share struct {
		engine *pipeline.Pipeline
		ids    []string
	}
	var shares []share
	wanted := map[string]bool{}
	for _, id := range o.Letters {
		wanted[id] = true
	}
	for _, e := range f.out.Engines(o.Sink) {
		mine, err := own(ctx, e, o.Letters)
		if err == nil && len(mine) > 0 {
			err = f.out.Still(e)
		}
		if err != nil {
			return err
		}
		for _, id := range mine {
			delete(wanted, id)
		}
		if len(mine) > 0 {
			shares = append(shares, share{e, mine})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		return &pipeline.Mistake{Text: fmt.Sprintf("there is no dead letter %s; see: entrain dlq list FILE", id)}
	}
	for _, s := range shares {
		part := o
		if len(o.Letters) > 0 {
			part.Letters = s.ids
		}
		if err := s.engine.Do(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// own are those of the ids that name letters of a delivery; without ids, one for
// any letter.
func own(ctx context.Context, e *pipeline.Pipeline, ids []string) (mine []string, err error) {
	all, err := e.Letters(ctx)
	if err != nil || len(ids) == 0 && len(all) > 0 {
		return []string{""}, err
	}
	for _, id := range ids {
		for i := range all {
			if names([]string{id}, all[i].Event.ID()) {
				mine = append(mine, id)
				break
			}
		}
	}
	return mine, nil
}
