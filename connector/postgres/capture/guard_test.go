package capture

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestGuardLevels(t *testing.T) {
	const mb = 1 << 20
	g := SlotGuard{Warn: 100 * mb, Critical: 300 * mb}
	for _, c := range []struct {
		name string
		h    holding
		want entrain.Alarm
	}{
		{"nothing", holding{0, -1, "reserved"}, entrain.AlarmOK},
		{"little, though beyond max_wal_size", holding{99 * mb, -1, "extended"}, entrain.AlarmOK},
		{"much", holding{100 * mb, -1, "extended"}, entrain.AlarmWarn},
		{"very much", holding{300 * mb, 900 * mb, "extended"}, entrain.AlarmCritical},
		{"about to be removed", holding{mb, -1, "unreserved"}, entrain.AlarmCritical},
		{"the bound is near", holding{100 * mb, 9 * mb, "extended"}, entrain.AlarmCritical},
		{"the bound is far", holding{100 * mb, 90 * mb, "extended"}, entrain.AlarmWarn},
		{"gone", holding{0, -1, "lost"}, entrain.AlarmLost},
	} {
		if got := g.level(c.h); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := (SlotGuard{}).withDefaults().critical(); got != 5000*mb {
		t.Errorf("critical is %s by default", got)
	}
}

func TestGuardRefusesWhatWouldNotGuard(t *testing.T) {
	good := Config{Create: true, State: "x"}
	for text, c := range map[string]struct {
		guard SlotGuard
		cfg   Config
	}{
		"expected protect_data": {SlotGuard{Policy: "drop"}, good},
		"below warn":            {SlotGuard{Warn: 2, Critical: 1}, good},
		"leave it out":          {SlotGuard{Limit: 1}, good},
		"needs one":             {SlotGuard{Policy: protectSource}, good},
		"not below critical":    {SlotGuard{Policy: protectSource, Warn: 1, Critical: 3, Limit: 2}, good},
		"not entrain's to drop": {SlotGuard{Policy: protectSource, Warn: 1, Critical: 1, Limit: 2}, Config{State: "x"}},
		"needs a state folder":  {SlotGuard{Policy: protectSource, Warn: 1, Critical: 1, Limit: 2}, Config{Create: true}},
	} {
		if err := c.guard.withDefaults().check(c.cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", c.guard, err, text)
		}
	}
	if err := (SlotGuard{Policy: protectSource, Warn: 1, Limit: 10}).withDefaults().check(good); err != nil {
		t.Error(err)
	}
}

// guarded is a source whose slot holds back more than its guard lets it.
func guarded(t *testing.T, url, policy string) *Source {
	t.Helper()
	cfg := sourceConfig(t, url)
	cfg.State = t.TempDir()
	cfg.Guard = SlotGuard{Policy: policy, Warn: 1 << 20, Critical: 1 << 20}
	if policy == protectSource {
		cfg.Guard.Limit = 2 << 20
	}
	return mustSource(t, cfg)
}

// fill makes the slot hold some megabytes.
func fill(t *testing.T, url string) {
	t.Helper()
	pgtest.Exec(t, url, "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(1, 4000) i", "SELECT pg_switch_wal()", "CHECKPOINT")
}

// look is what the guard does every 10 s.
func look(t *testing.T, w *slotWatch) {
	t.Helper()
	if _, err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.enough(t.Context())
}

// TestSlotGuard: PF-04. A slot that nobody empties is kept by one policy and given
// up by the other, which notes it first and stops by name from then on (P7).
func TestSlotGuard(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		keeps, drops := guarded(t, url, protectData), guarded(t, url, protectSource)
		keepsFrom, dropsFrom := createSlot(t, keeps), createSlot(t, drops)
		r := openReader(t, drops, dropsFrom) // reads nothing
		fill(t, url)
		w := &slotWatch{src: keeps, cfg: keeps.cfg, server: r.watch.server}
		defer w.hangUp(t.Context())
		look(t, w)
		if got, known := keeps.Retained(); !known || got.Alarm != entrain.AlarmCritical || got.Bytes < 3<<20 || got.Name != keeps.cfg.Slot {
			t.Errorf("the slot that is kept: %+v", got)
		}
		closeReader(t, openReader(t, keeps, keepsFrom))

		guard := &slotWatch{src: drops, cfg: drops.cfg, server: r.watch.server, giveUp: r.watch.giveUp}
		defer guard.hangUp(t.Context())
		look(t, guard)
		var err error
		for err == nil {
			_, err = r.Read(t.Context())
		}
		expectStop(t, err, "slot_given_up")
		if got := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+drops.cfg.Slot+"'"); got != "0" {
			t.Error("the slot was not dropped")
		}
		_, err = drops.Open(t.Context(), dropsFrom)
		expectStop(t, err, "slot_given_up")
		var stop *entrain.Stop
		if errors.As(err, &stop); !stop.Lost {
			t.Error("the stop does not say that the history is lost")
		}
		if err := drops.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		closeReader(t, openReader(t, drops, entrain.Position{}))
	})
}

// TestSlotGuardCrash: a process that dies between the mark and the drop leaves the
// drop to the next one; a mark that cannot be written leaves the slot.
func TestSlotGuardCrash(t *testing.T) {
	eachServer(t, pgserver.Config{}, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := guarded(t, url, protectSource)
		from := createSlot(t, src)
		fill(t, url)
		server, err := pgconn.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		state := src.cfg.State
		src.cfg.State = "/proc/none"
		w := &slotWatch{src: src, cfg: src.cfg, server: server}
		defer w.hangUp(t.Context())
		look(t, w)
		count := "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '" + src.cfg.Slot + "'"
		if pgtest.QueryOne(t, url, count) != "1" {
			t.Fatal("a slot was dropped that could not be noted")
		}
		src.cfg.State = state
		if err := src.writeMark(mark{Slot: src.cfg.Slot, Held: 3 << 20, Limit: 2 << 20, Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
		_, err = src.Open(t.Context(), from)
		expectStop(t, err, "slot_given_up")
		if pgtest.QueryOne(t, url, count) != "0" {
			t.Error("the slot is still there")
		}
		r, err := src.Open(t.Context(), entrain.Position{})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if _, err := os.Stat(src.markPath()); err == nil {
			t.Error("a new history has the old one's mark")
		}
	})
}

// TestLease: one process has the source at a time, whether it reads or not, and
// the next one takes over when it is gone.
func TestLease(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		cfg := sourceConfig(t, url)
		cfg.Leased = true
		src := mustSource(t, cfg)
		from := createSlot(t, src)
		release, err := src.Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		second := func(wait time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			release, err := src.Lease(ctx)
			if err == nil {
				release()
			}
			return err
		}
		if err := second(3 * leasePoll / 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second lease: %v", err)
		}
		release()
		r := openReader(t, src, from) // without the lease, as an older process reads
		if err := second(3 * leasePoll / 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lease of a slot that is read: %v", err)
		}
		if got := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'entrain_"+cfg.Pipeline+"'"); got != "1" {
			t.Errorf("%s walsenders", got)
		}
		closeReader(t, r)
		sess, err := src.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sess.close(t.Context())
		if got := sess.settings["wal_sender_timeout"]; got != "10000" {
			t.Errorf("the server waits %s ms for a process that is gone", got)
		}
		if err := second(sourcePatience); err != nil {
			t.Errorf("nobody has it: %v", err)
		}
	})
}
