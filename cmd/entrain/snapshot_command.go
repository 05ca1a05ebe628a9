package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) snapshotCommand() *cobra.Command {
	snapshot := &cobra.Command{
		Use:   "snapshot",
		Short: "The copying of existing rows in a running pipeline: start, pause, resume, cancel, status",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	snapshot.AddCommand(p.snapshotStatusCommand(), p.snapshotCancelCommand())
	for _, v := range snapshotVerbs {
		snapshot.AddCommand(p.snapshotOrderCommand(v))
	}
	return snapshot
}

// snapshotFlags are those of the orders about copying rows. What limits the rows
// of a copy belongs here, too, and into [pipeline.Order].
type snapshotFlags struct {
	runningFlags
	tables []string
	where  string // of start
	sink   string // of start: which one begins with all rows
}

func (f *snapshotFlags) add(cmd *cobra.Command) {
	f.addDir(cmd)
	cmd.Flags().StringArrayVar(&f.tables, "table", nil, "the `table`, as schema.table; may be given several times")
}

// orders are what the flags ask for: one for each table, or one for all that are
// being copied.
func (f *snapshotFlags) orders(do pipeline.Verb) []pipeline.Order {
	if len(f.tables) == 0 {
		return []pipeline.Order{{Do: do, Where: f.where, Sink: f.sink}}
	}
	var all []pipeline.Order
	for _, t := range f.tables {
		all = append(all, pipeline.Order{Do: do, Table: t, Where: f.where})
	}
	return all
}

// snapshotVerb is an order about the copying of rows.
type snapshotVerb struct {
	order pipeline.Verb
	name  string
	short string
	// done is said afterwards, %s being the tables; then is the command that leads
	// on.
	done, then string
	one        bool // it needs a table
}

var snapshotVerbs = []snapshotVerb{
	{order: pipeline.OrderRefresh, name: "start", short: "Deliver the rows of a table once more, in place, while its changes flow",
		done: "copying %s; how far the rows are:", then: "snapshot status", one: true},
	{order: pipeline.OrderHold, name: "pause", short: "Read no further rows of a table, or of all, until resumed; changes flow",
		done: "paused %s; it goes on with:", then: "snapshot resume"},
	{order: pipeline.OrderResume, name: "resume", short: "Go on with copying that was paused",
		done: "resumed %s; how far the rows are:", then: "snapshot status"},
}

func (p *program) snapshotOrderCommand(v snapshotVerb) *cobra.Command {
	var f snapshotFlags
	cmd := &cobra.Command{
		Use:   v.name + " FILE|NAME",
		Short: v.short,
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(v); err != nil {
				return err
			}
			r, err := p.find(args[0], f.runningFlags)
			if err != nil {
				return err
			}
			for _, o := range f.orders(v.order) {
				if err := r.order(cmd.Context(), o); err != nil {
					return err
				}
				p.say(v.done+" %s", subject(o), r.command(v.then, tableFlag(o)...))
			}
			return nil
		},
	}
	f.add(cmd)
	if v.order == pipeline.OrderRefresh {
		cmd.Flags().StringVar(&f.where, "where", "", "only rows that meet this `condition`, in the source's SQL")
		cmd.Flags().StringVar(&f.sink, "sink", "", "all tables, for the sink with this `name`, which begins with them: the stream has no longer what it needs")
	}
	return cmd
}

// check finds flags that do not go together.
func (f *snapshotFlags) check(v snapshotVerb) error {
	switch {
	case f.sink != "" && (len(f.tables) > 0 || f.where != ""):
		return usageError{errors.New("--sink: a sink begins with all rows of all tables, without --table and --where")}
	case v.one && len(f.tables) == 0 && f.sink == "":
		return usageError{errors.New("--table is needed: which rows are to be delivered once more")}
	}
	return nil
}

// tableFlag is the flag that names an order's table again.
func tableFlag(o pipeline.Order) []string {
	if o.Table == "" {
		return nil
	}
	return []string{"--table", o.Table}
}

// subject is what an order is about, for people.
func subject(o pipeline.Order) string {
	switch {
	case o.Sink != "":
		return "all tables for sink " + oneLine(o.Sink)
	case o.Table == "":
		return "all copying"
	}
	return oneLine(o.Table)
}

func (p *program) snapshotCancelCommand() *cobra.Command {
	var f snapshotFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "cancel FILE|NAME",
		Short: "Give the copying of a table's rows up, or of all; shows what that means and asks first",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f.runningFlags)
			if err != nil {
				return err
			}
			ask := func() error { return p.ask("cancel? [y/N] ", "nothing was cancelled") }
			if yes {
				ask = func() error { return nil }
			}
			return r.cancel(cmd.Context(), f.orders(pipeline.OrderCancel), ask)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// cancel tells what becomes of the tables, asks, and gives their copying up.
// Where there is nothing to be told, the pipeline refuses.
func (r running) cancel(ctx context.Context, orders []pipeline.Order, ask func() error) error {
	now, err := r.copyingNow(ctx)
	if err != nil {
		return err
	}
	var consequences []string
	for _, o := range orders {
		consequences = append(consequences, now.foretell(o)...)
	}
	for _, line := range consequences {
		fmt.Fprintln(r.p.stderr, line)
	}
	if len(consequences) > 0 {
		if err := ask(); err != nil {
			return err
		}
	}
	for _, o := range orders {
		if err := r.order(ctx, o); err != nil {
			return err
		}
		r.p.say("cancelled %s; where the tables are: %s", subject(o), r.command("table list"))
	}
	return nil
}

// copyingView is which rows are being copied, in JSON.
type copyingView struct {
	// Snapshot is the first copy of all tables; nil if this run made none.
	Snapshot *pipeline.SnapshotStatus `json:"snapshot,omitempty"`
	// Tables are those that are copied beside the stream.
	Tables []tableLine `json:"tables"`

	first bool // the first copy is under way
	named bool // only some tables are wanted
}

// copyingNow asks which rows are being copied. A source that cannot read tables
// beside its stream copies none.
func (r running) copyingNow(ctx context.Context) (copyingView, error) {
	report, err := r.report(ctx)
	if err != nil {
		return copyingView{}, err
	}
	v := copyingView{Snapshot: report.Status.Snapshot, Tables: []tableLine{}, first: report.Status.Phase == "snapshotting"}
	tables, err := r.tables(ctx)
	var stop *entrain.Stop
	if errors.As(err, &stop) && stop.Code == "no_chunks" {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	for _, t := range r.viewTables(tables) {
		if copying(t.TableStatus) {
			t.Next = "" // this command's own words lead on
			v.Tables = append(v.Tables, t)
		}
	}
	return v, nil
}

// foretell says what an order to cancel does.
func (v *copyingView) foretell(o pipeline.Order) (lines []string) {
	if v.first && o.Table == "" {
		return []string{"the first copy ends, and the process with it; the slot that it made at the source is removed, so that no log piles up there",
			"what was copied stays at the target, and run copies all rows anew (where the slot was there before: the rest)",
			"to go on later instead, stop the process: the slot then keeps the source's log"}
	}
	for _, t := range v.Tables {
		switch {
		case o.Table != "" && o.Table != t.Table:
		case t.Refresh:
			lines = append(lines, oneLine(t.Table)+" goes on streaming; the rows that were not read yet are not delivered once more")
		default:
			lines = append(lines, oneLine(t.Table)+" becomes paused: its changes are left out until it is resumed, which reads its rows anew")
		}
	}
	return lines
}

func (p *program) snapshotStatusCommand() *cobra.Command {
	var f snapshotFlags
	cmd := &cobra.Command{
		Use:   "status FILE|NAME",
		Short: "Show which rows are being copied, and how far they are",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f.runningFlags)
			if err != nil {
				return err
			}
			view, err := r.copyingNow(cmd.Context())
			if err != nil {
				return err
			}
			view.only(f.tables)
			if f.output == "json" {
				return writeJSON(p.stdout, view)
			}
			return writeCopying(p.stdout, view)
		},
	}
	f.add(cmd)
	f.addOutput(cmd)
	return cmd
}

// only keeps the named tables; all if none are named.
func (v *copyingView) only(names []string) {
	if len(names) == 0 {
		return
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	kept := []tableLine{}
	for _, t := range v.Tables {
		if wanted[t.Table] {
			kept = append(kept, t)
		}
	}
	v.Tables, v.named = kept, true
	if v.Snapshot == nil {
		return
	}
	parts := []pipeline.SnapshotTableStatus{}
	for _, t := range v.Snapshot.Tables {
		if wanted[t.Table] {
			parts = append(parts, t)
		}
	}
	v.Snapshot.Tables = parts
}

// writeCopying prints the first copy, and a line for each table that is copied
// beside the stream.
func writeCopying(out io.Writer, v copyingView) error {
	nothing := v.Snapshot == nil || v.named && len(v.Snapshot.Tables) == 0
	if len(v.Tables) == 0 && nothing {
		_, err := fmt.Fprintln(out, "no rows are being copied")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !v.named {
		writeSnapshot(w, v.Snapshot)
	} else if v.Snapshot != nil {
		writeParts(w, v.Snapshot.Tables)
	}
	for _, t := range v.Tables {
		fmt.Fprintf(w, "%s\t%s, %s\n", oneLine(t.Table), t.state(), t.rows())
	}
	return w.Flush()
}
