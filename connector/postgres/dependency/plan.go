package dependency

// Group is a run of transactions that are executed and committed together.
type Group struct {
	// First and End are the run: transactions First to End-1, from 0.
	First, End int
	// After is the index of the last group that must be committed before this
	// one begins; -1 for none. It is smaller than the group's own.
	After int
	// Weight is the sum of the transactions' weights.
	Weight int

	alone bool
}

// Plan makes groups of transactions in their order. It is for one goroutine.
//
// Things are looked up among closed groups only: what the open group touches is
// in open, and enters touched when the group is closed. Else a group that
// touches a thing twice would hide an earlier group from its second touch.
// Invariants: len(touched)+len(open) <= limit; all numbers in touched are of
// groups behind the last one that was alone.
type Plan struct {
	weight, limit int
	touched       map[uint64]newest
	open          []Touch
	barrier       int // index of the last group that was alone, -1 for none
	next          int // number of the next transaction
	groups        []Group
}

// NewPlan returns an empty plan. A group is closed when it weighs as much as
// weight; at most limit touches are remembered, one more is a barrier.
func NewPlan(weight, limit int) *Plan {
	return &Plan{weight: weight, limit: limit, touched: map[uint64]newest{}, barrier: -1}
}

// Add takes the next transaction with everything that it touches.
func (p *Plan) Add(weight int, touches []Touch) {
	if len(p.touched)+len(p.open)+len(touches) > p.limit {
		p.AddBarrier(weight)
		return
	}
	last := len(p.groups) - 1
	if last < 0 || p.groups[last].alone || p.groups[last].Weight >= p.weight {
		last = p.begin()
		p.groups[last].After = p.barrier
	}
	g := &p.groups[last]
	for _, t := range touches {
		seen := p.touched[t.What]
		g.After = max(g.After, seen.conflict(t.Mode)-1)
	}
	p.open = append(p.open, touches...)
	p.put(g, weight)
}

// AddBarrier takes the next transaction, of which not everything is known: it
// comes behind all before it and ahead of all behind it.
func (p *Plan) AddBarrier(weight int) {
	last := len(p.groups) - 1
	if last < 0 || !p.groups[last].alone || p.groups[last].Weight >= p.weight {
		last = p.begin()
		p.groups[last].After, p.groups[last].alone = last-1, true
		p.barrier = last
		clear(p.touched)
	}
	p.put(&p.groups[last], weight)
}

// begin closes the open group and opens another one.
func (p *Plan) begin() int {
	closed := len(p.groups)
	for _, t := range p.open {
		seen := p.touched[t.What]
		seen[t.Mode] = closed
		p.touched[t.What] = seen
	}
	p.open = p.open[:0]
	p.groups = append(p.groups, Group{First: p.next, End: p.next})
	return closed
}

func (p *Plan) put(g *Group, weight int) {
	p.next++
	g.End = p.next
	g.Weight += weight
}

// Groups are all groups, in order.
func (p *Plan) Groups() []Group { return p.groups }

// Depth is the weight that has to be executed one after the other even if any
// number of groups can be executed at a time, where each group weighs so much
// more than its transactions. It is between the greatest weight of a group and
// that of all.
func (p *Plan) Depth(each int) int {
	done := make([]int, len(p.groups)) // weight on the way to each group's commit
	depth := 0
	for i, g := range p.groups {
		begins := 0
		if g.After >= 0 {
			begins = done[g.After]
		}
		depth = max(depth, begins+g.Weight+each)
		done[i] = depth
	}
	return depth
}
