package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) replayCommand() *cobra.Command {
	var f runningFlags
	var wish admin.Replay
	var partition string
	cmd := &cobra.Command{
		Use:   "replay FILE|NAME --from MOMENT [--sink NAME]",
		Short: "Deliver a stretch of the stream once more into a sink of a running pipeline",
		Long: `Deliver a stretch of the stream once more into a sink of a running pipeline.

A MOMENT is a time (2026-11-27T10:00:00Z), how long ago (2h), or a position of the
source (0/16B3748). Changes go on meanwhile; the stretch ends at --to, at the latest
where the sink is. A sink that holds rows needs version_gate: true, so that nothing
old takes the place of what is newer.`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			wish.Partition = entrain.Partition(partition)
			if err := checkReplay(wish); err != nil {
				return usageError{err}
			}
			var done []fanout.Replayed
			if err := r.explain(admin.Rerun(cmd.Context(), r.folder, wish, &done)); err != nil {
				return err
			}
			if f.output == "json" {
				return writeJSON(p.stdout, done)
			}
			return writeReplayed(p.stdout, wish, done)
		},
	}
	f.addDir(cmd)
	f.addOutput(cmd)
	cmd.Flags().StringVar(&wish.Sink, "sink", "", "the sink, by its `name`; not needed if the pipeline has one")
	cmd.Flags().StringVar(&partition, "partition", "", "only this `partition` of the stream")
	cmd.Flags().StringVar(&wish.From, "from", "", "the first `moment`")
	cmd.Flags().StringVar(&wish.To, "to", "", "the last `moment`")
	cmd.Flags().StringArrayVar(&wish.Tables, "table", nil, "only tables of this `pattern` (schema.table), may be repeated")
	cmd.Flags().BoolVar(&wish.DryRun, "dry-run", false, "only count")
	return cmd
}

// checkReplay checks what was typed.
func checkReplay(r admin.Replay) error {
	if r.From == "" {
		return errors.New("replay: from which moment? --from 2h, for example")
	}
	now := time.Now()
	from, err := fanout.ParseMark(r.From, now)
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if r.To != "" {
		to, err := fanout.ParseMark(r.To, now)
		if err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		if from.After(to) {
			return fmt.Errorf("--from %s is after --to %s (%s, %s): turn them round", r.From, r.To, from, to)
		}
	}
	_, err = connector.MatchTables(r.Tables)
	return err
}

// writeReplayed prints a line a table, and their sum where there are several in a
// partition; or that there was nothing.
func writeReplayed(out io.Writer, wish admin.Replay, done []fanout.Replayed) error {
	if !slices.ContainsFunc(done, func(d fanout.Replayed) bool { return len(d.Events) > 0 }) {
		to := wish.To
		if to == "" {
			to = "where the sink is"
		}
		_, err := fmt.Fprintf(out, "nothing to replay between %s and %s\n", oneLine(wish.From), oneLine(to))
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PARTITION\tTABLE\tEVENTS\tTAKEN\tQUEUED\tFIRST\tLAST")
	for _, d := range done {
		var all int64
		for _, n := range d.Events {
			all += n
		}
		between := fmt.Sprintf("%s\t%s", d.First.UTC().Format(time.RFC3339), d.Last.UTC().Format(time.RFC3339))
		tables := slices.Sorted(maps.Keys(d.Events))
		if len(tables) == 0 {
			between = "-\t-"
		}
		if len(tables) > 1 {
			for _, table := range tables {
				fmt.Fprintf(w, "%s\t%s\t%d\t\t\t\t\n", d.Partition, cmp.Or(oneLine(table), "-"), d.Events[table])
			}
			tables = []string{"all"}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\n", d.Partition, cmp.Or(oneLine(strings.Join(tables, "")), "-"), all, d.Taken, d.Queued, between)
	}
	return w.Flush()
}

// theSink names the pipeline's only sink in a replay that names none, and refuses one
// that is not there.
func (f *flow) theSink(r *admin.Replay) error {
	names := slices.Sorted(maps.Keys(f.cursors))
	switch {
	case r.Sink == "" && len(names) == 1:
		r.Sink = names[0]
	case r.Sink == "":
		return fmt.Errorf("into which sink? the pipeline has several: --sink NAME, one of %q", names)
	case !f.knows(r.Sink):
		return fmt.Errorf("the pipeline has no sink %q, only %q", r.Sink, names)
	}
	return nil
}

// replay delivers a stretch once more.
func (f *flow) replay(ctx context.Context, r admin.Replay) ([]fanout.Replayed, error) {
	if err := f.theSink(&r); err != nil {
		return nil, err
	}
	now := time.Now()
	from, err := fanout.ParseMark(r.From, now)
	wish := fanout.Replay{Sink: r.Sink, Partition: r.Partition, From: from, DryRun: r.DryRun}
	if err == nil && r.To != "" {
		wish.To, err = fanout.ParseMark(r.To, now)
	}
	if err == nil && len(r.Tables) > 0 {
		wish.Wants, err = connector.MatchTables(r.Tables)
	}
	if err != nil {
		return nil, err
	}
	if keeper := f.keepers[sinkOf(r.Sink)]; keeper != nil && !keeper.Gated() && !r.DryRun {
		return nil, stopNotGated(r.Sink)
	}
	if err := f.known(ctx, wish, r.Tables); err != nil {
		return nil, err
	}
	return f.out.Replay(ctx, wish)
}

// known refuses patterns of tables that fit none which the stream or the source has.
func (f *flow) known(ctx context.Context, wish fanout.Replay, patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	rest := map[string]func(schema, name string) bool{}
	for _, p := range patterns {
		match, err := connector.MatchTables([]string{p})
		if err != nil {
			return err
		}
		rest[p] = match
	}
	var names []string
	enough := func(t *entrain.Table) bool {
		maps.DeleteFunc(rest, func(_ string, match func(schema, name string) bool) bool { return match(t.Schema, t.Name) })
		if name := t.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
		return len(rest) == 0
	}
	if err := f.out.Met(ctx, wish, enough); err != nil || len(rest) == 0 {
		return err
	}
	if f.captured != nil {
		asking, cancel := context.WithTimeout(ctx, captureTimeout)
		defer cancel()
		report, err := f.captured(asking)
		for i := 0; err == nil && i < len(report.Tables); i++ {
			enough(report.Tables[i])
		}
	}
	if len(rest) == 0 {
		return nil
	}
	slices.Sort(names)
	return usageError{fmt.Errorf("--table %s: no such table in the stream or among those that the source captures, only %s",
		strings.Join(slices.Sorted(maps.Keys(rest)), ", "), cmp.Or(oneLine(strings.Join(names, ", ")), "-"))}
}

// captureTimeout bounds asking the source for its tables.
const captureTimeout = 15 * time.Second

func stopNotGated(sink string) error {
	return &entrain.Stop{
		Code: "gate_missing",
		What: fmt.Sprintf("sink %s holds rows and compares no versions", sink),
		Why:  "a change that comes again would put an old row in the place of a newer one",
		Next: "set version_gate: true at the sink in FILE, restart, and replay what comes from then on; or deliver rows anew: entrain table resync FILE TABLE",
	}
}

func stopNoStream() error {
	return &entrain.Stop{
		Code: "no_stream",
		What: "the pipeline has no stream, and so nothing that could be read once more",
		Why:  "the source gives its log away as soon as the sink has it",
		Next: "deliver a table's rows anew: entrain table resync FILE TABLE; or put a stream with a retention into FILE: docs/stream.md",
	}
}

func (p *program) sinkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sink",
		Short: "The sinks behind a running pipeline's stream: pause, resume, flush",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(
		p.sinkOrderCommand(pipeline.OrderStand, "pause", "Deliver nothing into a sink from now on; the stream keeps its changes, also over restarts"),
		p.sinkOrderCommand(pipeline.OrderGo, "resume", "Deliver into a paused sink again, from where it was"),
		p.sinkOrderCommand(pipeline.OrderFlush, "flush", "Deliver at once what waits for a window; returns when it is durable there"))
	return cmd
}

func (p *program) sinkOrderCommand(do pipeline.Verb, name, short string) *cobra.Command {
	var f runningFlags
	var partition string
	cmd := &cobra.Command{
		Use:   name + " FILE|NAME SINK[.CLASS]",
		Short: short,
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			err = r.order(cmd.Context(), pipeline.Order{Do: do, Sink: args[1], Partition: entrain.Partition(partition)})
			switch {
			case err != nil:
			case do == pipeline.OrderStand:
				p.say("paused %s; it goes on with: %s %s", args[1], r.command("sink resume"), args[1])
			case do == pipeline.OrderGo:
				p.say("resumed %s", args[1])
			default:
				p.say("flushed %s", args[1])
			}
			return err
		},
	}
	f.addDir(cmd)
	if do != pipeline.OrderFlush {
		cmd.Flags().StringVar(&partition, "partition", "", "only this `partition` of the stream")
	}
	return cmd
}
