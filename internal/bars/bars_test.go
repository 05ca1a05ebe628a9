package bars

import (
	"bytes"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/pipeline"
)

func snapshotStatus() pipeline.Status {
	st := pipeline.Status{Phase: "snapshotting", Snapshot: &pipeline.SnapshotStatus{Rows: 150, Estimate: 300, RowsPerSecond: 50, ETASeconds: 3}}
	st.Snapshot.Tables = []pipeline.SnapshotTableStatus{
		{Table: "public.done", State: "copied", Rows: 50, Estimate: 50},
		{Table: "public.next", State: "waiting", Estimate: 50},
		{Table: "public.a_name\nthat is longer than there is room for", State: "copying", Rows: 100, Estimate: 200},
	}
	return st
}

// Bars show what is under way first, one line a table whatever its name.
func TestBarsText(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(text(snapshotStatus()), "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `public.a_name·that`) || !strings.Contains(lines[0], " 50%          100 rows") ||
		!strings.Contains(lines[2], "100%") || lines[3] != "  1 of 3 tables, 150 of about 300 rows, 50 rows/s, about 3s left" {
		t.Errorf("%q", lines)
	}
	streaming := snapshotStatus()
	streaming.Phase = "streaming"
	if got := text(streaming) + text(pipeline.Status{Phase: "snapshotting"}); got != "" {
		t.Errorf("bars when nothing is copied: %q", got)
	}
}

// What else is written stands above the bars, and nothing of them stays.
func TestBarsGiveWay(t *testing.T) {
	var out bytes.Buffer
	b := New(&out)
	b.show("one\ntwo\n")
	b.Write([]byte("log\n"))
	b.show("")
	const clear = "\x1b[2A\x1b[J"
	if want := "one\ntwo\n" + clear + "log\none\ntwo\n" + clear; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
