package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// mark says that the slot was given up: nothing that the slot would have had can
// be captured any more, and all tables have to be copied anew.
type mark struct {
	Slot  string    `json:"slot"`
	Held  int64     `json:"held_bytes"`
	Limit int64     `json:"limit_bytes"`
	Time  time.Time `json:"time"`
}

const markName = "slot-given-up.json"

func (s *Source) markPath() string { return filepath.Join(s.cfg.State, markName) }

// writeMark returns when the mark survives a crash.
func (s *Source) writeMark(m mark) (err error) {
	if err := os.MkdirAll(s.cfg.State, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.markPath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	folder, err := os.Open(s.cfg.State)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// readMark returns the mark, nil if there is none. One that is torn was not
// followed by anything.
func (s *Source) readMark() (*mark, error) {
	if s.cfg.State == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.markPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var m mark
	if err != nil || json.Unmarshal(text, &m) != nil || m.Slot != s.cfg.Slot {
		return nil, err
	}
	return &m, nil
}

// forgetMark removes the mark, when the slot is to be made anew.
func (s *Source) forgetMark() error {
	if s.cfg.State == "" {
		return nil
	}
	if err := os.Remove(s.markPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// givenUp is the stop of a source whose slot was given up. A crash may have left
// the slot.
func (s *Source) givenUp(ctx context.Context, from entrain.Position) error {
	m, err := s.readMark()
	switch {
	case err != nil:
		return fmt.Errorf("look whether the slot was given up: %w", err)
	case m == nil:
		return nil
	case from.IsZero():
		return s.forgetMark() // a new history begins
	}
	if err := s.withConn(ctx, func(conn *pgconn.PgConn) error { return dropOwn(ctx, conn, s.cfg.Slot) }); err != nil {
		return fmt.Errorf("drop replication slot %s, which was given up: %w", s.cfg.Slot, err)
	}
	return stopGivenUp(s.cfg, *m)
}

func stopGivenUp(cfg Config, m mark) error {
	return &entrain.Stop{
		Code: "slot_given_up", Lost: true,
		What: fmt.Sprintf("replication slot %q held back %s of the source's log at %s and was dropped",
			m.Slot, connector.ByteSize(m.Held), m.Time.Format(time.RFC3339)),
		Why:  fmt.Sprintf("slot_guard.policy is %s with a limit of %s; changes since then are not captured", protectSource, connector.ByteSize(m.Limit)),
		Next: restart + " (snapshot.mode: when_needed does all that by itself, with the tables in place)",
	}
}
