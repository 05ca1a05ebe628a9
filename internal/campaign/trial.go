package campaign

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// Options are what a campaign is to do. A test asks for less than the command.
type Options struct {
	// Seed is where all random choices come from. What two processes do at the same
	// time is up to the machine all the same.
	Seed uint64
	// Major is the version of PostgreSQL.
	Major int
	// Faults is how many faults there are to be.
	Faults int
	// Changes is how many changes there have to be, at least, for the run to count.
	Changes int64
	// Length is how long faults go on in campaigns that are measured by time.
	Length time.Duration
}

// Trial is one run of a campaign: what it is to do, and what comes out of it.
type Trial struct {
	Options

	mu     sync.Mutex
	began  time.Time
	faults []Fault
	result Outcome
	notes  []string
	claim  string
	table  [][]string
}

// Fault is something that was done to a running campaign.
type Fault struct {
	// At is how long after the campaign's beginning it was noted, in seconds: at once, but
	// for calls that were made to fail, which are noted at the end of a process.
	At float64 `json:"at"`
	// Kind says what it was.
	Kind string `json:"kind"`
}

// Outcome is what was counted.
type Outcome struct {
	// Changes and Transactions are those of the source, as its own decoder tells.
	Changes      int64 `json:"changes"`
	Transactions int64 `json:"transactions"`
	// Counted are the changes that a sink without any unique key has to have once and
	// in their order.
	Counted int64 `json:"counted_one_by_one"`
	// Reads is how often the ledger was read at the target meanwhile.
	Reads int64 `json:"reads_of_the_ledger"`
	// Lost, Duplicated and Reordered are those among what was compared.
	Lost       int64 `json:"lost"`
	Duplicated int64 `json:"duplicated"`
	Reordered  int64 `json:"reordered"`
}

// sampled is a trial of a test: the seed comes from ENTRAIN_TEST_SEED if that is set.
func sampled(t testing.TB, faults int, changes int64) *Trial {
	t.Helper()
	r := &Trial{began: time.Now(), Options: Options{Seed: seedOr(t, rand.Uint64()), Major: pgtest.Majors(t)[0], Faults: faults, Changes: changes}}
	t.Logf("ENTRAIN_TEST_SEED=%d", r.Seed)
	return r
}

// on is the same trial on another version of PostgreSQL.
func (r *Trial) on(major int) *Trial {
	o := r.Options
	o.Major = major
	return &Trial{began: time.Now(), Options: o}
}

// happened notes a fault.
func (r *Trial) happened(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, Fault{At: time.Since(r.began).Seconds(), Kind: kind})
}

// mostVain is how often in a row a fault may not happen.
const mostVain = 100

// harm does as many faults as the trial is to have. do says whether the fault of turn i
// happened; if not, another one is done in its place.
func (r *Trial) harm(t testing.TB, do func(i int) bool) {
	t.Helper()
	for i, done, vain := 0, 0, 0; done < r.Faults && !t.Failed(); i++ {
		if do(i) {
			done, vain = done+1, 0
		} else if vain++; vain == mostVain {
			t.Errorf("%d times in a row a fault did not happen; %d of %d did", vain, done, r.Faults)
		}
	}
}

// enough fails the campaign if fewer faults happened than there were to be.
func (r *Trial) enough(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	happened := len(r.faults)
	r.mu.Unlock()
	if happened < r.Faults && !t.Failed() { // a campaign that fails ends early
		t.Errorf("only %d faults happened; want %d", happened, r.Faults)
	}
}

// count is how many faults of a kind there were.
func (r *Trial) count(kind string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// kinds are the faults so far, and how often each happened, in words.
func (r *Trial) kinds() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return inWords(r.faults)
}

func inWords(faults []Fault) string {
	counts := map[string]int{}
	for _, f := range faults {
		counts[f.Kind]++
	}
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", kind, counts[kind]))
	}
	return strings.Join(words, ", ")
}

// note keeps a figure that the report has besides the usual ones.
func (r *Trial) note(t testing.TB, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}

// claims says what came out where the usual figures do not, with a table of it whose
// first line names the columns.
func (r *Trial) claims(t testing.TB, claim string, table [][]string) {
	t.Helper()
	t.Log(claim)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claim, r.table = claim, table
}

// counted adds what the source did and how much of it was looked at.
func (r *Trial) counted(h *history, reads int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Changes += h.changes
	r.result.Transactions += h.transactions
	r.result.Reads += reads
	r.result.Counted += int64(len(h.numbered)) + h.counts["chain_log"]["INSERT"]
}

// differ adds what a comparison of orders found.
func (r *Trial) differ(t tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Lost += int64(t.lost)
	r.result.Duplicated += int64(t.duplicated + t.invented)
	r.result.Reordered += int64(t.reordered)
}

// conclude checks that there was as much as the trial asks for, and tells.
func (r *Trial) conclude(t testing.TB) {
	t.Helper()
	r.enough(t)
	if r.result.Changes < r.Changes {
		t.Errorf("only %d changes; want %d", r.result.Changes, r.Changes)
	}
	r.tell(t)
}

// tell says what came out so far, which is what people read.
func (r *Trial) tell(t testing.TB) {
	t.Helper()
	verdict := fmt.Sprintf("%d lost, %d duplicated, %d reordered", r.result.Lost, r.result.Duplicated, r.result.Reordered)
	if t.Failed() {
		verdict = "NOT as promised: " + verdict
	}
	t.Logf("%s of %d changes in %d transactions under %d faults (%s); %d of them counted one by one, %d reads of the ledger",
		verdict, r.result.Changes, r.result.Transactions, len(r.faults), r.kinds(), r.result.Counted, r.result.Reads)
}
