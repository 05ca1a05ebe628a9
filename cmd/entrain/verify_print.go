package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/entrainsync/entrain/internal/verify"
)

// tableView is a compared table in JSON.
type tableView struct {
	Table     string    `json:"table"`
	Sink      string    `json:"sink_table"`
	Outcome   string    `json:"outcome"`
	Why       string    `json:"why,omitempty"`
	Rows      int64     `json:"rows"`
	SinkRows  int64     `json:"sink_rows"`
	Missing   int64     `json:"missing"`
	Extra     int64     `json:"extra"`
	Different int64     `json:"different"`
	Unsettled int64     `json:"unsettled"`
	AtLeast   bool      `json:"at_least"`
	By        []string  `json:"by"`
	Keys      []keyView `json:"keys"`
}

type keyView struct {
	Key  string `json:"key"`
	What string `json:"what"`
}

// verifyView is the whole of -o json.
type verifyView struct {
	Tables []tableView `json:"tables"`
}

func (p *program) printVerified(tables []*verify.Table, o verifyOptions) error {
	if o.output != "json" {
		return writeVerified(p.stdout, tables)
	}
	view := verifyView{Tables: []tableView{}}
	for _, t := range tables {
		v := tableView{t.Source, t.Sink, string(t.Outcome), t.Why, t.Rows, t.SinkRows, t.Missing, t.Extra, t.Different, t.Unsettled, t.AtLeast,
			append([]string{}, t.By...), []keyView{}}
		for _, k := range t.Keys {
			v.Keys = append(v.Keys, keyView{k.Key, k.Verdict.String()})
		}
		view.Tables = append(view.Tables, v)
	}
	return writeJSON(p.stdout, view)
}

// writeVerified prints a line a table, then the keys that differ.
func writeVerified(out io.Writer, tables []*verify.Table) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, t := range tables {
		name := t.Source
		if t.Sink != t.Source {
			name += " → " + t.Sink
		}
		fmt.Fprintf(w, "%s\t%s\n", oneLine(name), oneLine(cameOf(t)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range tables {
		if len(t.Keys) == 0 {
			continue
		}
		by := "by the whole row"
		if len(t.By) > 0 {
			by = "by (" + strings.Join(t.By, ", ") + ")"
		}
		fmt.Fprintf(out, "\n%s, %s\n", oneLine(t.Source), oneLine(by))
		for _, k := range t.Keys {
			fmt.Fprintf(out, "  %-9s  %s\n", k.Verdict, oneLine(k.Key))
		}
		if rest := t.Missing + t.Extra + t.Different - int64(len(t.Keys)); rest > 0 {
			fmt.Fprintf(out, "  and %d more\n", rest)
		}
	}
	return nil
}

// cameOf says what came of a table.
func cameOf(t *verify.Table) string {
	var words []string
	switch t.Outcome {
	case verify.Skipped:
		return t.Why
	case verify.NotCompared:
		return "not compared: " + t.Why
	case verify.SameRows:
		words = append(words, plural(int(t.Rows), "row"), "equal")
	case verify.Differs:
		words = append(words, plural(int(t.Rows), "row"))
		least := ""
		if t.AtLeast {
			least = "at least "
		}
		words = append(words, fmt.Sprintf("%s%d missing, %d extra, %d different", least, t.Missing, t.Extra, t.Different))
	}
	if t.Unsettled > 0 {
		words = append(words, plural(int(t.Unsettled), "key")+" written too often to be compared")
	}
	if t.Why != "" {
		words = append(words, t.Why)
	}
	return strings.Join(words, ", ")
}
