package dependency

// Mode says what a transaction does to a thing that it touches.
type Mode uint8

const (
	// Refers: a foreign key of a row that is written has this value. Those
	// that only refer to a thing are not in each other's way.
	Refers Mode = iota
	// Changes: the row with this value is changed, and keeps the value.
	Changes
	// Takes: the value appears or goes, or who has it changes.
	Takes
)

// Touch is one thing that a transaction touches: a row by its key, a value of
// a unique index, a whole table that has no key.
type Touch struct {
	What uint64 // hash of the thing
	Mode Mode
}

// newest are the last closed groups that touched a thing, by mode, counted from
// 1; 0 for none.
type newest [Takes + 1]int

// conflict is the newest group whose touch does not go together with one of the
// mode.
func (n newest) conflict(mode Mode) int {
	switch mode {
	case Refers:
		return n[Takes]
	case Changes:
		return max(n[Takes], n[Changes])
	}
	return max(n[Takes], n[Changes], n[Refers])
}
