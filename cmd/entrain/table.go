package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain/internal/bars"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) tableCommand() *cobra.Command {
	table := &cobra.Command{
		Use:   "table",
		Short: "The tables of a running pipeline: list, add, pause, resume, resync",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	table.AddCommand(p.tableListCommand())
	for _, v := range tableVerbs {
		table.AddCommand(p.tableOrderCommand(v))
	}
	return table
}

func (p *program) tableListCommand() *cobra.Command {
	f := runningFlags{more: []string{"wide"}}
	cmd := &cobra.Command{
		Use:   "list FILE|NAME",
		Short: "Show the captured tables, where each is in its life, and what to type for those that do not flow",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			tables, err := r.tables(cmd.Context())
			if err != nil {
				return err
			}
			views := r.viewTables(tables)
			if f.output == "json" {
				return writeJSON(p.stdout, tableList{views})
			}
			if err := writeTables(p.stdout, views); err != nil {
				return err
			}
			if f.output == "wide" {
				return writeReasons(p.stdout, views)
			}
			return r.writeNexts(views)
		},
	}
	f.addDir(cmd)
	f.addOutput(cmd)
	return cmd
}

// tableVerb is an order for one table.
type tableVerb struct {
	order pipeline.Verb
	name  string
	short string
	// done is said afterwards; %[1]s is the table. then is the command that leads
	// on, without the table if bare.
	done, then string
	bare       bool
	many       bool // it takes several tables
}

var tableVerbs = []tableVerb{
	{order: pipeline.OrderAdd, name: "add", short: "Capture a further table and copy its rows, while the others flow",
		done: "adding %s: its rows are copied while the others flow; how far they are:", then: "snapshot status", bare: true},
	{order: pipeline.OrderPause, name: "pause", short: "Leave a table's changes out from now on, or stop reading its rows while it is copied",
		done: "paused %s; it goes on with:", then: "table resume"},
	{order: pipeline.OrderResume, name: "resume", short: "Let a paused table flow again: its rows are read anew, or on from where they were held",
		done: "resumed %s; how far its rows are:", then: "snapshot status", bare: true},
	{order: pipeline.OrderResync, name: "resync", short: "Read a table anew beside the one that is there, and put it in its place when it is complete",
		done: "resyncing %s; how far the rows are:", then: "snapshot status", bare: true, many: true},
}

func (p *program) tableOrderCommand(v tableVerb) *cobra.Command {
	var f runningFlags
	use, args := v.name+" FILE|NAME TABLE", exactly(2)
	if v.many {
		use, args = use+"...", atLeast(2)
	}
	cmd := &cobra.Command{
		Use:   use,
		Short: v.short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			if err := r.order(cmd.Context(), pipeline.Order{Do: v.order, Table: args[1], With: args[2:]}); err != nil {
				return err
			}
			then := r.command(v.then, args[1])
			if v.bare {
				then = r.command(v.then)
			}
			p.say(v.done+" %s", oneLine(strings.Join(args[1:], ", ")), then)
			return nil
		},
	}
	f.addDir(cmd)
	return cmd
}

// tableList is the list in JSON.
type tableList struct {
	Tables []tableLine `json:"tables"`
}

// tableLine is a table, and what to type for it.
type tableLine struct {
	pipeline.TableStatus
	Since   time.Time `json:"since,omitzero"` // left out if it is not remembered
	Percent *float64  `json:"percent,omitempty"`
	Next    string    `json:"next,omitempty"`
}

func (r running) viewTables(tables []pipeline.TableStatus) []tableLine {
	views := []tableLine{}
	for _, t := range tables {
		v := tableLine{TableStatus: t, Since: t.Since, Percent: percent(t)}
		switch {
		case t.Held, t.State == pipeline.TablePaused:
			v.Next = r.command("table resume", t.Table)
		case t.State == pipeline.TableFailed:
			v.Next = r.command("table resync", t.Table)
		}
		views = append(views, v)
	}
	return views
}

// copying reports whether the table's rows are being read, or are to be.
func copying(t pipeline.TableStatus) bool {
	switch t.State {
	case pipeline.TableNew, pipeline.TableCopying, pipeline.TableCatchingUp, pipeline.TableResyncing:
		return true
	}
	return false
}

// percent of the rows that are copied; nil if none are being copied, or nobody
// knows how many there are. An estimate never makes it 100.
func percent(t pipeline.TableStatus) *float64 {
	if !copying(t) || t.Estimate <= 0 {
		return nil
	}
	share := min(99, float64(100*t.Rows/max(t.Estimate, 1)))
	if t.State == pipeline.TableCatchingUp {
		share = 100
	}
	return &share
}

// writeTables prints a line a table.
func writeTables(out io.Writer, views []tableLine) error {
	if len(views) == 0 {
		_, err := fmt.Fprintln(out, "the source captures no table")
		return err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tSTATE\tSINCE\tROWS\tREASON")
	for _, v := range views {
		since := ""
		if !v.Since.IsZero() {
			since = v.Since.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", oneLine(v.Table), v.state(), since, v.rows(), oneLine(v.reason()))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// writeNexts prints what to type below the tables.
func (r running) writeNexts(views []tableLine) error {
	var lines []string
	for _, v := range views {
		if v.Next != "" {
			lines = append(lines, "next: "+oneLine(v.Next))
		}
	}
	if slices.ContainsFunc(views, func(v tableLine) bool { return v.reason() != v.Reason }) {
		lines = append(lines, "whole reasons: "+oneLine(r.command("table list", "-o", "wide")))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(r.p.stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// writeReasons prints the whole reasons below the tables, and what to type.
func writeReasons(out io.Writer, views []tableLine) error {
	for _, v := range views {
		text := ""
		if v.Reason != "" {
			text = "\n  " + strings.ReplaceAll(ownLines(v.Reason), "\n", "\n  ")
		}
		if v.Next != "" {
			text += "\n  next: " + oneLine(v.Next)
		}
		if text == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "\n%s, %s:%s\n", oneLine(v.Table), v.state(), text); err != nil {
			return err
		}
	}
	return nil
}

// maxReason is how many characters of a reason have their place in a line.
const maxReason = 60

// reason is what a line shows of it: the code, and how its first line begins.
func (v *tableLine) reason() string {
	text := v.Reason
	if _, what, found := strings.Cut(text, v.Code+": "); found && v.Code != "" {
		text = v.Code + ": " + what
	}
	text, _, _ = strings.Cut(text, nextMark)
	text, _, _ = strings.Cut(text, "\n")
	if letters := []rune(text); len(letters) > maxReason {
		text = string(letters[:maxReason-1])
	}
	if text != v.Reason {
		text += "…"
	}
	return text
}

func (v *tableLine) state() string {
	if v.Held {
		return string(v.State) + ", held"
	}
	return string(v.State)
}

// rows says how many rows are copied, or how many there are.
func (v *tableLine) rows() string {
	if !copying(v.TableStatus) {
		if v.Estimate < 0 {
			return ""
		}
		return fmt.Sprintf("about %d", v.Estimate)
	}
	text := bars.OfAbout(v.Rows, v.Estimate)
	if v.Percent != nil {
		text += fmt.Sprintf(" (%.0f%%)", *v.Percent)
	}
	return text
}
