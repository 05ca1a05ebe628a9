package postgres_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// changing is a source whose tables change, and what was delivered of it.
type changing struct {
	t              *testing.T
	url, name, dir string
	snapshot       pipeline.SnapshotMode
	delivered      []string
}

// run delivers everything up to now and returns what it was.
func (c *changing) run() []string {
	c.t.Helper()
	all, err := postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(pgtest.SourceURL(c.url)), Pipeline: c.name, Slot: c.name, Publication: c.name, Create: true})
	if err != nil {
		c.t.Fatal(err)
	}
	source, err := all.Until("now")
	if err != nil {
		c.t.Fatal(err)
	}
	sink, err := file.NewSink(file.SinkConfig{Path: filepath.Join(c.dir, "out.jsonl")})
	if err != nil {
		c.t.Fatal(err)
	}
	state, err := store.Open(c.dir, c.name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.delivered = nil
	p, err := pipeline.New(pipeline.Options{Source: source, Sink: sink, Store: state, Transform: c.note, Snapshot: pipeline.Snapshot{
		Mode: c.snapshot, TransformTable: func(t *entrain.Table) (*entrain.Table, error) { return t, nil }}})
	if err == nil {
		err = p.Run(c.t.Context())
	}
	if err := state.Close(); err != nil {
		c.t.Error(err)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return c.delivered
}

func (c *changing) note(b *entrain.Batch) (*entrain.Batch, error) {
	for i := range b.Events {
		c.delivered = append(c.delivered, shown(&b.Events[i]))
	}
	return b, nil
}

func shown(e *entrain.Event) string {
	if e.Op != entrain.OpSchema {
		return e.Op.String()
	}
	text := "schema " + e.Table.Name
	for _, c := range e.Schema.Columns {
		text += ": " + c.Kind.String()
		for _, side := range []*entrain.Column{c.Before, c.After} {
			if side != nil {
				text += fmt.Sprintf(" %s %s", side.Name, side.Type)
			}
		}
		if c.Facts != nil && c.Facts.Fill != nil {
			text += " = " + *c.Facts.Fill
		}
	}
	if e.Schema.Identity {
		text += ": identity"
	}
	if e.Schema.Resync != "" {
		text += ": resync"
	}
	return text
}

// kindsOfChanges are statements, and what is told before the next row.
var kindsOfChanges = []struct{ sql, want string }{
	{"SELECT 1", ""},
	{"ALTER TABLE t ADD COLUMN c int DEFAULT 7", "schema t: add c int4 = 7"},
	{"ALTER TABLE t ADD COLUMN v uuid DEFAULT gen_random_uuid()", "schema t: add v uuid: resync"},
	{"ALTER TABLE t DROP COLUMN v", "schema t: drop v uuid"},
	{"ALTER TABLE t ALTER COLUMN c TYPE bigint", "schema t: retype c int4 c int8"},
	{"ALTER TABLE t ALTER COLUMN a TYPE varchar(20)", "schema t: retype a varchar a varchar"},
	{"ALTER TABLE t RENAME COLUMN a TO b", "schema t: rename a varchar b varchar"},
	{"ALTER TABLE t REPLICA IDENTITY FULL", "schema t: identity"},
	{"ALTER TABLE t REPLICA IDENTITY DEFAULT", "schema t: identity"},
	{"ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, b)", "schema t: identity"},
	{"ALTER TABLE t ADD COLUMN gone int; ALTER TABLE t DROP COLUMN gone", ""},
	{"ALTER TABLE t ADD CHECK (id > 0); CREATE INDEX ON t (c)", ""},
}

// TestKindsOfChanges: each kind of change is told once, in front of the first row
// that has it: in the middle of a transaction, in a session's middle, and while
// nothing runs; with copied rows before it.
func TestKindsOfChanges(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		for _, way := range []string{"transaction", "session", "restart", "copied"} {
			t.Run(fmt.Sprintf("pg%d/%s", major, way), func(t *testing.T) {
				url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
				c := &changing{t: t, url: url, name: pgtest.Name(t), dir: t.TempDir()}
				pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY, a varchar(10) NOT NULL)", "INSERT INTO t VALUES (1, 'x')")
				if way == "copied" {
					c.snapshot = pipeline.SnapshotInitial
				}
				c.run()
				if way == "restart" {
					pgtest.Exec(t, url, "UPDATE t SET id = id")
					c.run()
				}
				for _, k := range kindsOfChanges {
					c.change(way, k.sql, k.want)
				}
				if got := c.run(); len(got) > 0 {
					t.Errorf("again: %q", got)
				}
			})
		}
	}
}

// change makes one change and looks at what is told of it.
func (c *changing) change(way, sql, want string) {
	c.t.Helper()
	const row = "UPDATE t SET id = id"
	expected := []string{"update"}
	switch way {
	case "transaction":
		pgtest.Exec(c.t, c.url, "BEGIN; "+row+"; "+sql+"; "+row+"; COMMIT")
		expected = []string{"update", "update"}
	case "session":
		pgtest.Exec(c.t, c.url, row, sql, row)
		expected = []string{"update", "update"}
	default:
		pgtest.Exec(c.t, c.url, sql, row)
	}
	if want != "" {
		last := len(expected) - 1
		expected = append(expected[:last:last], want, expected[last])
	}
	if diff := cmp.Diff(expected, c.run()); diff != "" {
		c.t.Errorf("%s\n%s", strings.TrimSpace(sql), diff)
	}
}
