package campaign

import (
	"encoding/json"
	"fmt"
	"strings"
)

// fileEvent is what a line says.
type fileEvent struct {
	ID, Op, Table string
	Tables        []json.RawMessage
	Before, After struct {
		ChangeID json.Number `json:"change_id"`
	}
}

// wrongLines compares the lines with the oracle: every id once, the number of
// each operation, and the order of the numbered changes.
func wrongLines(text string, h *history) []string {
	var found []string
	seen := map[string]bool{}
	counts := map[string]int64{}
	var numbered []change
	for line := range strings.Lines(text) {
		var e fileEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return []string{fmt.Sprintf("%v in %.200s", err, line)}
		}
		if seen[e.ID] {
			found = append(found, fmt.Sprintf("event %s is there twice", e.ID))
		}
		seen[e.ID] = true
		counts[strings.ToUpper(e.Op)] += int64(max(1, len(e.Tables)))
		if e.Table == "tick" || e.Table == "step" {
			numbered = append(numbered, e.numbered())
		}
	}
	for op, n := range h.byOperation() {
		if counts[op] != n {
			found = append(found, fmt.Sprintf("%d × %s; want %d", counts[op], op, n))
		}
	}
	if d := compareOrder(h.numbered, numbered); d != (tally{}) {
		found = append(found, fmt.Sprintf("of %d numbered changes %s", len(h.numbered), d))
	}
	return found
}

// numbered is the event as a change with a number; a number that is not one is
// as good as 0, which no change has.
func (e *fileEvent) numbered() change {
	number := e.After.ChangeID
	if e.Op == "delete" {
		number = e.Before.ChangeID
	}
	id, _ := number.Int64()
	return change{e.Table, strings.ToUpper(e.Op), id}
}

// byOperation sums over the tables.
func (h *history) byOperation() map[string]int64 {
	sums := map[string]int64{}
	for _, ops := range h.counts {
		for op, n := range ops {
			sums[op] += n
		}
	}
	return sums
}
