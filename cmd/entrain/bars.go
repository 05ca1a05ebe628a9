package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/entrainsync/entrain/pipeline"
)

// bars shows the copying of existing rows below what else is written to a
// terminal. Its methods may be called from several goroutines.
type bars struct {
	out io.Writer

	mu    sync.Mutex
	text  string // what is shown, whole lines
	lines int
}

// Write writes above the bars.
func (b *bars) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	n, err := b.out.Write(p)
	b.draw(b.text)
	return n, err
}

// show replaces what is shown.
func (b *bars) show(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text == b.text {
		return
	}
	b.erase()
	b.draw(text)
}

func (b *bars) erase() {
	if b.lines > 0 {
		fmt.Fprintf(b.out, "\x1b[%dA\x1b[J", b.lines) // up, and clear what is below
	}
	b.lines = 0
}

func (b *bars) draw(text string) {
	fmt.Fprint(b.out, text)
	b.text, b.lines = text, strings.Count(text, "\n")
}

// barsEvery is how often the bars move.
const barsEvery = 250 * time.Millisecond

// follow shows the progress until ctx ends, and leaves nothing behind.
func (b *bars) follow(ctx context.Context, e engine) {
	ticker := time.NewTicker(barsEvery)
	defer ticker.Stop()
	defer b.show("")
	for {
		select {
		case <-ticker.C:
			b.show(barsText(e.Status()))
		case <-ctx.Done():
			return
		}
	}
}

const (
	// mostBars are the tables that are shown at most, those under way first.
	mostBars = 8
	barWidth = 24
	barName  = 32 // characters of a table's name
)

// barsText is the progress as lines for a terminal, nothing if no rows are being
// copied.
func barsText(st pipeline.Status) string {
	if st.Snapshot == nil || st.Phase != "snapshotting" {
		return ""
	}
	var b strings.Builder
	for _, t := range firstUnderWay(st.Snapshot.Tables) {
		name := []rune(oneLine(t.Table))
		if len(name) > barName {
			name = append(name[:barName-1], '…')
		}
		share := 0.0
		switch {
		case t.State == "copied":
			share = 1
		case t.Estimate > 0:
			share = min(0.99, float64(t.Rows)/float64(t.Estimate))
		}
		done := int(share * barWidth)
		fmt.Fprintf(&b, "  %-*s %s%s %3.0f%% %12d rows\n", barName, string(name),
			strings.Repeat("█", done), strings.Repeat("░", barWidth-done), 100*share, t.Rows)
	}
	s := st.Snapshot
	copied := 0
	for _, t := range s.Tables {
		if t.State == "copied" {
			copied++
		}
	}
	fmt.Fprintf(&b, "  %d of %d tables, %s, %.0f rows/s%s\n", copied, len(s.Tables), ofAbout(s.Rows, s.Estimate), s.RowsPerSecond, timeLeft(s))
	return b.String()
}

// firstUnderWay returns the tables to show: those being copied, then those that
// wait, then the finished ones, as far as there is room.
func firstUnderWay(tables []pipeline.SnapshotTableStatus) []pipeline.SnapshotTableStatus {
	var shown []pipeline.SnapshotTableStatus
	for _, state := range []string{"copying", "waiting", "copied"} {
		for _, t := range tables {
			if t.State == state && len(shown) < mostBars {
				shown = append(shown, t)
			}
		}
	}
	return shown
}
