package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// Edit is another value for one column of a dead letter's row.
type Edit struct {
	Column string `json:"column"`
	// Value in the source's text form; nil for NULL.
	Value *string `json:"value"`
}

// EditRecord says what a person has changed in a dead letter.
type EditRecord struct {
	// At is when, By who it was, as he said.
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Event is the letter's id.
	Event string `json:"event"`
	Table string `json:"table"`
	// Column had From and has To now; nil for NULL. FromUnknown: the log did not
	// carry the column.
	Column      string  `json:"column"`
	From        *string `json:"from"`
	FromUnknown bool    `json:"from_unknown,omitempty"`
	To          *string `json:"to"`
}

// replayEdited delivers one letter with other values, once what was changed is written
// down.
func (d *desk) replayEdited(ctx context.Context, s *session, o Order) error {
	if d.opt.Audit == nil {
		return errors.New("changes of dead letters are written down nowhere")
	}
	if len(o.Letters) != 1 || strings.HasSuffix(o.Letters[0], "/") {
		return errors.New("one dead letter is changed at a time: name it by the id of its event")
	}
	letters, err := d.toReplay(ctx, s, o.Letters)
	if err != nil {
		return err
	}
	records, err := edit(&letters[0], o.Edits)
	if err != nil {
		return err
	}
	for i := range records {
		records[i].At, records[i].By = time.Now().UTC(), o.By
	}
	if err := d.opt.Audit(records); err != nil {
		return fmt.Errorf("write down what was changed: %w", err)
	}
	if err := s.attempt(ctx, &entrain.Batch{Events: d.again(letters), Through: s.position()}); err != nil {
		return &replayError{err} // the session is over
	}
	return d.remove(ctx, letters)
}

// edit puts other values into a letter's row, and says what that changes.
func edit(l *parking.Letter, edits []Edit) ([]EditRecord, error) {
	e := &l.Event
	if e.Table == nil || e.After == nil {
		return nil, fmt.Errorf("event %s is a %s, which has no row to change", e.ID(), e.Op)
	}
	values := map[int]*string{}
	var records []EditRecord
	for _, one := range edits {
		i := columnOf(e.Table, one.Column)
		switch {
		case i < 0:
			return nil, fmt.Errorf("table %s has no column %q", e.Table, one.Column)
		case e.Table.Columns[i].Key:
			return nil, fmt.Errorf("column %q of %s is part of the row's key, which is not changed: it would be another row", one.Column, e.Table)
		}
		if _, twice := values[i]; twice {
			return nil, fmt.Errorf("column %q was named twice", one.Column)
		}
		values[i] = one.Value
		r := EditRecord{Event: e.ID(), Table: e.Table.String(), Column: one.Column, To: one.Value}
		old, state := e.After.Column(i, len(e.Table.Columns))
		if text := string(old); state == entrain.Present {
			r.From = &text
		}
		r.FromUnknown = state == entrain.Unchanged
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil, errors.New("no column was named")
	}
	e.After = withValues(e.After, len(e.Table.Columns), values)
	return records, nil
}

func columnOf(t *entrain.Table, name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// withValues returns a row of n columns, some of them with other values.
func withValues(row entrain.Row, n int, values map[int]*string) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, n)
	for i := range n {
		now, changed := values[i]
		old, state := row.Column(i, n)
		switch {
		case changed && now == nil, !changed && state == entrain.Null:
			b.Null()
		case changed:
			b.Value([]byte(*now))
		case state == entrain.Unchanged:
			b.Unchanged()
		default:
			b.Value(old)
		}
	}
	built, _ := b.End()
	return built
}
