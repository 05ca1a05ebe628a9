package campaign

import (
	"context"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// chaos does things to a running campaign, which its trial writes down.
type chaos struct {
	t              testing.TB
	trial          *Trial
	rng            *rand.Rand
	site           site
	source, target *pgserver.Server
	program        *supervisor
}

// newChaos starts two servers that may crash, with the campaign's tables.
func newChaos(t testing.TB, r *Trial) *chaos {
	t.Helper()
	durable := func() *pgserver.Server {
		return pgtest.StartConfig(t, pgserver.Config{Install: pgtest.Install(t, r.Major), Durable: true})
	}
	return chaosOn(t, r, durable(), durable())
}

// chaosOn is newChaos on servers that are there.
func chaosOn(t testing.TB, r *Trial, source, target *pgserver.Server) *chaos {
	t.Helper()
	c := &chaos{t: t, trial: r, rng: rand.New(rand.NewPCG(r.Seed, 0)), source: source, target: target}
	c.site = newSite(t, c.source, c.target)
	return c
}

// between returns a random time.
func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)))
}

// killing kills the program again and again, as often as the trial says; between
// the kills, other faults happen.
func (c *chaos) killing() {
	for kills := 1; kills <= c.trial.Faults && !c.t.Failed(); kills++ {
		// Short lives hit the start, longer ones the work under way.
		life := c.between(20*time.Millisecond, 400*time.Millisecond)
		if c.rng.IntN(2) == 0 {
			life = c.between(400*time.Millisecond, 3*time.Second)
		}
		wait(c.t.Context(), life)
		c.program.kill(c.t)
		c.trial.happened("SIGKILL of the program")
		switch kills % 20 {
		case 4, 14:
			c.freeze()
		case 7:
			c.cut("source", c.site.source)
		case 9:
			c.crash("target", c.target)
		case 12:
			c.cut("target", c.site.target)
		case 18:
			c.crash("source", c.source)
		}
	}
}

// freeze stops the program for a while; its connections stay open.
func (c *chaos) freeze() {
	wait(c.t.Context(), c.between(200*time.Millisecond, time.Second))
	if !c.program.send(syscall.SIGSTOP) {
		return
	}
	wait(c.t.Context(), c.between(300*time.Millisecond, 1500*time.Millisecond))
	c.program.send(syscall.SIGCONT)
	c.trial.happened("SIGSTOP and SIGCONT")
}

// cut terminates the program's sessions at one side: the walsender, or the
// session of the sink. It reports whether there was one.
func (c *chaos) cut(side, url string) bool {
	wait(c.t.Context(), c.between(500*time.Millisecond, 1500*time.Millisecond))
	rows, err := query(c.t.Context(), url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'entrain%'`)
	if err != nil {
		c.t.Errorf("cut the sessions at the %s: %v", side, err)
	}
	cut := anyEnded(rows)
	if cut {
		c.trial.happened("sessions at the " + side + " cut")
	}
	wait(c.t.Context(), time.Second)
	return cut
}

// anyEnded reports whether one of the sessions was still there to be ended, by what
// pg_terminate_backend said of each in the first column.
func anyEnded(rows [][]string) bool {
	return slices.ContainsFunc(rows, func(row []string) bool { return row[0] == "t" })
}

// crash kills a server by SIGKILL and starts it again.
func (c *chaos) crash(side string, srv *pgserver.Server) {
	wait(c.t.Context(), c.between(300*time.Millisecond, 1500*time.Millisecond))
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	if err := srv.Kill(ctx); err != nil {
		c.t.Fatal(err)
	}
	wait(c.t.Context(), c.between(0, 500*time.Millisecond))
	if err := srv.Start(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.trial.happened("SIGKILL of the " + side + " server")
	wait(c.t.Context(), 2*time.Second)
}
