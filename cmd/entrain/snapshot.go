package main

import (
	"fmt"
	"io"
	"time"

	"github.com/entrainsync/entrain/pipeline"
)

// writeSnapshot prints how far the copying of existing rows is, a line in all
// and one for each table that is under way.
func writeSnapshot(w io.Writer, st *pipeline.SnapshotStatus) {
	if st == nil {
		return
	}
	copied := 0
	for _, t := range st.Tables {
		if t.State == "copied" {
			copied++
		}
	}
	fmt.Fprintf(w, "existing rows\t%d of %d tables, %s, %.0f rows/s%s\n",
		copied, len(st.Tables), ofAbout(st.Rows, st.Estimate), st.RowsPerSecond, timeLeft(st))
	for _, t := range st.Tables {
		if t.State == "copying" {
			fmt.Fprintf(w, "  %s\t%s, %d of %d parts\n", oneLine(t.Table), ofAbout(t.Rows, t.Estimate), t.Parts, t.AllParts)
		}
	}
}

func ofAbout(rows, estimate int64) string {
	if estimate < 0 {
		return fmt.Sprintf("%d rows", rows)
	}
	return fmt.Sprintf("%d of about %d rows", rows, max(rows, estimate))
}

func timeLeft(st *pipeline.SnapshotStatus) string {
	if st.Done || st.ETASeconds < 0 {
		return ""
	}
	return ", about " + (time.Duration(st.ETASeconds) * time.Second).String() + " left"
}
