package verify

// Outcome is what came of a table.
type Outcome string

// The outcomes. Skipped is a table that the pipeline's own rules make different;
// NotCompared is one that could not be compared.
const (
	SameRows    Outcome = "equal"
	Differs     Outcome = "different"
	Skipped     Outcome = "skipped"
	NotCompared Outcome = "not compared"
)

// Table is what was found out about a table.
type Table struct {
	// Source and Sink are its names, unquoted.
	Source, Sink string
	Outcome      Outcome
	// Why it was skipped or not compared, for people.
	Why string
	// Rows at both ends when they were summed up.
	Rows, SinkRows int64
	// Missing, Extra and Different count keys; Unsettled those that were written
	// in every round. AtLeast: there can be more, which were not looked at.
	Missing, Extra, Different, Unsettled int64
	AtLeast                              bool
	// By are the source's columns that identify rows, none if whole rows do; Keys
	// are the first of the keys that differ.
	By   []string
	Keys []Key
}

// Key is a key that differs.
type Key struct {
	Key     string
	Verdict Verdict
}

// maxKeys is how many keys of a table are named.
const maxKeys = 20

func (t *Table) found() int64 { return t.Missing + t.Extra + t.Different }

// note takes the verdict about a key.
func (t *Table) note(show string, v Verdict) {
	switch v {
	case Open, Equal:
		return
	case Unsettled:
		t.Unsettled++
		return
	case Missing:
		t.Missing++
	case Extra:
		t.Extra++
	case Different:
		t.Different++
	}
	t.Outcome = Differs
	if len(t.Keys) < maxKeys {
		t.Keys = append(t.Keys, Key{show, v})
	}
}

// refuse notes why the table was not compared; what was found stays.
func (t *Table) refuse(why string) {
	if t.Outcome != Differs {
		t.Outcome = NotCompared
	}
	if t.Why == "" {
		t.Why = why
	}
}
