package campaign

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// chaos does things to a running campaign and writes down what it did.
type chaos struct {
	t              *testing.T
	rng            *rand.Rand
	site           site
	source, target *pgserver.Server
	program        *supervisor

	kills int
	log   map[string]int
}

// between returns a random time.
func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)))
}

// killing kills the program n times; between the kills, other faults happen.
func (c *chaos) killing(n int) {
	c.log = map[string]int{}
	for c.kills < n && !c.t.Failed() {
		// Short lives hit the start, longer ones the work under way.
		life := c.between(20*time.Millisecond, 400*time.Millisecond)
		if c.rng.IntN(2) == 0 {
			life = c.between(400*time.Millisecond, 3*time.Second)
		}
		wait(c.t.Context(), life)
		c.program.kill(c.t)
		c.kills++
		c.log["SIGKILL of the program"]++
		switch c.kills % 20 {
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
	c.log["SIGSTOP and SIGCONT"]++
}

// cut terminates the program's sessions at one side: the walsender, or the
// session of the sink.
func (c *chaos) cut(side, url string) {
	wait(c.t.Context(), c.between(500*time.Millisecond, 1500*time.Millisecond))
	rows, err := query(c.t.Context(), url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'entrain%'`)
	if err != nil {
		c.t.Errorf("cut the sessions at the %s: %v", side, err)
	}
	if len(rows) > 0 {
		c.log["sessions at the "+side+" cut"]++
	}
	wait(c.t.Context(), time.Second)
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
	c.log["SIGKILL of the "+side+" server"]++
	wait(c.t.Context(), 2*time.Second)
}

// faults returns how many there were, and of which kind.
func (c *chaos) faults() (int, string) {
	total := 0
	var kinds []string
	for kind, n := range c.log {
		total += n
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
	}
	return total, strings.Join(kinds, ", ")
}
