package verify

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// state reads "a@1": rows a, written anew since version 1; "-" is no row, and
// "aa@3" two rows.
func state(text string) State {
	sum, version, _ := strings.Cut(text, "@")
	if sum == "-" {
		return State{}
	}
	return State{int64(len(sum)), sum, version}
}

// looks reads rounds of "before sink after".
func looks(text string) []Look {
	var all []Look
	words := strings.Fields(text)
	for i := 0; i+2 < len(words); i += 3 {
		all = append(all, Look{state(words[i]), state(words[i+1]), state(words[i+2])})
	}
	return all
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, first, looks string
		want               Verdict
	}{
		{"nothing was seen yet", "-", "", Open},
		{"it arrived", "-", "a@1 a@7 a@1", Equal},
		{"the sink has what the source had before", "-", "a@1 a@7 b@2", Equal},
		{"the sink has what the source has since", "-", "a@1 b@7 b@2", Equal},
		{"it is gone at both ends", "a@1", "- - -", Equal},
		{"it came back to where it was, in between", "-", "- - a@1", Equal},

		{"missing, not yet sure", "-", "a@1 - a@1  a@1 - a@1", Open},
		{"missing", "-", "a@1 - a@1  a@1 - a@1  a@1 - a@1", Missing},
		{"extra, not yet sure", "b@1", "- b@1 -  - b@1 -", Open},
		{"extra", "b@1", "- b@1 -  - b@1 -  - b@1 -", Extra},
		{"different", "b@1", "a@1 b@1 a@1  a@1 b@1 a@1  a@1 b@1 a@1", Different},
		{"one of two equal rows is missing", "a@1", "aa@1 a@1 aa@1  aa@1 a@1 aa@1  aa@1 a@1 aa@1", Missing},
		{"one of three is too many", "aaa@1", "aa@1 aaa@1 aa@1  aa@1 aaa@1 aa@1  aa@1 aaa@1 aa@1", Extra},
		{"it arrived in the third round", "-", "a@1 - a@1  a@1 - a@1  a@1 a@8 a@1", Equal},

		{"the source wrote it in the middle of each round", "b@1", "a@1 b@2 c@2  d@3 b@4 e@4  f@5 b@6 g@6", Open},
		{"a row that goes to and fro, on its way", "a@1", "a@1 b@2 a@3  a@3 b@4 a@5  a@5 b@6 a@7", Open},
		{"a key that comes and goes, on its way", "a@1", "- a@2 -  - a@3 -  - a@4 -", Open},
		{"the source writes it, the sink's row stands still", "x@1", "a@1 x@1 b@2  c@3 x@1 d@4  e@5 x@1 f@6", Different},
		{"each round proves it, for other rows", "x@1", "a@1 x@2 a@1  b@2 y@3 b@2  c@3 z@4 c@3", Open},
		{"one round in between proves nothing", "x@1", "a@1 x@1 a@1  a@1 x@1 a@1  b@2 y@2 c@3  c@3 y@2 c@3  c@3 y@2 c@3", Open},
		{"then it takes three again", "x@1", "a@1 x@1 a@1  b@2 y@2 c@3  c@3 y@2 c@3  c@3 y@2 c@3  c@3 y@2 c@3", Different},
		{"the third round can be a change on its way", "x@1", "a@1 x@1 a@1  a@1 x@1 a@1  a@1 y@2 c@3", Open},
		{"of another kind", "x@1", "a@1 x@1 a@1  a@1 x@1 a@1  - x@1 -  - x@1 -", Open},
		{"then three of that kind", "x@1", "a@1 x@1 a@1  - x@1 -  - x@1 -  - x@1 -", Extra},
		{"a row of the source that is written all the time", "-", strings.Repeat("a@1 - b@2 ", maxRounds), Missing},
		{"too early to say so", "-", strings.Repeat("a@1 - b@2 ", maxRounds-1), Open},
		{"written all the time at both ends", "a@0", strings.Repeat("a@1 x@2 b@2  c@3 y@4 d@4 ", maxRounds/2), Unsettled},
		{"comes and goes all the time", "a@0", strings.Repeat("- a@2 -  - a@3 - ", maxRounds/2), Unsettled},
	} {
		if got := Judge(state(c.first), looks(c.looks)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// world is a source whose row changes at random, and a sink that follows with
// some delay; it may have been tampered with.
type world struct {
	rng      *rand.Rand
	history  []State // of the source's row, by time
	applied  int     // of it at the sink
	sink     State
	stuck    bool // the sink does not follow
	versions int
}

func (w *world) version() string {
	w.versions++
	return strings.Repeat("v", w.versions)
}

// pass lets some time pass: the source changes, the sink follows up to now.
func (w *world) pass() {
	for range w.rng.IntN(4) {
		next := State{}
		if v := w.rng.IntN(3); v > 0 {
			next = State{1, string(rune('a' + v)), w.version()}
		}
		if last := w.history[len(w.history)-1]; next.Rows > 0 || last.Rows > 0 {
			w.history = append(w.history, next)
		}
	}
	w.follow(w.applied + w.rng.IntN(len(w.history)-w.applied))
}

func (w *world) follow(to int) {
	for ; w.applied < to; w.applied++ {
		if !w.stuck {
			w.sink = w.history[w.applied+1]
			if w.sink.Rows > 0 {
				w.sink.Version = w.version()
			}
		}
	}
}

func (w *world) round() Look {
	w.pass()
	l := Look{Before: w.history[len(w.history)-1]}
	end := len(w.history) - 1
	w.pass()
	w.follow(max(end, w.applied))
	l.Sink = w.sink
	w.pass()
	l.After = w.history[len(w.history)-1]
	return l
}

// No history of a row, however wild, is called a difference if the sink follows.
func TestJudgeRaisesNoFalseAlarm(t *testing.T) {
	for seed := range uint64(200000) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 1)), history: []State{{}}}
		first := w.sink
		var seen []Look
		v := Open
		for v == Open {
			seen = append(seen, w.round())
			v = Judge(first, seen)
		}
		if v != Equal && v != Unsettled {
			t.Fatalf("seed %d: %s after %+v, first %+v", seed, v, seen, first)
		}
	}
}

// A sink whose row stands still is found out, if the source does not happen to
// come by there.
func TestJudgeFindsWhatStandsStill(t *testing.T) {
	for seed := range uint64(20000) {
		w := &world{rng: rand.New(rand.NewPCG(seed, 2)), history: []State{{}}, stuck: true, sink: State{1, "planted", "p"}}
		first := w.sink
		var seen []Look
		v := Open
		for v == Open {
			seen = append(seen, w.round())
			v = Judge(first, seen)
		}
		if v != Different && v != Extra && v != Unsettled {
			t.Fatalf("seed %d: %s after %+v", seed, v, seen)
		}
	}
}
