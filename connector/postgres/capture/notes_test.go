package capture

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// notes are kept in memory; fail is what is in their way.
type notes struct {
	mu   sync.Mutex
	all  map[string]string
	fail error
}

func (n *notes) LoadNote(_ context.Context, name string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all[name], n.fail
}

func (n *notes) SaveNote(_ context.Context, name, text string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail == nil {
		n.all[name] = text
	}
	return n.fail
}

func (n *notes) broken(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

// handover is two sources of one slot on two machines, which see the same notes, and a
// guard of the first one.
type handover struct {
	url         string
	first, next *Source
	notes       *notes
	from        entrain.Position
	guard       *slotWatch
}

func newHandover(t *testing.T, srv *pgserver.Server) *handover {
	t.Helper()
	p := &handover{url: srv.URL("postgres"), notes: &notes{all: map[string]string{}}}
	pgtest.Exec(t, p.url, oneTable)
	p.first = guarded(t, p.url, protectSource)
	cfg := p.first.cfg
	cfg.State = t.TempDir()
	p.next = mustSource(t, cfg)
	for _, s := range []*Source{p.first, p.next} {
		s.KeepNotes(p.notes)
	}
	p.from = createSlot(t, p.first)
	fill(t, p.url)
	server, err := pgconn.ParseConfig(p.url)
	if err != nil {
		t.Fatal(err)
	}
	p.guard = &slotWatch{src: p.first, cfg: p.first.cfg, server: server}
	t.Cleanup(func() { p.guard.hangUp(context.WithoutCancel(t.Context())) })
	return p
}

func (p *handover) slots(t *testing.T) string {
	t.Helper()
	return pgtest.QueryOne(t, p.url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+p.first.cfg.Slot+"'")
}

func (p *handover) expectStops(t *testing.T) {
	t.Helper()
	var said []string
	for _, s := range []*Source{p.first, p.next} {
		_, err := s.Open(t.Context(), p.from)
		expectStop(t, err, "slot_given_up")
		said = append(said, err.Error())
	}
	if said[0] != said[1] {
		t.Errorf("two machines say\n%s\n%s", said[0], said[1])
	}
}

// TestSlotGuardStandby: that a slot was given up is known to whoever takes over, in
// the same words; and once that one has begun anew, the first one's folder does not
// give the new slot up.
func TestSlotGuardStandby(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		p := newHandover(t, srv)
		look(t, p.guard)
		if p.slots(t) != "0" {
			t.Fatal("the slot was not dropped")
		}
		p.expectStops(t)
		if err := p.next.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := createSlot(t, p.next)
		closeReader(t, openReader(t, p.next, at))
		closeReader(t, openReader(t, p.first, at))
		if _, err := os.Stat(p.first.markPath()); err == nil {
			t.Error("the folder's mark is still there")
		}
	})
}

// TestSlotGuardNotesAway: the source is protected also while the place of the notes
// cannot be reached; it is told later. Who was fenced has nothing to give up.
func TestSlotGuardNotesAway(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		p := newHandover(t, srv)
		p.notes.broken(&entrain.Stop{Code: "fenced", What: "another process has taken over"})
		look(t, p.guard)
		if _, err := os.Stat(p.first.markPath()); err == nil || p.slots(t) != "1" {
			t.Fatal("who was fenced has given the slot up")
		}
		p.notes.broken(errors.New("away"))
		look(t, p.guard)
		if p.slots(t) != "0" {
			t.Fatal("the slot was not dropped")
		}
		if _, err := p.first.Open(t.Context(), p.from); err == nil || !errors.Is(err, p.notes.fail) {
			t.Errorf("without its notes: %v", err)
		}
		p.notes.broken(nil)
		p.expectStops(t)
	})
}

// TestSlotGuardWithoutLease: a standby that waits for its lease leaves the slot to
// the process that has it.
func TestSlotGuardWithoutLease(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		p := newHandover(t, srv)
		p.first.cfg.Leased, p.next.cfg.Leased = true, true
		release, err := p.next.Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		look(t, p.guard)
		if _, err := os.Stat(p.first.markPath()); err == nil || p.slots(t) != "1" {
			t.Fatal("a standby has given the slot up")
		}
		release()
		look(t, p.guard)
		if p.slots(t) != "0" {
			t.Error("nobody has it, and it stays")
		}
	})
}
