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
	"github.com/entrainsync/entrain/connector/postgres/dial"
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

// readMark returns the mark in the folder, nil if there is none. One that is torn
// was not followed by anything.
func (s *Source) readMark() (*mark, error) {
	if s.cfg.State == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.markPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.parseMark(text), nil
}

// parseMark returns nil for what is no mark of this slot.
func (s *Source) parseMark(text []byte) *mark {
	var m mark
	if json.Unmarshal(text, &m) != nil || m.Slot != s.cfg.Slot {
		return nil
	}
	return &m
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

// markNote is the mark's name among the notes.
const markNote = "slot_given_up"

// KeepNotes implements entrain.Noter: that the slot was given up is known to whoever
// takes the capture over, too.
func (s *Source) KeepNotes(n entrain.Notes) { s.notes = n }

// noteMark notes the mark where others see it.
func (s *Source) noteMark(ctx context.Context, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	return s.notes.SaveNote(ctx, markNote, string(text))
}

// marked returns the mark that counts, nil for none. Where there are notes, those do:
// the mark in the folder is then of a process that could not note it, and as long
// as the slot is there, others have gone on with it or made it anew.
func (s *Source) marked(ctx context.Context) (*mark, error) {
	here, err := s.readMark()
	if err != nil || s.notes == nil {
		return here, err
	}
	text, err := s.notes.LoadNote(ctx, markNote)
	if err != nil {
		return nil, err
	}
	if noted := s.parseMark([]byte(text)); noted != nil || here == nil {
		return noted, nil
	}
	var slot []string
	err = s.withConn(ctx, func(conn *pgconn.PgConn) (err error) {
		slot, err = dial.QueryRow(ctx, conn, "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", s.cfg.Slot)
		return err
	})
	if err != nil {
		return nil, err
	}
	if slot != nil {
		s.cfg.Log.Warn("this machine had given the slot up, and it is there: going on with it", "slot", s.cfg.Slot, "given up", here.Time)
		return nil, s.forgetMark()
	}
	return here, s.noteMark(ctx, *here)
}

// forgetNoted removes the mark, wherever it is.
func (s *Source) forgetNoted(ctx context.Context) error {
	if s.notes != nil {
		if err := s.notes.SaveNote(ctx, markNote, ""); err != nil {
			return fmt.Errorf("forget that the slot was given up: %w", err)
		}
	}
	return s.forgetMark()
}

// givenUp is the stop of a source whose slot was given up. A crash may have left
// the slot.
func (s *Source) givenUp(ctx context.Context, from entrain.Position) error {
	m, err := s.marked(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("look whether the slot was given up: %w", err)
	case m == nil:
		return nil
	case from.IsZero():
		return s.forgetNoted(ctx) // a new history begins
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
