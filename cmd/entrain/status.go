package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) statusCommand() *cobra.Command {
	var f runningFlags
	cmd := &cobra.Command{
		Use:   "status FILE|NAME",
		Short: "Show how a running pipeline is: position, lag, rows, what it waits for",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			report, err := r.report(cmd.Context())
			if err != nil {
				return err
			}
			if f.output == "json" {
				return writeJSON(p.stdout, report)
			}
			return writeReport(p.stdout, report, seen{time.Now(), shellWord(cmp.Or(p.place.get().file, report.Pipeline))})
		},
	}
	f.addOutput(cmd)
	f.addDir(cmd)
	return cmd
}

// folderOf returns the state folder of a pipeline that is given by its file or
// by its name.
func (p *program) folderOf(what, dir string) (string, error) {
	info, err := os.Stat(what)
	isFile := err == nil && !info.IsDir()
	if !isFile && !strings.ContainsAny(what, "./") {
		return store.Folder(dir, what), nil
	}
	file, err := p.loadFile(what)
	if err != nil {
		return "", err
	}
	return store.Folder(file.State.Dir, file.Name), nil
}

func (p *program) notRunning(what, folder string) error {
	next := "entrain run FILE"
	if p.place.get().file == "" {
		next += "   # or, if it runs from another folder: entrain status FILE"
	}
	return &entrain.Stop{
		Code: "not_running",
		What: fmt.Sprintf("no process runs the pipeline %s", what),
		Why:  "nobody answers in " + folder,
		Next: next,
	}
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// seen is when a report is looked at, and what its pipeline is called in commands.
type seen struct {
	now time.Time
	as  string
}

// writeReport prints what a person wants to know, a line each.
func writeReport(out io.Writer, r admin.Report, at seen) error {
	st := r.Status
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "pipeline\t%s (process %d, for %s)\n", r.Pipeline, r.PID, at.now.Sub(r.Started).Round(time.Second))
	fmt.Fprintf(w, "phase\t%s%s\n", st.Phase, waiting(st.Waiting, st.WaitingSeconds))
	fmt.Fprintf(w, "position\t%s\n", st.Position)
	lag := "unknown"
	if st.LagBytes >= 0 {
		lag = sizeText(st.LagBytes)
	}
	fmt.Fprintf(w, "lag\t%s, %.1f s\n", lag, st.LagSeconds)
	fmt.Fprintf(w, "rows\t%d captured, %d applied, %d filtered, %d read again\n", st.Captured, st.Applied, st.Filtered, st.Reread)
	fmt.Fprintf(w, "buffered\t%s\n", sizeText(int64(st.BufferedBytes)))
	if held := st.Retained; held != nil {
		fmt.Fprintf(w, "slot\t%s holds back %s of the source's log: %s (%s)\n", held.Name, sizeText(held.Bytes), held.Alarm, held.Status)
	}
	if letters := r.DeadLetters(); letters > 0 {
		fmt.Fprintf(w, "dead letters\t%d   # which: entrain dlq list %s\n", letters, at.as)
	}
	if text := circuitText(st.Circuit); text != "" {
		fmt.Fprintf(w, "circuit\t%s\n", text)
	}
	if st.Duplicates > 0 {
		fmt.Fprintf(w, "duplicates\t%d of the filtered rows; %.1f %% of the last minute's changes\n", st.Duplicates, 100*st.DuplicateRate)
	}
	broken := r.ContractBreaches()
	for _, table := range slices.Sorted(maps.Keys(broken)) {
		fmt.Fprintf(w, "contract broken\t%s: %d events   # how: entrain schema diff %s\n", table, broken[table], at.as)
	}
	writeSnapshot(w, st.Snapshot)
	for _, state := range slices.Sorted(maps.Keys(st.Tables)) {
		fmt.Fprintf(w, "tables %s\t%d   # which: entrain table list %s\n", state, st.Tables[state], at.as)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Counts)) {
		fmt.Fprintf(w, "%s\t%d\n", name, st.Counts[name])
	}
	if st.Error != "" {
		fmt.Fprintf(w, "last error\t%s\n", st.Error)
	}
	for _, s := range r.Sinks {
		writeSink(w, at.as, s)
	}
	for _, a := range r.Alerts {
		if a.Over {
			fmt.Fprintf(w, "alert\t%s: %.3g has reached %.3g\n", a.Name, a.Value, a.Limit)
		}
	}
	return w.Flush()
}

// writeSink prints how a delivery from the stream is.
func writeSink(w io.Writer, of string, s pipeline.SinkStatus) {
	st := s.Status
	phase := st.Phase + waiting(st.Waiting, st.WaitingSeconds)
	if s.Paused {
		phase = "paused"
	}
	bytes := ""
	if st.LagBytes > 0 {
		bytes = ", " + sizeText(st.LagBytes)
	}
	if s.Window != nil && !s.Paused {
		phase = "waits for its window, " + s.Window.Format(time.RFC3339)
	}
	if s.Failed != "" {
		phase = "failed, will be tried again: " + firstLine(s.Failed)
	}
	if text := circuitText(st.Circuit); text != "" {
		phase += "; circuit " + text
	}
	fmt.Fprintf(w, "sink %s\t%s; partition %s, at %s, %d applied, %.1f s%s behind\n",
		s.Name, phase, s.Partition, st.Position, st.Applied, st.LagSeconds, bytes)
	if s.Paused {
		fmt.Fprintf(w, "\tit goes on with:\n\tentrain sink resume %s %s\n", of, shellWord(s.Name))
	}
}

// circuitText says what a breaker that is not closed does; empty if there is none.
func circuitText(c *pipeline.CircuitStatus) string {
	if c == nil || c.State == "closed" {
		return ""
	}
	if c.State == "open" {
		return fmt.Sprintf("open after %d failures in a row, the next try is in %.0f s", c.Failures, c.Seconds)
	}
	return fmt.Sprintf("half open after %d failures in a row, one batch is tried", c.Failures)
}

// firstLine is the first line of a reason, and says where the others are.
func firstLine(s string) string {
	first, rest, _ := strings.Cut(strings.TrimRight(s, "\n"), "\n")
	first = oneLine(first)
	if rest != "" {
		first += " … (all of it: entrain status -o json)"
	}
	return first
}

func waiting(what string, seconds float64) string {
	if what == "" {
		return ""
	}
	text := ", waits for the " + what
	if seconds >= 1 {
		text += fmt.Sprintf(" (%.0f s)", seconds)
	}
	return text
}

// sizeText is a size for people, to one decimal.
func sizeText(n int64) string {
	size, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
