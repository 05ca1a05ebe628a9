package campaign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// clock is the time of day of one server, as libfaketime has it: what the server's own
// library of C tells it. What is monotonic stays what it is.
type clock struct {
	file  string
	ahead time.Duration // of the true time
}

// fakers are where libfaketime may be.
const fakers = "/usr/lib/*/faketime/libfaketime.so.1"

// newClock returns a clock and the programs of a server that goes by it, or skips the
// case.
func newClock(t testing.TB, install pgserver.Install) (*clock, pgserver.Install) {
	t.Helper()
	libraries, _ := filepath.Glob(fakers)
	if len(libraries) == 0 {
		t.Skip("the library libfaketime is missing")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // the server's user may be another one
			t.Fatal(err)
		}
	}
	programs, err := os.ReadDir(install.Bin)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if p.Name() == "postgres" {
			continue
		}
		if err := os.Symlink(install.Path(p.Name()), filepath.Join(bin, p.Name())); err != nil {
			t.Fatal(err)
		}
	}
	c := &clock{file: filepath.Join(dir, "time")}
	script := fmt.Sprintf("#!/bin/sh\nexport LD_PRELOAD=%s FAKETIME_TIMESTAMP_FILE=%s FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_RESET=1\nexec %s \"$@\"\n",
		libraries[0], c.file, install.Path("postgres"))
	if err := os.WriteFile(filepath.Join(bin, "postgres"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c.set(t, 0)
	install.Bin = bin
	return c, install
}

// set has the clock so much before or behind the true one.
func (c *clock) set(t testing.TB, ahead time.Duration) {
	t.Helper()
	next := c.file + ".next"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+d\n", int64(ahead.Seconds())), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		t.Fatal(err)
	}
	c.ahead = ahead
}

// shows reports whether a server goes by its clock.
func (c *clock) shows(t testing.TB, url string) bool {
	t.Helper()
	const leeway = 2 * time.Second
	before := time.Now().Add(c.ahead - leeway)
	rows, err := query(t.Context(), url, "SELECT floor(extract(epoch FROM clock_timestamp()))::bigint")
	if err != nil {
		t.Logf("ask for the time: %v", err)
		return false
	}
	seconds, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err != nil {
		t.Error(err)
	}
	is := time.Unix(seconds, 0)
	return is.After(before) && is.Before(time.Now().Add(c.ahead+leeway))
}

// jumps are how far a clock is off.
var jumps = []time.Duration{time.Hour, -time.Hour, 10 * 365 * 24 * time.Hour, 0, -10 * 365 * 24 * time.Hour, time.Minute, -time.Minute}

// next is a random one that none of these clocks stands at.
func next(rng *rand.Rand, clocks []*clock) time.Duration {
	others := slices.DeleteFunc(slices.Clone(jumps), func(d time.Duration) bool {
		return slices.ContainsFunc(clocks, func(c *clock) bool { return c.ahead == d })
	})
	return others[rng.IntN(len(others))]
}

// followed makes sure that a server goes by its clock.
func followed(t testing.TB, c *clock, url string) {
	t.Helper()
	year := func() string { return pgtest.QueryOne(t, url, "SELECT extract(year FROM clock_timestamp())") }
	before := year()
	if c.set(t, jumps[2]); year() == before {
		t.Fatalf("the clock of a server does not follow: it is the year %s", before)
	}
	c.set(t, 0)
}

// clockCampaign: the clock of the source, of the target or of both jumps, forward and
// back; now and then the program is killed meanwhile. Nothing is lost, doubled,
// reordered or torn (P1 to P4), and it goes on at once, not when the clocks agree (P9).
func clockCampaign(t testing.TB, r *Trial) {
	install := pgtest.Install(t, r.Major)
	source, from := newClock(t, install)
	target, into := newClock(t, install)
	c := chaosOn(t, r,
		pgtest.StartConfig(t, pgserver.Config{Install: from, Durable: true}), pgtest.StartConfig(t, pgserver.Config{Install: into, Durable: true}))
	a := newArena(t, r, plan{topology: fanned, on: c})
	followed(t, source, a.site.source)
	followed(t, target, a.site.target)
	urls := map[*clock]string{source: a.site.source, target: a.site.target}
	sides := map[string][]*clock{"source": {source}, "target": {target}, "both": {source, target}}
	r.harm(t, func(i int) bool {
		wait(t.Context(), a.between(300*time.Millisecond, 2*time.Second))
		side := []string{"source", "target", "both"}[i%3]
		jump, shown := next(a.rng, sides[side]), true
		for _, c := range sides[side] {
			c.set(t, jump)
		}
		for _, c := range sides[side] {
			shown = shown && c.shows(t, urls[c])
		}
		if shown {
			r.happened("clock of " + side + " set")
		}
		if i%4 == 3 {
			a.programs[0].kill(t)
			r.happened("SIGKILL of the program")
		}
		if i%5 == 4 {
			a.alive(soakLiveness)
		}
		return shown
	})
	a.finish()
}
