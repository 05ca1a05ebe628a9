package verify

// State is what one end had for a key: how many rows, the sum of their hashes,
// and what tells whether one of them was written anew. The zero State is no row.
type State struct {
	Rows    int64
	Sum     string
	Version string
}

// same reports whether two ends have the same rows.
func (s State) same(o State) bool { return s.Rows == o.Rows && s.Sum == o.Sum }

// untouched reports that there are rows and none was written between two looks
// at the same end.
func (s State) untouched(o State) bool { return s.Rows > 0 && s == o }

// Look is what one round saw of a key, in this order: the source; then the
// source's log end was noted and it was waited until the sink's position had
// passed it; the sink; the source again.
type Look struct {
	Before, Sink, After State
}

// Verdict is what is known of a key after some rounds.
type Verdict uint8

// The verdicts. Open needs another round.
const (
	Open Verdict = iota
	Equal
	Missing
	Extra
	Different
	Unsettled // it was written anew in too many rounds
)

// String returns the verdict for people.
func (v Verdict) String() string {
	return [...]string{"open", "equal", "missing", "extra", "different", "unsettled"}[v]
}

const (
	// confirming is how many rounds in a row have to prove the same difference.
	confirming = 3
	// maxRounds is after how many rounds a key is given up.
	maxRounds = 12
)

// Judge decides about a key by all that was seen of it; first is what the sink
// had before the first round. Changes in flight are no differences: a round
// counts only if no transaction can explain it, and the rounds that confirm a
// difference have to see the same rows at one end at least.
func Judge(first State, looks []Look) Verdict {
	streak, kind := 0, Open
	last := Look{Sink: first}
	for _, l := range looks {
		d := l.difference()
		if d == Equal {
			return Equal
		}
		switch {
		case !l.proves(last.Sink):
			streak = 0
		case streak > 0 && d == kind && (l.Before.untouched(last.Before) || l.Sink.untouched(last.Sink)):
			streak++
		default:
			streak, kind = 1, d
		}
		if streak == confirming {
			return kind
		}
		last = l
	}
	switch {
	case len(looks) < maxRounds:
		return Open
	case neverThere(looks):
		return Missing
	}
	return Unsettled
}

// neverThere reports that the source had rows at every look and the sink had
// none: rows that are written all the time come nowhere.
func neverThere(looks []Look) bool {
	for _, l := range looks {
		if l.Before.Rows == 0 || l.After.Rows == 0 || l.Sink.Rows > 0 {
			return false
		}
	}
	return true
}

// difference compares the sink with the source: equal if it has what the source
// had at either look.
func (l Look) difference() Verdict {
	switch {
	case l.Sink.same(l.Before) || l.Sink.same(l.After):
		return Equal
	case l.Sink.Rows == 0:
		return Missing
	case l.Before.Rows == 0 && l.After.Rows == 0:
		return Extra
	case l.Sink.Rows < l.Before.Rows:
		return Missing
	case l.Sink.Rows > l.Before.Rows:
		return Extra
	}
	return Different
}

// proves reports that no change in flight explains the difference. When the sink
// was looked at, it had every change from before the log's end was noted, and
// none from after the second look at the source. So either
//
//   - the source's rows were not touched between its two looks: then the sink has
//     to have them; or
//   - the sink's rows were not touched since the round before: then it has not
//     become what the source had meanwhile, which was another state.
func (l Look) proves(sinkBefore State) bool {
	return l.Before.untouched(l.After) || l.Sink.untouched(sinkBefore)
}
