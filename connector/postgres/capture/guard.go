package capture

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// SlotGuard says when the log that the slot holds back is worth a word, and what
// becomes of the slot when it is too much (P7).
type SlotGuard struct {
	// Policy is "protect_data", the default: the slot stays whatever it holds back;
	// or "protect_source": at Limit it is noted that all tables have to be copied
	// anew, and then the slot is dropped, so that the source's disk does not fill.
	Policy string `yaml:"policy"`
	// Warn is how much log held back is worth a warning. Default 500 MB.
	Warn connector.ByteSize `yaml:"warn"`
	// Critical is how much of it is an error in the log and in the metrics. Default:
	// ten times Warn. A slot that the server is about to invalidate is critical
	// with less.
	Critical connector.ByteSize `yaml:"critical"`
	// Limit is how much of it ends the slot, with protect_source. No default.
	Limit connector.ByteSize `yaml:"limit"`
}

const (
	protectData   = "protect_data"
	protectSource = "protect_source"

	criticalFactor = 10
)

// withDefaults fills in what was left out.
func (g SlotGuard) withDefaults() SlotGuard {
	if g.Policy == "" {
		g.Policy = protectData
	}
	if g.Warn == 0 {
		g.Warn = warnHeld
	}
	return g
}

// critical is Critical or its default.
func (g SlotGuard) critical() connector.ByteSize {
	if g.Critical == 0 {
		return criticalFactor * g.Warn
	}
	return g.Critical
}

// check refuses a guard that would not guard.
func (g SlotGuard) check(cfg Config) error {
	switch {
	case g.Policy != protectData && g.Policy != protectSource:
		return fmt.Errorf("policy %q: expected %s or %s", g.Policy, protectData, protectSource)
	case g.Warn < 0 || g.critical() < g.Warn:
		return fmt.Errorf("critical %s is below warn %s", g.Critical, g.Warn)
	case g.Policy == protectData && g.Limit != 0:
		return errors.New("limit ends the slot, which protect_data never does: leave it out, or choose protect_source")
	case g.Policy == protectData:
		return nil
	case g.Limit < g.critical():
		return fmt.Errorf("limit %s: %s needs one, not below critical (%s)", g.Limit, protectSource, g.critical())
	case !cfg.Create:
		return fmt.Errorf("%s drops the slot, and without source.create it is not entrain's to drop", protectSource)
	case cfg.State == "":
		return fmt.Errorf("%s needs a state folder to note in that the slot was given up", protectSource)
	}
	return nil
}

// holding is what a slot holds back.
type holding struct {
	held   int64
	safe   int64  // until the server invalidates it, -1 if it never does for its size
	status string // wal_status
}

// level judges it. It is pure.
func (g SlotGuard) level(h holding) entrain.Alarm {
	switch {
	case h.status == "lost":
		return entrain.AlarmLost
	case h.status == "unreserved", h.held >= int64(g.critical()), h.safe >= 0 && h.safe < h.held/criticalFactor:
		return entrain.AlarmCritical
	case h.held >= int64(g.Warn):
		return entrain.AlarmWarn
	}
	return entrain.AlarmOK
}

// Retained implements entrain.Retainer.
func (s *Source) Retained() (entrain.Retained, bool) {
	r := s.retained.Load()
	if r == nil {
		return entrain.Retained{}, false
	}
	return *r, true
}

// judge notes what the slot holds, and says so when that is much, once a level and
// again when it is twice as much.
func (w *slotWatch) judge(held, status, safe string) error {
	h := holding{status: status, safe: -1}
	var err error
	if h.held, err = strconv.ParseInt(held, 10, 64); err != nil {
		return fmt.Errorf("bytes held by the slot %q: %w", held, err)
	}
	if safe != "" {
		if h.safe, err = strconv.ParseInt(safe, 10, 64); err != nil {
			return fmt.Errorf("bytes that the slot may still hold %q: %w", safe, err)
		}
	}
	level := w.cfg.Guard.level(h)
	w.src.retained.Store(&entrain.Retained{Name: w.cfg.Slot, Bytes: h.held, Left: h.safe, Alarm: level, Status: status, At: time.Now()})
	if level == entrain.AlarmOK {
		w.said, w.saidHeld = level, 0
		return nil
	}
	if level <= w.said && h.held < 2*w.saidHeld {
		return nil
	}
	w.said, w.saidHeld = level, h.held
	say := w.cfg.Log.Warn
	if level >= entrain.AlarmCritical {
		say = w.cfg.Log.Error
	}
	say("the replication slot holds back much of the source's log", "slot", w.cfg.Slot, "level", level.String(),
		"held", connector.ByteSize(h.held).String(), "wal_status", status, "policy", w.cfg.Guard.Policy)
	return nil
}

// enough gives the slot up if it holds back more than it may. What has to be known
// afterwards is written down before anything is done.
func (w *slotWatch) enough(ctx context.Context) {
	g := w.cfg.Guard
	now, known := w.src.Retained()
	if g.Policy != protectSource || !known || now.Bytes < int64(g.Limit) {
		return
	}
	m := mark{Slot: w.cfg.Slot, Held: now.Bytes, Limit: int64(g.Limit), Time: time.Now().UTC()}
	if !w.mayGiveUp(ctx, m) {
		return
	}
	w.cfg.Log.Error("the slot holds back more than slot_guard.limit: it is given up to protect the source; all tables have to be copied anew",
		"slot", w.cfg.Slot, "held", connector.ByteSize(now.Bytes).String(), "limit", g.Limit.String())
	if w.giveUp != nil {
		w.giveUp(stopGivenUp(w.cfg, m))
	}
	ctx = context.WithoutCancel(ctx) // the session's end is no reason to leave it
	if err := dropOwn(ctx, w.conn, w.cfg.Slot); err != nil {
		w.cfg.Log.Error("the slot that was given up is not dropped yet: the next session tries again", "slot", w.cfg.Slot, "error", err)
		w.hangUp(ctx)
	}
}

// mayGiveUp reports whether the slot is ours to give up and this is noted.
func (w *slotWatch) mayGiveUp(ctx context.Context, m mark) bool {
	held := connector.ByteSize(m.Held).String()
	if others, err := w.src.others(ctx, w.conn); others || err != nil {
		w.cfg.Log.Debug("the slot holds back more than slot_guard.limit: whoever reads it is to give it up", "slot", m.Slot, "held", held, "error", err)
		w.hangUp(ctx) // with a lease that was perhaps taken
		return false
	}
	err := w.src.writeMark(m)
	if err == nil && w.src.notes != nil {
		err = w.share(ctx, m)
	}
	if err != nil {
		w.cfg.Log.Error("the slot holds back more than slot_guard.limit, and that it is given up cannot be noted: it stays",
			"slot", m.Slot, "held", held, "error", err)
	}
	return err == nil
}

// share notes the mark where others see it. Who cannot reach that place protects the
// source all the same: others find the slot missing. Who was taken over from has
// nothing to give up.
func (w *slotWatch) share(ctx context.Context, m mark) error {
	err := w.src.noteMark(ctx, m)
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		return errors.Join(err, w.src.forgetMark())
	}
	if err != nil {
		w.cfg.Log.Warn("that the slot is given up is known to this machine only: another one will find it missing", "slot", m.Slot, "error", err)
	}
	return nil
}

// dropPatience is how long a slot may stay active after its session was ended.
const dropPatience = 10 * time.Second

// dropOwn drops a slot; none is no error.
func dropOwn(ctx context.Context, conn *pgconn.PgConn, slot string) error {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	for {
		_, err := dial.QueryRows(ctx, conn, dropSlotIfThereSQL, slot)
		if dial.SQLState(err) != objectInUse {
			return err
		}
		select {
		case <-time.After(slotRetry):
		case <-ctx.Done():
			return err
		}
	}
}

const dropSlotIfThereSQL = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1"
