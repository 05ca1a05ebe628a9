package campaign

import (
	"fmt"
	"testing"
	"time"
)

// serverPatience is the servers' wal_sender_timeout of campaigns in which nothing may
// pass for a while: some holes are longer, so that the server ends the session.
const serverPatience = 4 * time.Second

// networkFault is what can be done to a door. What lasts is taken back behind it.
type networkFault struct {
	kind string
	do   func(a *arena, d *door) // to the connections that are open, or begun meanwhile
}

// networkFaults are those of the network.
func networkFaults() []networkFault {
	lasting := func(w func(a *arena) weather, least, most time.Duration) func(*arena, *door) {
		return func(a *arena, d *door) {
			d.set(w(a))
			wait(a.t.Context(), a.between(least, most))
			d.set(weather{})
		}
	}
	return []networkFault{
		{"latency and jitter", lasting(func(a *arena) weather {
			return weather{delay: a.between(5*time.Millisecond, 150*time.Millisecond), jitter: a.between(time.Millisecond, 150*time.Millisecond)}
		}, time.Second, 3*time.Second)},
		{"connections reset", func(_ *arena, d *door) { d.reset() }},
		{"bytes in small pieces", lasting(func(a *arena) weather {
			return weather{piece: 1 + a.rng.IntN(40), delay: time.Microsecond, jitter: a.between(time.Microsecond, 2*time.Millisecond)}
		}, 500*time.Millisecond, 2*time.Second)},
		{"half closed towards the program", func(_ *arena, d *door) { d.halfClose(programsSide) }},
		{"half closed towards the server", func(_ *arena, d *door) { d.halfClose(serversSide) }},
		{"nothing passes", lasting(func(*arena) weather { return weather{hole: true} }, 500*time.Millisecond, 3*time.Second)},
		{"nothing passes, then reset", func(a *arena, d *door) {
			d.set(weather{hole: true})
			wait(a.t.Context(), a.between(500*time.Millisecond, 3*time.Second))
			d.reset()
			d.set(weather{})
		}},
		{"nothing passes for longer than the server waits", lasting(func(*arena) weather { return weather{hole: true} }, serverPatience, 2*serverPatience)},
		{"a few kilobytes a second", lasting(func(a *arena) weather { return weather{piece: 4096, rate: 2000 + a.rng.IntN(100_000)} }, time.Second, 3*time.Second)},
	}
}

// bad lets one of the faults of the network happen, at one of the doors or at all.
// It reports whether a connection was open then.
func (a *arena) bad(f networkFault) bool {
	sides := a.sides()
	where := sides[a.rng.IntN(len(sides))]
	d := a.doors[where]
	met := len(d.open()) > 0
	f.do(a, d)
	if met = met || len(d.open()) > 0; met {
		a.trial.happened(fmt.Sprintf("%s (%s)", f.kind, where))
	}
	return met
}

// networkCampaign: the connections between the program and its servers are slow, cut
// and silent; nothing is lost, doubled, reordered or torn (P1 to P4), and it goes on by
// itself when the network is well again (P9).
func networkCampaign(t testing.TB, r *Trial, top topology) {
	a := newArena(t, r, plan{topology: top, doors: loopback})
	a.hurried()
	faults := networkFaults()
	r.harm(t, func(i int) bool {
		wait(t.Context(), a.between(200*time.Millisecond, 1500*time.Millisecond))
		// Each kind comes as often as the others, in an order that is random.
		if i%len(faults) == 0 {
			a.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		}
		return a.bad(faults[i%len(faults)])
	})
	a.finish()
}
