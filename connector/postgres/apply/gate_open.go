package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
)

var _ entrain.RowKeeper = (*Sink)(nil)

// Gated implements [entrain.RowKeeper].
func (s *Sink) Gated() bool { return s.cfg.VersionGate }

// family is the delivery's name without the partition, PIPELINE:SINK of
// PIPELINE:SINK:PARTITION: the partitions of a stream share what the gate knows, since a
// row may move to another one.
func family(delivery string) string {
	pipeline, rest, behind := strings.Cut(delivery, ":")
	if !behind {
		return pipeline
	}
	sink, _, _ := strings.Cut(rest, ":")
	return pipeline + ":" + sink
}

// open makes the gate's tables if they lack, and reads what they know. The position row
// is taken over.
func (g *gate) open(ctx context.Context) error {
	w := g.w
	there, err := dial.QueryRow(ctx, w.conn, versiongate.ThereSQL)
	if err != nil {
		return fmt.Errorf("look for the version gate's tables: %w", err)
	}
	for i := 0; there[0] != "5" && i < len(versiongate.Create); i++ {
		_, err := dial.QueryRows(ctx, w.conn, versiongate.Create[i])
		switch dial.SQLState(err) {
		case "23505", "42P06", "42P07", "42710": // somebody else made it in the same moment
		default:
			if err != nil {
				return g.explain(fmt.Errorf("make the version gate's tables: %w", err))
			}
		}
	}
	g.applied = w.seen
	if err := g.read(ctx); err != nil {
		return g.explain(err)
	}
	row, err := dial.QueryRow(ctx, w.conn, versiongate.JournalledSQL, strconv.Itoa(journalBound))
	if err != nil {
		return g.explain(fmt.Errorf("count noted versions of rows: %w", err))
	}
	g.waiting, err = strconv.ParseInt(row[0], 10, 64)
	return err
}

// read takes over what the gate's table says: the mark is this delivery's. A new one
// begins with the greatest of its pipeline's, since it may have rows of all others.
func (g *gate) read(ctx context.Context) error {
	g.eras, g.stream, g.begun = map[string]int32{}, nil, false
	rows, err := dial.QueryRows(ctx, g.w.conn, versiongate.KnownSQL, g.family)
	if err != nil {
		return fmt.Errorf("read what the version gate knows: %w", err)
	}
	var start, greatest, own versiongate.Version
	has := false
	for _, r := range rows {
		v, err := parseVersion(r[2:])
		if err != nil {
			return err
		}
		switch r[0] {
		case "incarnation":
			g.eras[r[1]] = v.Era
		case "start":
			start, g.begun = v, true
		case "mark":
			if r[1] == g.w.cfg.Pipeline {
				own, has = v, true
			}
			greatest = v // they come in order
		}
	}
	g.mark = own
	if !has {
		g.mark = greatest
		if start.Compare(greatest) > 0 {
			g.mark = start
		}
	}
	g.saved = own
	return nil
}

func parseVersion(r []string) (versiongate.Version, error) {
	era, err := strconv.ParseInt(r[0], 10, 32)
	number, err2 := strconv.ParseUint(r[1], 10, 64)
	ordinal, err3 := strconv.ParseUint(r[2], 10, 64)
	if err := cmp.Or(err, err2, err3); err != nil {
		return versiongate.Version{}, fmt.Errorf("read what the version gate knows: %w", err)
	}
	return versiongate.Version{Era: int32(era), Number: number, Ordinal: ordinal}, nil
}

// texts are a version's as parameters.
func texts(v versiongate.Version) []string {
	return []string{strconv.FormatInt(int64(v.Era), 10), strconv.FormatUint(v.Number, 10), strconv.FormatUint(v.Ordinal, 10)}
}

// eraOf makes g.era that of a stream. An incarnation that was never met begins a new
// era, if it comes with the stream. A dead letter of one is older than all.
func (g *gate) eraOf(ctx context.Context, s *entrain.Stream, through entrain.Position) error {
	if g.stream == s {
		return nil
	}
	name := s.Source + "/" + s.Incarnation
	if g.eras[name] == 0 && (through.IsZero() || through != g.w.pos) {
		if err := g.run(ctx, versiongate.EraSQL, g.family, name); err != nil {
			return g.explain(fmt.Errorf("note the source's incarnation: %w", err))
		}
		row, err := dial.QueryRow(ctx, g.w.conn, "SELECT era::text FROM entrain.gate WHERE pipeline = $1 AND kind = 'incarnation' AND name = $2", g.family, name)
		if err != nil {
			return fmt.Errorf("read the source's incarnation: %w", err)
		}
		era, err := strconv.ParseInt(row[0], 10, 32)
		if err != nil {
			return err
		}
		g.eras[name] = int32(era)
	}
	g.stream, g.era = s, g.eras[name]
	return nil
}

// begin notes what the rows that are there count as, when the gate meets the first change.
func (g *gate) begin(ctx context.Context, first versiongate.Version, through entrain.Position) error {
	same := through.IsZero() || through.Incarnation == g.w.pos.Incarnation
	start := versiongate.Start(first, g.applied, versiongate.History(same))
	if err := g.run(ctx, versiongate.StartSQL, append([]string{g.family}, texts(start)...)...); err != nil {
		return g.explain(fmt.Errorf("turn the version gate on: %w", err))
	}
	g.begun = true
	if g.mark == (versiongate.Version{}) {
		g.mark = start
	}
	return nil
}

// meet notes the tables of the events.
func (g *gate) meet(ctx context.Context, events []entrain.Event) error {
	for i := range events {
		e := &events[i]
		if !versiongate.Gated(e) {
			continue
		}
		tables := []*entrain.Table{e.Table}
		if e.Truncate != nil {
			tables = e.Truncate.Tables
		}
		for _, table := range tables {
			if err := g.meetTable(ctx, g.w.catalog.table(table)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *gate) meetTable(ctx context.Context, t *targetTable) error {
	if g.last == t || g.met[t] {
		g.last = t
		return nil
	}
	if err := stopUngated(t); err != nil {
		return err
	}
	name := t.Table.String()
	other, err := dial.QueryRow(ctx, g.w.conn, versiongate.SharedSQL, g.family, name)
	if err == nil && other != nil {
		return g.stopShared(t, other[0])
	}
	if err == nil {
		err = g.run(ctx, versiongate.MeetSQL, append([]string{g.family, name, relationText(t)}, texts(g.mark)...)...)
	}
	if err != nil {
		return g.explain(fmt.Errorf("note table %s at the version gate: %w", name, err))
	}
	if len(g.met) > maxCachedTables {
		clear(g.met)
	}
	g.met[t], g.last = true, t
	g.sweeper.meet(t)
	return nil
}

func relationText(t *targetTable) string { return strconv.FormatUint(uint64(t.Relation), 10) }

// raise makes all rows of the tables as new as v at least.
func (g *gate) raise(ctx context.Context, names []string, v versiongate.Version) error {
	list, err := json.Marshal(names)
	if err == nil {
		err = g.run(ctx, versiongate.RaiseSQL, append([]string{g.family, string(list)}, texts(v)...)...)
	}
	if err != nil {
		return fmt.Errorf("raise the version of tables %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// stopUngated refuses a table in which a row is not known by the text of its key.
func stopUngated(t *targetTable) error {
	stop := &entrain.Stop{
		Code: "gate_key",
		Next: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);   -- at both ends, with columns of types such as bigint, text, uuid or timestamptz\n"+
			"or leave the table out: source.tables: {exclude: [%q]} in FILE\nor take version_gate out of FILE; then: entrain run FILE", tableSQL(t.Table), t.Table),
		Why: "the version gate keeps the version of each row by the text of its key, and stores rows by ON CONFLICT",
	}
	switch {
	case len(t.Key) == 0:
		stop.What = fmt.Sprintf("table %s has no key", t.Table)
	case !t.arbiter:
		stop.What = fmt.Sprintf("table %s has no unique index on its key at the target that ON CONFLICT can use (one that is not deferrable)", t.Table)
	case !t.bytewiseKey():
		stop.What = fmt.Sprintf("table %s has a key in which equal values can have several texts (numeric, citext, float or the like, or another type at the target)", t.Table)
	default:
		return nil
	}
	return stop
}

func (g *gate) stopShared(t *targetTable, other string) error {
	return &entrain.Stop{
		Code: "gate_shared",
		What: fmt.Sprintf("the version gate of pipeline %q knows table %s already", other, t.Table),
		Why:  "the versions of two pipelines cannot be compared: one would take the other's changes for old",
		Next: fmt.Sprintf("leave the table out of one of them: source.tables: {exclude: [%q]} in FILE; then: entrain run FILE\n"+
			"or, if that pipeline is gone: DELETE FROM entrain.gate WHERE pipeline = %s;", t.Table, sqltext.Literal(other)),
	}
}

// explain says how to give the right that lacks.
func (g *gate) explain(err error) error {
	if dial.SQLState(err) != dial.StateNoPrivilege {
		return err
	}
	role := sqltext.Ident(g.w.catalog.role)
	return &entrain.Stop{
		Code: "gate_table",
		What: fmt.Sprintf("role %s may not make or use the version gate's tables in %s", role, g.w.server),
		Why:  "the versions of rows are kept beside them, so that both change in one transaction",
		Next: strings.Join(append(append([]string{positionSchemaSQL}, versiongate.Create...), "GRANT USAGE ON SCHEMA entrain TO "+role,
			"GRANT SELECT, INSERT, UPDATE, DELETE ON entrain.row_version, entrain.row_journal, entrain.gate, entrain.reconciliation TO "+role), ";\n") + ";",
		Err: err,
	}
}
