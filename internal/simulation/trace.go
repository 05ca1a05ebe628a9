package simulation

import (
	"hash"
	"hash/fnv"
	"io"
)

// keptLines is how many of the last steps are shown with a violation.
const keptLines = 40

// trace is the course of a run: a hash of it, and its end.
type trace struct {
	sum  hash.Hash64
	out  io.Writer // nil: nobody reads along
	ring [keptLines]string
	n    int
}

func newTrace(out io.Writer) *trace { return &trace{sum: fnv.New64a(), out: out} }

// line adds a step.
func (t *trace) line(text []byte) {
	t.sum.Write(text) // never fails
	t.ring[t.n%keptLines] = string(text)
	t.n++
	if t.out != nil {
		io.WriteString(t.out, string(text)+"\n") // who reads along has seen less then
	}
}

// more adds what is the same in two runs but not worth a line, unless somebody reads
// along.
func (t *trace) more(text []byte) {
	t.sum.Write(text)
	if t.out != nil {
		io.WriteString(t.out, "\t"+string(text)+"\n")
	}
}

// last are the last steps, the oldest first.
func (t *trace) last() []string {
	var lines []string
	for i := max(0, t.n-keptLines); i < t.n; i++ {
		lines = append(lines, t.ring[i%keptLines])
	}
	return lines
}
