package main

import (
	"fmt"
	"io"

	"github.com/entrainsync/entrain/internal/bars"
	"github.com/entrainsync/entrain/pipeline"
)

// writeSnapshot prints how far the copying of existing rows is, a line in all
// and one for each table that is under way.
func writeSnapshot(w io.Writer, st *pipeline.SnapshotStatus) {
	if st == nil {
		return
	}
	held := ""
	if st.Held {
		held = ", held"
	}
	fmt.Fprintf(w, "existing rows\t%d of %d tables, %s, %.0f rows/s%s%s\n",
		bars.Copied(st), len(st.Tables), bars.OfAbout(st.Rows, st.Estimate), st.RowsPerSecond, bars.TimeLeft(st), held)
	var underWay []pipeline.SnapshotTableStatus
	for _, t := range st.Tables {
		if t.State == "copying" {
			underWay = append(underWay, t)
		}
	}
	writeParts(w, underWay)
}

// writeParts prints how far tables of the first copy are.
func writeParts(w io.Writer, tables []pipeline.SnapshotTableStatus) {
	for _, t := range tables {
		fmt.Fprintf(w, "  %s\t%s, %d of %d parts\n", oneLine(t.Table), bars.OfAbout(t.Rows, t.Estimate), t.Parts, t.AllParts)
	}
}
