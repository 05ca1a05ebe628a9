package campaign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// mutant is a bug in the data path. It is made around the real source, sink or store,
// or in the model that a pure core is played with, and must be caught by the same
// checkers that the campaigns and the tests rely on.
type mutant struct {
	name string
	// where says in what it is planted.
	where string
	// play is what it is tried in.
	play *play
	// alter plants it, in plays that take this.
	alter func(o *pipeline.Options)
	// test is what plays it, in plays of a test.
	test test
}

// play is a short campaign that returns all that is wrong.
type play struct {
	name string
	run  func(a *attempt) []string
	// most is how often it is tried until it shows a bug: a transaction that is torn for
	// a moment has to be met by a reader then.
	most int
	// sampled: it takes seconds.
	sampled bool
	// oldest is the first version of PostgreSQL that can do it.
	oldest int
}

// attempt is one run of a play.
type attempt struct {
	testing.TB
	seed   uint64
	srv    *pgserver.Server
	mutant *mutant // nil: nothing is planted, and nothing may be found
}

func (a *attempt) planted() bool { return a.mutant != nil }

// alter plants a bug that is made around the ends.
func (a *attempt) alter(o *pipeline.Options) {
	if a.planted() && a.mutant.alter != nil {
		a.mutant.alter(o)
	}
}

const (
	aroundSource = "a Source around the real one"
	aroundSink   = "a Sink around the real one"
	aroundStore  = "a Store around the real one"
)

var (
	direct   = &play{name: "under load, sessions cut", run: (*attempt).direct, most: 6, sampled: true}
	many     = &play{name: "more than a million rows", run: (*attempt).many, most: 1}
	unsaved  = &play{name: "sessions cut where the sink is durable", run: (*attempt).unsaved, most: 6, sampled: true}
	torn     = &play{name: "large transactions, sessions cut in them", run: (*attempt).torn, most: 4, sampled: true}
	idle     = &play{name: "a source that is idle", run: (*attempt).idle, most: 2}
	lines    = &play{name: "into a file, a store that fails now and then", run: (*attempt).lines, most: 4, sampled: true}
	keyed    = &play{name: "deduplication into a sink that doubles", run: (*attempt).keyed, most: 4, sampled: true}
	gated    = &play{name: "older changes delivered again through the gate", run: (*attempt).gated, most: 4, sampled: true}
	prepared = &play{name: "prepared transactions", run: (*attempt).prepared, most: 4, sampled: true, oldest: 15}
	cores    = &play{name: "histories of a pure core", run: (*attempt).tested, most: 1}
)

func tampering(f tampered) func(*pipeline.Options) {
	return func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: f} }
}

// mutants are all bugs.
var mutants = []mutant{
	{name: "acknowledge before the sink is durable", where: aroundSource, play: direct,
		alter: func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, early: always} }},
	{name: "feedback before the position is saved", where: aroundStore, play: lines},
	{name: "resume by row", where: aroundSource, play: torn},
	{name: "skip the first change after a reconnect", where: aroundSource, play: direct, alter: tampering(dropFirst)},
	{name: "drop one in 5000", where: aroundSource, play: direct, alter: func(o *pipeline.Options) { tampering(dropOneIn(5000))(o) }},
	{name: "drop one in 1000000", where: aroundSource, play: many, alter: func(o *pipeline.Options) { tampering(dropOneIn(1_000_000))(o) }},
	{name: "swap two changes of one key", where: aroundSource, play: direct, alter: tampering(swapUpdates)},
	{name: "deduplication that forgets after two minutes", where: "the KeyStore", play: keyed},
	{name: "position outside of the transaction", where: aroundSink, play: unsaved,
		alter: func(o *pipeline.Options) { o.Sink, o.Store = &tamperedSink{Sink: o.Sink, outside: true}, &memory{} }},
	{name: "delete and insert on key change", where: aroundSource, play: direct, alter: tampering(splitKeyChanges)},
	{name: "unchanged TOAST as NULL", where: aroundSource, play: direct, alter: tampering(nullToast)},
	{name: "apply at PREPARE", where: "the wire from the server, by a proxy", play: prepared},
	{name: "replay past the version gate", where: aroundSink, play: gated},
	{name: "replay past the version gate, its core", where: "the division into runs", play: cores,
		test: test{"connector/postgres/versiongate", "late changes go in order"}},
	{name: "idle position confirmed before it is saved", where: aroundSource, play: idle},
	{name: "visibility decided by LSN", where: "the view of a chunk, in the model of a source", play: cores,
		test: test{"pipeline/backfill", "visibility decided by LSN"}},
	{name: "delivered but invisible ignored", where: "the copy of a table, in the model of an engine", play: cores,
		test: test{"pipeline/backfill", "no look at what was delivered before"}},
	{name: "skip truncates", where: aroundSource, play: direct, alter: tampering(dropTruncates)},
	{name: "commit in the middle of a transaction", where: aroundSink, play: direct,
		alter: func(o *pipeline.Options) { o.Sink = &tamperedSink{Sink: o.Sink, write: inHalves} }},
	{name: "write a batch twice", where: aroundSink, play: direct,
		alter: func(o *pipeline.Options) { o.Sink = &tamperedSink{Sink: o.Sink, write: again()} }},
}

// mutantsCampaign is CR-07: each bug is planted once and must be caught; without one
// nothing may be. A trial with a number of faults takes that many of the bugs that
// show within seconds, by chance; ENTRAIN_MUTANT names a single one.
func mutantsCampaign(t testing.TB, r *Trial) {
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return m.play.oldest > r.Major })
	if left := len(mutants) - len(chosen); left > 0 {
		r.note(t, "%d left out, which PostgreSQL %d cannot show", left, r.Major)
	}
	if only := os.Getenv("ENTRAIN_MUTANT"); only != "" {
		chosen = slices.DeleteFunc(chosen, func(m mutant) bool { return m.name != only })
		r.note(t, "only %q", only)
	} else if r.Faults > 0 {
		chosen = slices.DeleteFunc(chosen, func(m mutant) bool { return !m.play.sampled })
		rand.New(rand.NewPCG(r.Seed, 3)).Shuffle(len(chosen), func(i, k int) { chosen[i], chosen[k] = chosen[k], chosen[i] })
		chosen = chosen[:min(len(chosen), r.Faults)]
	}
	h := &hunt{TB: t, trial: r, srv: pgtest.Start(t, r.Major, map[string]string{"max_connections": "60", "max_prepared_transactions": "10"})}
	table := [][]string{{"bug", "planted in", "tried", "found by", "the tries took", "tries", "seed"}}
	quiet := map[*play]bool{cores: true}
	caught, late := 0, []string(nil)
	for i := range chosen {
		m := &chosen[i]
		if !quiet[m.play] {
			quiet[m.play] = true
			h.control(m.play)
		}
		line, found := h.catch(m, r.Seed+uint64(100*i))
		if found {
			caught++
		}
		table = append(table, line)
		if strings.Contains(line[3], liveness) {
			late = append(late, m.name)
		}
	}
	r.note(t, "%d were found by %s: what was written did not arrive in time, and what others found then may be that only. %s", len(late), liveness, strings.Join(late, ", "))
	r.claims(t, fmt.Sprintf("%d of %d bugs caught, nothing found without a bug in %d controls", caught, len(chosen), h.controls), table)
}

// hunt tries bugs at one server.
type hunt struct {
	testing.TB
	trial    *Trial
	srv      *pgserver.Server
	controls int
}

// control plays without a bug.
func (h *hunt) control(p *play) {
	for _, f := range h.try(p, nil, h.trial.Seed) {
		h.Errorf("%s, no bug planted: found %s", p.name, f)
	}
	h.controls++
}

// catch plants a bug and plays until it is found. It returns the bug's line of the table.
func (h *hunt) catch(m *mutant, seed uint64) (line []string, caught bool) {
	began := time.Now()
	h.trial.happened("planted: " + m.name)
	for n := range m.play.most {
		found := h.try(m.play, m, seed+uint64(n))
		if len(found) == 0 {
			continue
		}
		took := time.Since(began).Round(100 * time.Millisecond)
		h.Logf("%s: caught after %s, seed %d: %.200q", m.name, took, seed+uint64(n), found)
		return []string{m.name, m.where, m.play.name, checkersOf(found), took.String(), strconv.Itoa(n + 1), strconv.FormatUint(seed+uint64(n), 10)}, true
	}
	h.Errorf("%s: not caught in %d tries, seed %d", m.name, m.play.most, seed)
	return []string{m.name, m.where, m.play.name, "nobody", "", strconv.Itoa(m.play.most), strconv.FormatUint(seed, 10)}, false
}

// try plays once.
func (h *hunt) try(p *play, m *mutant, seed uint64) []string {
	name := p.name
	if m != nil {
		name = m.name
	}
	sc := newScope(h.TB, name)
	defer sc.end()
	return p.run(&attempt{TB: sc, seed: seed, srv: h.srv, mutant: m})
}

// checkersOf are all who found something in the try that caught a bug, in the order in
// which they are asked.
func checkersOf(found []string) string {
	var names []string
	for _, finding := range found {
		name, _, _ := strings.Cut(finding, ": ")
		if strings.HasPrefix(name, "read ") {
			name = "ledger, read meanwhile"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}
