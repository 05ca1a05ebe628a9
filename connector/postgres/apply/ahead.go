package apply

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

const (
	positionAheadSQL = `ALTER TABLE entrain.position ADD COLUMN IF NOT EXISTS ahead text`

	// moveAheadSQL is moveSQL with a note of what is applied behind the position.
	moveAheadSQL = `UPDATE entrain.position SET incarnation = $6, version = greatest(version, $8), ahead = $10,
updated_at = clock_timestamp(), position = CASE WHEN owner = $3 AND fence = $4
AND incarnation = $5 AND position = $9 THEN $7 ELSE (1 / (fence - fence))::text END
WHERE pipeline = $1 AND source = $2 AND partition = 0`

	// moveAsideSQL fails where there is no row, too: what comes behind it is the
	// COMMIT.
	moveAsideSQL = `WITH moved AS (` + moveAheadSQL + ` RETURNING 1) SELECT 1 / count(*) FROM moved`
)

var moveAheadTypes = append(moveTypes[:len(moveTypes):len(moveTypes)], oidText)

// note is the text of the position row's column ahead: behind the position,
// every transaction of the incarnation up to the version is applied, too. A
// batch has a position at its end only; the groups that it is divided into are
// told apart by it. It says which position it is about, so that it is void when
// somebody sets the position, or a program that does not know it moves it.
type note struct {
	Position    entrain.Position
	Incarnation string
	Version     uint64
}

// ahead is what a session knows of its note.
type ahead struct {
	note    note // zero: nothing is ahead
	pending note // of the transaction under way
}

// read takes the row's text.
func (a *ahead) read(text string, at entrain.Position) error {
	*a = ahead{}
	if text == "" {
		return nil
	}
	var n note
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return fmt.Errorf("read the column ahead of the position row: %w", err)
	}
	if n.Position == at {
		a.note = n
	}
	return nil
}

func (n note) text() []byte {
	if n == (note{}) {
		return []byte{}
	}
	text, _ := json.Marshal(n) // of strings and a number: it cannot fail
	return text
}

func (a *ahead) holds() bool { return a.note != note{} }

// skip returns the batch without the changes that are applied already. The first
// later one ends the note.
func (a *ahead) skip(b *entrain.Batch) *entrain.Batch {
	if !a.holds() {
		return b
	}
	rest := *b
	rest.Events = nil
	for i := range b.Events {
		e := &b.Events[i]
		change := e.Op >= entrain.OpInsert && e.Op <= entrain.OpMessage
		if change && (e.Tx.Version > a.note.Version || e.Tx.Stream.Incarnation != a.note.Incarnation) {
			a.note = note{}
			rest.Events = append(rest.Events, b.Events[i:]...)
			break
		}
		if !change {
			rest.Events = append(rest.Events, *e)
		}
	}
	return &rest
}

// moveCall moves the position and keeps the note.
func (a *ahead) moveCall(w *writer, through entrain.Position, version string) call {
	a.pending = a.note
	if !through.IsZero() {
		a.pending.Position = through
	}
	st := w.stmts.get(statementKey{form: "move ahead"}, func() *statement {
		return &statement{sql: moveAheadSQL, oids: moveAheadTypes}
	})
	return call{st: st, values: append(w.moveArgs(through, version), a.pending.text())}
}

// moved: the position is where the last call moved it.
func (a *ahead) moved() {
	a.note, a.pending = a.pending, note{}
}

// addAhead adds the column to a table of an earlier version.
func (w *writer) addAhead(ctx context.Context, here sinkTarget) error {
	_, err := dial.QueryRows(ctx, w.conn, positionAheadSQL)
	if dial.SQLState(err) == dial.StateNoPrivilege {
		return w.stopNoPosition(here, err)
	}
	if err != nil {
		return fmt.Errorf("add the column ahead to the position table: %w", err)
	}
	return nil
}
