package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// Outcome is what came of it, Reason why the sink refused it. A record that is begun
	// and has no other one behind it is of a process that was killed.
	Outcome EditOutcome `json:"outcome"`
	Reason  string      `json:"reason,omitempty"`
}

// EditOutcome is how far a changed letter has come.
type EditOutcome string

// The outcomes, in the order in which they are written down.
const (
	EditBegun     EditOutcome = "begun"     // it is about to be delivered
	EditDelivered EditOutcome = "delivered" // the sink has it
	EditRefused   EditOutcome = "refused"   // the sink has nothing of it, and the letter is as it was
)

// replayEdited delivers one letter with other values, once what was changed is written
// down, and what came of it behind that. Where transactions are parked whole, the rest of
// its transaction is delivered with it (P4).
func (d *desk) replayEdited(ctx context.Context, s *session, o Order) error {
	if d.opt.Audit == nil {
		return errors.New("changes of dead letters are written down nowhere")
	}
	letters, changed, err := d.toEdit(ctx, s, o)
	if err != nil {
		return err
	}
	records, err := edit(changed, o.Edits)
	if err != nil {
		return err
	}
	for i := range records {
		records[i].By = o.By
	}
	if err := d.audit(records, EditBegun, nil); err != nil {
		return err
	}
	if err := s.attempt(ctx, &entrain.Batch{Events: d.again(letters), Through: s.position()}, s.writer.Write); err != nil {
		return &replayError{errors.Join(err, d.audit(records, EditRefused, err))} // the session is over
	}
	said := d.audit(records, EditDelivered, nil) // what is delivered is no letter any more, said or not
	return errors.Join(d.remove(ctx, letters), said)
}

// audit writes down what is changed, with what came of it.
func (d *desk) audit(records []EditRecord, outcome EditOutcome, why error) error {
	for i := range records {
		records[i].At, records[i].Outcome, records[i].Reason = time.Now().UTC(), outcome, ""
		if why != nil {
			records[i].Reason = why.Error()
		}
	}
	if err := d.opt.Audit(records); err != nil {
		return fmt.Errorf("write down what was changed (%s): %w", outcome, err)
	}
	return nil
}

// toEdit are the letters that are delivered when one is changed, and that one.
func (d *desk) toEdit(ctx context.Context, s *session, o Order) (letters []parking.Letter, changed *parking.Letter, err error) {
	if len(o.Letters) != 1 || strings.HasSuffix(o.Letters[0], "/") {
		return nil, nil, mistake("one dead letter is changed at a time: name it by the id of its event")
	}
	id := o.Letters[0]
	if _, err := d.chosen(ctx, o.Letters); err != nil {
		return nil, nil, err
	}
	together := o.Letters
	if d.opt.Rules.Unit == parking.Transactions {
		together = []string{id[:strings.LastIndexByte(id, '/')+1]}
	}
	if letters, err = d.toReplay(ctx, s, together); err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(letters, func(l parking.Letter) bool { return l.Event.ID() == id })
	if i < 0 { // somebody has just removed it
		return nil, nil, noLetter(id)
	}
	return letters, &letters[i], nil
}

// edit puts other values into a letter's row, and says what that changes.
func edit(l *parking.Letter, edits []Edit) ([]EditRecord, error) {
	e := &l.Event
	if e.Table == nil || e.After == nil {
		return nil, mistake("event %s is a %s, which has no row to change", e.ID(), e.Op)
	}
	values := map[int]*string{}
	var records []EditRecord
	for _, one := range edits {
		i := columnOf(e.Table, one.Column)
		switch {
		case i < 0:
			return nil, mistake("table %s has no column %q", e.Table, one.Column)
		case e.Table.Columns[i].Key:
			return nil, mistake("column %q of %s is part of the row's key, which is not changed: it would be another row", one.Column, e.Table)
		}
		if _, twice := values[i]; twice {
			return nil, mistake("column %q was named twice", one.Column)
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
		return nil, mistake("no column was named")
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
