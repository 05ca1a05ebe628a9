// Package bars draws the copying of existing rows on a terminal.
package bars

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/entrainsync/entrain/pipeline"
)

// Bars shows the copying of existing rows below what else is written to a
// terminal. Its methods may be called from several goroutines.
type Bars struct {
	out io.Writer

	mu    sync.Mutex
	text  string // what is shown, whole lines
	lines int
}

// New returns bars on a terminal. What others write there has to go through
// their Write.
func New(out io.Writer) *Bars { return &Bars{out: out} }

// Write writes above the bars; see [io.Writer].
func (b *Bars) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	n, err := b.out.Write(p)
	b.draw(b.text)
	return n, err
}

// show replaces what is shown.
func (b *Bars) show(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text == b.text {
		return
	}
	b.erase()
	b.draw(text)
}

func (b *Bars) erase() {
	if b.lines > 0 {
		fmt.Fprintf(b.out, "\x1b[%dA\x1b[J", b.lines) // up, and clear what is below
	}
	b.lines = 0
}

func (b *Bars) draw(text string) {
	fmt.Fprint(b.out, text)
	b.text, b.lines = text, strings.Count(text, "\n")
}

// barsEvery is how often the bars move.
const barsEvery = 250 * time.Millisecond

// Follow shows the progress of what status returns until ctx ends, and leaves
// nothing behind.
func (b *Bars) Follow(ctx context.Context, status func() pipeline.Status) {
	ticker := time.NewTicker(barsEvery)
	defer ticker.Stop()
	defer b.show("")
	for {
		select {
		case <-ticker.C:
			b.show(text(status()))
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

// text is the progress as lines for a terminal, nothing if no rows are being
// copied.
func text(st pipeline.Status) string {
	if st.Snapshot == nil || st.Phase != "snapshotting" {
		return ""
	}
	var b strings.Builder
	for _, t := range firstUnderWay(st.Snapshot.Tables) {
		name := []rune(visible(t.Table))
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
	fmt.Fprintf(&b, "  %d of %d tables, %s, %.0f rows/s%s\n", Copied(s), len(s.Tables), OfAbout(s.Rows, s.Estimate), s.RowsPerSecond, TimeLeft(s))
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

// visible is a name without what would end its line or move the cursor.
func visible(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return '·'
		}
		return r
	}, name)
}

// Copied is how many tables have their rows.
func Copied(st *pipeline.SnapshotStatus) int {
	copied := 0
	for _, t := range st.Tables {
		if t.State == "copied" {
			copied++
		}
	}
	return copied
}

// OfAbout says how many rows of an estimate there are, which may be -1.
func OfAbout(rows, estimate int64) string {
	if estimate < 0 {
		return fmt.Sprintf("%d rows", rows)
	}
	return fmt.Sprintf("%d of about %d rows", rows, max(rows, estimate))
}

// TimeLeft says how long it may still take, nothing if that is not known.
func TimeLeft(st *pipeline.SnapshotStatus) string {
	if st.Done || st.ETASeconds < 0 {
		return ""
	}
	return ", about " + (time.Duration(st.ETASeconds) * time.Second).String() + " left"
}
