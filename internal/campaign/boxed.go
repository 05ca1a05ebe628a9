package campaign

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// hurried sets the servers' wal_sender_timeout to [serverPatience].
func (a *arena) hurried() {
	a.t.Helper()
	pgtest.Exec(a.t, a.source.URL("postgres"), fmt.Sprintf("ALTER SYSTEM SET wal_sender_timeout = '%ds'", int(serverPatience.Seconds())), "SELECT pg_reload_conf()")
}

// lossCampaign: packets between the program and its servers get lost by chance, up to
// all of them. Nothing is lost, doubled, reordered or torn (P1 to P4), and it goes on
// when they come through again (P9).
func lossCampaign(t testing.TB, r *Trial) {
	w := newCable(t)
	a := newArena(t, r, plan{topology: single, doors: w.host, inside: w.inside})
	a.hurried()
	dropped := int64(0)
	r.harm(t, func(i int) bool {
		wait(t.Context(), a.between(200*time.Millisecond, time.Second))
		part, long := 20+a.rng.IntN(600), a.between(time.Second, 4*time.Second)
		if i%5 == 4 {
			part, long = allLost, a.between(time.Second, serverPatience*3/2)
		}
		lost := w.losing(t, part, long)
		dropped += lost
		switch {
		case lost == 0: // nobody sent anything, or what was sent came through
		case part == allLost:
			r.happened("all packets lost")
		case part >= 200:
			r.happened("of five packets one or more lost")
		default:
			r.happened("of five packets fewer than one lost")
		}
		return lost > 0
	})
	r.note(t, "%d packets were lost", dropped)
	a.finish()
}

// losing has packets get lost for a while and returns how many did.
func (w *cable) losing(t testing.TB, ofThousand int, long time.Duration) int64 {
	t.Helper()
	if err := w.lose(ofThousand); err != nil {
		t.Fatal(err)
	}
	wait(t.Context(), long)
	lost, err := w.lost()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.lose(0); err != nil {
		t.Fatal(err)
	}
	return lost
}

// lack is how often a process has said that it has no room.
type lack struct {
	of    *process
	times int
}

func lackOf(p *process) lack {
	return lack{p, strings.Count(p.stderr.String(), "no space left on device")}
}

// met reports whether the program has said so since.
func (l lack) met(a *arena) bool {
	now := a.programs[0].process()
	return lackOf(l.of).times > l.times || now != l.of && lackOf(now).times > 0
}

// diskCampaign: the disks of the embedded stream and of a file are full again and again,
// with that of the state, and now and then the program is killed meanwhile. Nothing is
// lost or doubled (P1, P2), also in the file, and it goes on when there is room (P9). A
// full disk counts if the program met it; that of the state it does not meet, since what
// is kept there is written into room that it has.
func diskCampaign(t testing.TB, r *Trial) {
	d := newDisks(t)
	a := newArena(t, r, plan{topology: fanned, inside: d.inside, folder: d.folder, seen: d.seen(),
		load: &load{writes: 2, pace: 30 * time.Millisecond, bulk: 4 * time.Second, rows: 2000}})
	unmet, needed := map[string]int{}, diskNames[1:]
	r.harm(t, func(i int) bool {
		wait(t.Context(), a.between(200*time.Millisecond, 1500*time.Millisecond))
		name := needed[i%len(needed)]
		long := a.between(500*time.Millisecond, 3*time.Second)
		before := lackOf(a.programs[0].process())
		d.shrink(a, stateDisk)
		d.shrink(a, name)
		wait(t.Context(), long/2)
		if i%5 == 4 {
			a.programs[0].kill(t)
			r.happened("SIGKILL of the program without room")
		}
		wait(t.Context(), long/2)
		met := before.met(a)
		d.grow(a, name)
		d.grow(a, stateDisk)
		if met {
			r.happened("no room for the " + name)
		} else {
			unmet[name]++
		}
		return met
	})
	for _, name := range needed {
		r.note(t, "the disk of the %s was full %d times besides without a word of the program", name, unmet[name])
	}
	a.finish()
}
