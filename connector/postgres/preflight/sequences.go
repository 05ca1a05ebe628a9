package preflight

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// sequence is a row of [sqltext.Sequences].
type sequence struct {
	column, schema, name      string
	increment, least, largest int64
	last                      int64
	drawn, readable, settable bool
	owner                     string
}

func (s sequence) String() string { return sqltext.Table(s.schema, s.name) }

// readSequences asks for the sequences of tables, by the oids of those.
func readSequences(ctx context.Context, ask Ask, oids []string) (map[string][]sequence, error) {
	rows, err := ask(ctx, sqltext.Sequences, "{"+join(oids)+"}")
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	byTable := map[string][]sequence{}
	for _, r := range rows {
		s := sequence{column: r[2], schema: r[3], name: r[4], increment: integer(r[5]), least: integer(r[6]), largest: integer(r[7]),
			last: integer(r[8]), drawn: r[8] != "", readable: r[9] == "true", settable: r[10] == "true", owner: r[11]}
		byTable[r[0]] = append(byTable[r[0]], s)
	}
	return byTable, nil
}

// refused says why the role may not use a sequence, with the SQL that lets it.
func (s sequence) refused(role, right string) string {
	return fmt.Sprintf("role %s may not use it: %s; -- as %s", sqltext.Ident(role), s.grant(role, right), sqltext.Ident(s.owner))
}

func (s sequence) grant(role, right string) string {
	return fmt.Sprintf("GRANT %s ON SEQUENCE %s TO %s", right, s, sqltext.Ident(role))
}

func (f *sourceFacts) readSequences(ctx context.Context, ask Ask) error {
	oids := make([]string, len(f.carried))
	for i, t := range f.carried {
		oids[i] = t.oid
	}
	byTable, err := readSequences(ctx, ask, oids)
	if err != nil {
		return err
	}
	for _, t := range f.carried {
		shape := t.shape(f)
		for _, s := range byTable[t.oid] {
			at := slices.IndexFunc(shape.Columns, func(c entrain.Column) bool { return c.Name == s.column })
			if at < 0 {
				continue // it is not delivered
			}
			seq := entrain.Sequence{Table: shape, Column: at, Name: s.String(), Last: s.last, Drawn: s.drawn, Increment: s.increment}
			if !s.readable {
				seq.Refused = s.refused(f.role, "SELECT")
			}
			f.sequences = append(f.sequences, seq)
		}
	}
	return nil
}

// Sequences are those that the source's captured tables draw from.
func (cfg Source) Sequences(ctx context.Context, ask Ask) ([]entrain.Sequence, error) {
	f, err := cfg.gather(ctx, ask)
	if err != nil {
		return nil, err
	}
	return f.sequences, nil
}

// Move is what is to be done with a sequence of the target.
type Move struct {
	entrain.Advance
	// SQL does it; empty if there is nothing to do or it is refused.
	SQL string
}

// Moves works out what becomes of the target's sequences.
func (cfg Target) Moves(ctx context.Context, ask Ask, from []entrain.Sequence, margin int64) ([]Move, error) {
	f, err := cfg.gather(ctx, ask, &entrain.Report{Tables: tablesOf(from), Sequences: from})
	if err != nil {
		return nil, err
	}
	moves := make([]Move, len(from))
	for i, s := range from {
		if to, ok := f.sequenceFor(s); ok {
			moves[i] = to.move(s, margin, f.role)
		}
	}
	return moves, nil
}

// tablesOf are the tables of sequences, each once.
func tablesOf(sequences []entrain.Sequence) []*entrain.Table {
	var tables []*entrain.Table
	for _, s := range sequences {
		if !slices.ContainsFunc(tables, func(t *entrain.Table) bool { return t.String() == s.Table.String() }) {
			tables = append(tables, s.Table)
		}
	}
	return tables
}

// sequenceFor is the target's for the column that receives the source's.
func (f *targetFacts) sequenceFor(s entrain.Sequence) (sequence, bool) {
	for _, t := range f.tables {
		if t.from.Schema != s.Table.Schema || t.from.Name != s.Table.Name {
			continue
		}
		for _, to := range f.sequences[t.oid] {
			if to.column == s.Table.Columns[s.Column].Name {
				return to, true
			}
		}
	}
	return sequence{}, false
}

// move is pure: where the sequence has to go.
func (to sequence) move(from entrain.Sequence, margin int64, role string) Move {
	m := Move{Advance: entrain.Advance{Name: to.String(), Before: to.last, After: to.last, Drawn: to.drawn}}
	if !from.Drawn || from.Refused != "" {
		return m
	}
	at, fits := to.beyond(from, margin)
	switch {
	case to.drawn && !to.ahead(at):
		return m
	case !to.readable || !to.settable:
		m.Refused = to.refused(role, "SELECT, UPDATE")
		return m
	}
	m.After, m.Short = at, !fits
	// Whoever drew from it since it was read must not be taken back.
	compare := "<"
	if to.increment < 0 {
		compare = ">"
	}
	m.SQL = fmt.Sprintf("SELECT setval(%[1]s::regclass, %[2]d) WHERE coalesce(pg_sequence_last_value(%[1]s::regclass) %[3]s %[2]d, true)",
		sqltext.Literal(to.String()), at, compare)
	return m
}

// beyond is the source's last number and the margin further on; without the
// margin if that would be outside of what the sequence can give out.
func (to sequence) beyond(from entrain.Sequence, margin int64) (at int64, fits bool) {
	step := margin * from.Increment
	at = from.Last + step
	overflow := margin != 0 && (step/margin != from.Increment || (at < from.Last) != (step < 0))
	if overflow || at > to.largest || at < to.least {
		return min(max(from.Last, to.least), to.largest), false
	}
	return at, true
}

// ahead reports whether a number lies further on than where the sequence is.
func (to sequence) ahead(at int64) bool {
	if to.increment < 0 {
		return at < to.last
	}
	return at > to.last
}

// judgeSequences: the target gives out numbers that the source has given out.
func judgeSequences(f *targetFacts) []entrain.Finding {
	var found []entrain.Finding
	for _, s := range f.source.Sequences {
		to, ok := f.sequenceFor(s)
		if !ok || !s.Drawn || s.Refused != "" || to.drawn && !to.ahead(s.Last) {
			continue
		}
		stands := "has given out no number"
		switch {
		case !to.readable:
			stands = "cannot be read by role " + sqltext.Ident(f.role)
		case to.drawn:
			stands = "is at " + strconv.FormatInt(to.last, 10)
		}
		var fix []entrain.Fix
		if !to.readable || !to.settable {
			fix = f.fixes(tableOwner, to.grant(f.role, "SELECT, UPDATE"))
		}
		found = append(found, warning("sequence "+to.String(), fmt.Sprintf("it %s, that of the source is at %d: sequences do not travel in the "+
			"log, so that the target would give out numbers a second time when it takes over", stands, s.Last),
			append(fix, entrain.Fix{Where: "this machine, and again when the target takes over", Shell: "entrain sequences sync FILE"})...))
	}
	return found
}
