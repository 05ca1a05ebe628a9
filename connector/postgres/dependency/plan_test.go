package dependency

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// The model: a parent table whose rows have a key, a unique value and a sum,
// and a child table whose rows refer to a parent's key. Every operation says
// by its result how it depends on what was there, and refuses what a server
// refuses.
type row struct{ value, sum, parent int }

type tableKey struct {
	table string
	key   int
}

type state map[tableKey]row

type operation struct {
	kind  string
	at    tableKey
	old   row // the image before, as the log carries it
	new   row
	newAt tableKey
}

func (s state) do(op operation) error {
	if op.kind == "truncate" {
		clear(s)
		return nil
	}
	if got, want := s[op.at], op.old; got != want {
		return fmt.Errorf("%s of %v finds %v, the source found %v", op.kind, op.at, got, want)
	}
	delete(s, op.at)
	if op.kind != "delete" {
		if _, taken := s[op.newAt]; taken {
			return fmt.Errorf("%s: key %v is taken", op.kind, op.newAt)
		}
		s[op.newAt] = op.new
	}
	return s.valid()
}

// valid checks the unique values and the references.
func (s state) valid() error {
	owners := map[int]tableKey{}
	for at, r := range s {
		if at.table == "child" {
			if _, ok := s[tableKey{"parent", r.parent}]; !ok {
				return fmt.Errorf("%v refers to parent %d, which is not there", at, r.parent)
			}
			continue
		}
		if other, taken := owners[r.value]; taken {
			return fmt.Errorf("value %d is in %v and %v", r.value, other, at)
		}
		owners[r.value] = at
	}
	return nil
}

func hash(kind string, n int) uint64 { return uint64(kind[0])<<32 | uint64(n) }

// touches is what a sink would say of the operation. narrow keeps only so many
// bits, so that different things collide.
func (op operation) touches(narrow uint64) []Touch {
	var out []Touch
	add := func(kind string, n int, mode Mode) { out = append(out, Touch{hash(kind, n) % narrow, mode}) }
	update := op.kind == "update" && op.at == op.newAt
	switch {
	case update:
		add(op.at.table, op.at.key, Changes)
	default:
		add(op.at.table, op.at.key, Takes)
		add(op.newAt.table, op.newAt.key, Takes)
	}
	if op.at.table == "child" {
		add("parent", op.old.parent, Refers)
		add("parent", op.new.parent, Refers)
		return out
	}
	mode := Takes
	if update && op.old.value == op.new.value {
		mode = Changes
	}
	add("value", op.old.value, mode)
	add("value", op.new.value, mode)
	return out
}

// next draws an operation that the state allows; ok is false if the draw was
// none.
func next(r *rand.Rand, s state) (op operation, ok bool) {
	const keys = 8
	table := []string{"parent", "child"}[r.IntN(2)]
	at := tableKey{table, 1 + r.IntN(keys)}
	fresh := row{value: 1 + r.IntN(2*keys), sum: r.IntN(1000)}
	if table == "child" {
		fresh = row{parent: 1 + r.IntN(keys), sum: r.IntN(1000)}
	}
	old, there := s[at]
	op = operation{at: at, newAt: at, old: old, new: fresh}
	switch {
	case !there:
		op.kind = "insert"
	case r.IntN(3) == 0:
		op.kind, op.new = "delete", row{}
	default:
		op.kind = "update"
		if r.IntN(2) == 0 {
			op.new.value, op.new.parent = old.value, old.parent
		}
		if r.IntN(6) == 0 {
			op.newAt.key = 1 + r.IntN(keys)
		}
	}
	after := maps.Clone(s)
	if after.do(op) != nil {
		return operation{}, false
	}
	maps.Copy(s, after)
	maps.DeleteFunc(s, func(k tableKey, _ row) bool { _, stays := after[k]; return !stays })
	return op, true
}

// history draws transactions as a source commits them, and returns its rows.
func history(r *rand.Rand, n int) ([][]operation, state) {
	s := state{}
	var txs [][]operation
	for len(txs) < n {
		if r.IntN(25) == 0 {
			clear(s)
			txs = append(txs, []operation{{kind: "truncate"}})
			continue
		}
		var tx []operation
		for range 1 + r.IntN(3) {
			if op, ok := next(r, s); ok {
				tx = append(tx, op)
			}
		}
		txs = append(txs, tx)
	}
	return txs, s
}

func planOf(txs [][]operation, weight, limit int, narrow uint64) *Plan {
	p := NewPlan(weight, limit)
	for _, tx := range txs {
		if len(tx) > 0 && tx[0].kind == "truncate" {
			p.AddBarrier(1)
			continue
		}
		var touches []Touch
		for _, op := range tx {
			touches = append(touches, op.touches(narrow)...)
		}
		p.Add(max(len(tx), 1), touches)
	}
	return p
}

// execute runs the groups by a random schedule that the plan allows: each sees
// what some moment between its After and its own turn had committed, and its
// writes are put on top of the others' when it commits.
func execute(r *rand.Rand, txs [][]operation, groups []Group) (state, error) {
	committed := []state{{}} // by number of groups committed
	for i, g := range groups {
		seen := committed[g.After+1+r.IntN(i-g.After)]
		mine := maps.Clone(seen)
		for _, op := range slices.Concat(txs[g.First:g.End]...) {
			if err := mine.do(op); err != nil {
				return nil, fmt.Errorf("group %d (after %d): %w", i, g.After, err)
			}
		}
		result := maps.Clone(committed[i])
		for at := range seen {
			if _, stays := mine[at]; !stays {
				delete(result, at)
			}
		}
		for at, now := range mine {
			if was, there := seen[at]; !there || was != now {
				result[at] = now
			}
		}
		if err := result.valid(); err != nil {
			return nil, fmt.Errorf("after the commit of group %d: %w", i, err)
		}
		committed = append(committed, result)
	}
	return committed[len(groups)], nil
}

// TestAnyScheduleIsSerial: whatever schedule the plan allows, every operation
// finds what it found at the source, and the end is the source's (P3).
func TestAnyScheduleIsSerial(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		txs, want := history(r, 1+r.IntN(60))
		limit, narrow := 1<<20, uint64(1)<<62
		if seed%3 == 1 {
			limit = 8 + r.IntN(20)
		}
		if seed%3 == 2 {
			narrow = 13
		}
		groups := planOf(txs, 1+r.IntN(6), limit, narrow).Groups()
		for range 5 {
			got, err := execute(r, txs, groups)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("seed %d: got %v, want %v", seed, got, want)
			}
		}
	}
}

// TestModelSeesDependencies: the model finds schedules wrong that ignore what
// the plan says, so that the test above can fail.
func TestModelSeesDependencies(t *testing.T) {
	wrong := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		txs, want := history(r, 30)
		groups := planOf(txs, 2, 1<<20, 1<<62).Groups()
		for i := range groups {
			groups[i].After = -1
		}
		if got, err := execute(r, txs, groups); err != nil || !maps.Equal(got, want) {
			wrong++
		}
	}
	if wrong < 150 {
		t.Errorf("%d of 200 schedules without dependencies came out wrong", wrong)
	}
}

func takes(what ...uint64) []Touch {
	var out []Touch
	for _, w := range what {
		out = append(out, Touch{w, Takes})
	}
	return out
}

func TestIndependentGroupsWaitForNothing(t *testing.T) {
	p := NewPlan(10, 1000)
	for i := range uint64(100) {
		p.Add(1, append(takes(i), Touch{9999, Refers}))
	}
	if n := len(p.Groups()); n != 10 {
		t.Fatalf("%d groups, want 10", n)
	}
	for i, g := range p.Groups() {
		if g.After != -1 || g.Weight != 10 || g.End-g.First != 10 {
			t.Errorf("group %d: %+v", i, g)
		}
	}
	if p.Depth(0) != 10 || p.Depth(5) != 15 {
		t.Errorf("depths %d and %d, want that of one group", p.Depth(0), p.Depth(5))
	}
}

func TestOneHotRowIsAChain(t *testing.T) {
	p := NewPlan(10, 1000)
	for i := range uint64(100) {
		p.Add(1, append(takes(i), Touch{9999, Changes}))
	}
	for i, g := range p.Groups() {
		if g.After != i-1 {
			t.Errorf("group %d: %+v", i, g)
		}
	}
	if p.Depth(0) != 100 {
		t.Errorf("depth %d, want all", p.Depth(0))
	}
}

func TestBarrierSeparates(t *testing.T) {
	p := NewPlan(10, 1000)
	p.Add(1, takes(1))
	p.AddBarrier(1)
	p.Add(1, takes(2))
	want := []Group{{First: 0, End: 1, After: -1, Weight: 1}, {First: 1, End: 2, After: 0, Weight: 1, alone: true},
		{First: 2, End: 3, After: 1, Weight: 1}}
	for i, g := range p.Groups() {
		if g != want[i] {
			t.Errorf("group %d: %+v, want %+v", i, g, want[i])
		}
	}
}

// TestMemoryIsBounded: however much is touched, no more than the limit is
// remembered (P6).
func TestMemoryIsBounded(t *testing.T) {
	p := NewPlan(10, 50)
	for i := range uint64(1000) {
		p.Add(1, takes(3*i, 3*i+1, 3*i+2))
		if n := len(p.touched) + len(p.open); n > 50 {
			t.Fatalf("%d things are remembered", n)
		}
	}
	p.Add(1, takes(make([]uint64, 60)...))
	if n := len(p.touched) + len(p.open); n != 0 {
		t.Errorf("%d things are remembered behind a transaction that is too large", n)
	}
}
