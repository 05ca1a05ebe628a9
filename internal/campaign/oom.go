package campaign

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// pen is a group of processes that may have so much memory and no more: the kernel
// kills what wants more.
type pen struct{ folder, limit, events string }

// newPen makes one, or skips the case.
func newPen(t testing.TB) *pen {
	t.Helper()
	needRoot(t, "a group with bounded memory is made by root only")
	const root = "/sys/fs/cgroup"
	name := "entrain-" + pgtest.Name(t)
	p := &pen{folder: filepath.Join(root, "memory", name), limit: "memory.limit_in_bytes", events: "memory.oom_control"}
	if text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil && strings.Contains(string(text), "memory") {
		p = &pen{folder: filepath.Join(root, name), limit: "memory.max", events: "memory.events"}
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0o644) // else the limit is not there
	}
	if err := os.Mkdir(p.folder, 0o755); err != nil {
		t.Skipf("a group with bounded memory is missing: %v", err)
	}
	t.Cleanup(func() {
		err := os.Remove(p.folder)
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); err = os.Remove(p.folder) {
			wait(context.WithoutCancel(t.Context()), 100*time.Millisecond)
		}
		if err != nil {
			t.Errorf("the group stays: %v", err)
		}
	})
	if _, err := os.Stat(filepath.Join(p.folder, p.limit)); err != nil {
		t.Skipf("a group with bounded memory is missing: %v", err)
	}
	return p
}

// inside is by what a program is put there.
func (p *pen) inside() []string {
	return []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(p.folder, "cgroup.procs")}
}

// bound sets the limit. 0 is none.
func (p *pen) bound(bytes int64) error {
	text := fmt.Sprint(bytes)
	if bytes == 0 && p.limit == "memory.max" {
		text = "max"
	} else if bytes == 0 {
		text = "-1"
	}
	return os.WriteFile(filepath.Join(p.folder, p.limit), []byte(text), 0o644)
}

// killed is how often the kernel has killed something in it.
func (p *pen) killed(t testing.TB) (n int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.folder, p.events))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "oom_kill %d", &n)
	}
	return n
}

// squeeze bounds the memory to what the program has and a little more, and to less and
// less, until the kernel kills it.
func (p *pen) squeeze(a *arena) {
	t := a.t
	before, has := p.killed(t), a.programs[0].process().resident()
	room := int64(a.rng.IntN(8 << 20))
	for end := time.Now().Add(time.Minute); p.killed(t) == before; {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("the kernel does not kill it")
		}
		if p.bound(max(1<<20, has+room)) != nil {
			room += 1 << 20 // it has more by now
		} else {
			room -= 1 << 20
		}
		wait(t.Context(), 300*time.Millisecond)
	}
	a.trial.happened("killed by the kernel for want of memory")
	if err := p.bound(0); err != nil {
		t.Fatal(err)
	}
}

// oomCampaign: the kernel kills the program for want of memory, which it does where
// the program asks for some. Nothing is lost, doubled, reordered or torn (P1 to P4).
func oomCampaign(t testing.TB, r *Trial) {
	p := newPen(t)
	a := newArena(t, r, plan{topology: fanned, inside: p.inside()})
	r.harm(t, func(int) bool {
		wait(t.Context(), a.between(300*time.Millisecond, 3*time.Second))
		before := a.programs[0].started()
		p.squeeze(a)
		pgtest.Eventually(t, patience, "the program is started again", func() bool { return a.programs[0].started() > before })
		return true
	})
	a.finish()
}
