package apply

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// itemShape is a shape of table item: id, then "name type" with a modifier of -1
// or, behind a colon, another one.
func itemShape(columns ...entrain.Column) *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: "item", Columns: append([]entrain.Column{{Name: "id", Type: "int8", Modifier: -1, Key: true}}, columns...)}
	t.Version = t.Fingerprint()
	return t
}

func col(name, typ string) entrain.Column { return entrain.Column{Name: name, Type: typ, Modifier: -1} }

func sized(name, typ string, modifier int32) entrain.Column {
	return entrain.Column{Name: name, Type: typ, Modifier: modifier}
}

// reshape is the event between two shapes.
func reshape(before, after *entrain.Table, ddl []entrain.DDL, facts ...entrain.ColumnFacts) entrain.Event {
	return entrain.Event{Op: entrain.OpSchema, Table: after, Schema: entrain.CompareTables(before, after, ddl, facts)}
}

// renamedDDL tells that column 2 was renamed.
func renamedDDL(to string) []entrain.DDL {
	return []entrain.DDL{{ID: 1, Tag: "ALTER TABLE", Renamed: 2, Columns: []entrain.ColumnFacts{{ID: 1, Name: "id"}, {ID: 2, Name: to}}}}
}

func (f *feed) policy(c SchemaChanges) {
	f.t.Helper()
	s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(f.url)), Pipeline: "test", SchemaChanges: c})
	if err != nil {
		f.t.Fatal(err)
	}
	f.w.cfg.SchemaChanges = s.cfg.SchemaChanges
}

func text(s string) *string { return &s }

const itemSQL = `CREATE TABLE item (id int8 PRIMARY KEY, a varchar(5) NOT NULL)`

var itemA = itemShape(sized("a", "varchar", 9))

// followed are changes that the policies let through, and what the table is then.
var followed = map[string]struct {
	policy SchemaChanges
	change entrain.Event
	row    []string // of the new shape
	want   string   // columns, and both rows
}{
	"add": {change: reshape(itemA, itemShape(sized("a", "varchar", 9), col("b", "int4")), nil), row: []string{"2", "x", "7"},
		want: "id bigint!, a character varying(5)!, b integer\n1|one|∅\n2|x|7"},
	"add with a default": {change: reshape(itemA, itemShape(sized("a", "varchar", 9), col("b", "text")), nil,
		entrain.ColumnFacts{Name: "b", Default: "'it''s'", Constant: true, NotNull: true, Fill: text(`it's \`)}), row: []string{"2", "x", "y"},
		want: "id bigint!, a character varying(5)!, b text!\n1|one|it's \\\n2|x|y"},
	"add with a moment": {change: reshape(itemA, itemShape(sized("a", "varchar", 9), sized("b", "numeric", 12<<16+2+4)), nil,
		entrain.ColumnFacts{Name: "b", Default: "f()", NotNull: true, Fill: text("1.50")}), row: []string{"2", "x", "∅"},
		want: "id bigint!, a character varying(5)!, b numeric(12,2)\n1|one|1.50\n2|x|∅"},
	"widen": {change: reshape(itemA, itemShape(sized("a", "varchar", 12)), nil), row: []string{"2", "12345678"},
		want: "id bigint!, a character varying(8)!\n1|one\n2|12345678"},
	"widen to text": {change: reshape(itemA, itemShape(col("a", "text")), nil), row: []string{"2", "a long text"},
		want: "id bigint!, a text!\n1|one\n2|a long text"},
	"drop": {change: reshape(itemA, itemShape(), nil), row: []string{"2"},
		want: "id bigint!, a character varying(5)\n1|one\n2|∅"},
	"drop, applied": {policy: SchemaChanges{DropColumn: "apply"}, change: reshape(itemA, itemShape(), nil), row: []string{"2"},
		want: "id bigint!\n1\n2"},
	"rename, proven": {policy: SchemaChanges{Rename: "apply"}, change: reshape(itemA, itemShape(sized("b", "varchar", 9)), renamedDDL("b")), row: []string{"2", "x"},
		want: "id bigint!, b character varying(5)!\n1|one\n2|x"},
	"rename and widen": {policy: SchemaChanges{Rename: "apply"}, change: reshape(itemA, itemShape(col("b", "text")), renamedDDL("b")), row: []string{"2", "long enough"},
		want: "id bigint!, b text!\n1|one\n2|long enough"},
	"retype, applied": {policy: SchemaChanges{Retype: "apply"}, change: reshape(itemA, itemShape(col("a", "bytea")), nil), row: []string{"2", `\x00`},
		want: "id bigint!, a bytea!\n1|\\x6f6e65\n2|\\x00"},
	"narrower": {change: reshape(itemShape(col("a", "text")), itemA, nil), row: []string{"2", "x"},
		want: "id bigint!, a character varying(5)!\n1|one\n2|x"},
}

const itemColumns = `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0 AND NOT attisdropped`

func itemState(t *testing.T, url string) string {
	return strings.ReplaceAll(rowsOf(t, url, itemColumns)+"\n"+rowsOf(t, url, "SELECT * FROM item ORDER BY id"), pgtest.Null, "∅")
}

// TestAlter: the target follows a change between the rows of one transaction, and
// the same change once more does nothing.
func TestAlter(t *testing.T) {
	pgtest.AsOwner(t)
	onMajors(t, func(t *testing.T, url string) {
		for name, c := range followed {
			pgtest.Exec(t, url, "DROP TABLE IF EXISTS item", itemSQL)
			f := newFeed(t, url)
			f.policy(c.policy)
			before := c.change.Schema.Before
			f.write(tx(ins(before, "1", "one"), c.change, ins(c.change.Table, c.row...)))
			if got := itemState(t, url); got != c.want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
			}
			f.open() // the change comes again
			f.policy(c.policy)
			f.write(tx(c.change, del(c.change.Table, append([]string{"2"}, make([]string, len(c.row)-1)...)...)))
			if got := itemState(t, url); got != c.want[:strings.LastIndex(c.want, "\n")] {
				t.Errorf("%s, again:\ngot  %s", name, got)
			}
		}
	})
}

// TestAlterInParts: rows, change and rows come in parts of one transaction; what
// is not committed has no effect, neither rows nor shape.
func TestAlterInParts(t *testing.T) {
	pgtest.AsOwner(t)
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, itemSQL)
		wide := itemShape(sized("a", "varchar", 9), col("b", "int4"))
		events := tx(ins(itemA, "1", "one"), reshape(itemA, wide, nil), ins(wide, "2", "two", "2"), upd(wide, "1", "~", "1"))
		f := newFeed(t, url)
		for i, commit := range []bool{false, true} {
			f.open()
			all := numbered(1, 0, events)
			for k := range all {
				part := &entrain.Batch{Events: all[k : k+1]}
				if commit && k == len(all)-1 {
					part.Through = position(1)
				}
				if err := f.w.Write(t.Context(), part); err != nil {
					t.Fatal(err)
				}
			}
			f.w.Close()
			if want := []string{"id bigint!, a character varying(5)!\n", "id bigint!, a character varying(5)!, b integer\n1|one|1\n2|two|2"}[i]; itemState(t, url) != want {
				t.Errorf("committed: %t: %s", commit, itemState(t, url))
			}
		}
	})
}

// TestAlteredByHandInParts: the parts of a transaction that come before a change
// find the table as a person has made it meanwhile, if the writer was told.
func TestAlteredByHandInParts(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, itemSQL)
		after := itemShape(sized("b", "varchar", 9))
		all := numbered(1, 0, tx(ins(itemA, "1", "one"), upd(itemA, "1", "eins"), reshape(itemA, after, nil), ins(after, "2", "two")))
		f := newFeed(t, url)
		f.w.Foresee([]entrain.Event{all[2]})
		write := func() (err error) {
			for k := range all {
				part := &entrain.Batch{Events: all[k : k+1]}
				if k == len(all)-1 {
					part.Through = position(1)
				}
				if err = f.w.Write(t.Context(), part); err != nil {
					return err
				}
			}
			return nil
		}
		pgtest.Exec(t, url, wantStop(t, write(), "schema_rename").Next)
		f.open()
		wantStop(t, write(), "column_missing")
		f.open()
		f.w.Foresee([]entrain.Event{all[2]})
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if got := itemState(t, url); got != "id bigint!, b character varying(5)!\n1|eins\n2|two" {
			t.Error(got)
		}
	})
}

// alterStops are changes that are left to a person.
var alterStops = map[string]struct {
	policy SchemaChanges
	change entrain.Event
	code   string
	texts  []string
	row    []string
	want   string
}{
	"rename, guessed": {change: reshape(itemA, itemShape(sized("b", "varchar", 9)), nil), code: "schema_rename",
		texts: []string{"item", "column a is gone and column b is new", "RENAME COLUMN", "ADD COLUMN", "entrain run FILE"}, row: []string{"2", "x"},
		want: "id bigint!, b character varying(5)!\n1|one\n2|x"},
	"rename, guessed, with apply": {policy: SchemaChanges{Rename: "apply"}, change: reshape(itemA, itemShape(sized("b", "varchar", 9)), nil), code: "schema_rename",
		row: []string{"2", "x"}, want: "id bigint!, b character varying(5)!\n1|one\n2|x"},
	"rename, proven": {change: reshape(itemA, itemShape(sized("b", "varchar", 9)), renamedDDL("b")), code: "schema_rename",
		texts: []string{"column a was renamed to b"}, row: []string{"2", "x"}, want: "id bigint!, b character varying(5)!\n1|one\n2|x"},
	"retype": {change: reshape(itemA, itemShape(col("a", "bytea")), nil), code: "schema_retype", texts: []string{"bytea", "USING"},
		row: []string{"2", `\x00`}, want: "id bigint!, a bytea!\n1|\\x6f6e65\n2|\\x00"},
	"rename and more": {change: reshape(itemA, itemShape(sized("b", "varchar", 9), col("c", "int4")), nil), code: "schema_rename",
		row: []string{"2", "x", "3"}, want: "id bigint!, b character varying(5)!, c integer\n1|one|∅\n2|x|3"},
	"all by hand": {policy: SchemaChanges{AddColumn: "stop", Widen: "stop"}, change: reshape(itemA, itemShape(col("a", "text"), col("c", "int4")), nil),
		code: "schema_widen", texts: []string{"column c was added", "the type of column a became text"}, row: []string{"2", "xxxxxxx", "3"},
		want: "id bigint!, a text!, c integer\n1|one|∅\n2|xxxxxxx|3"},
	"drop": {policy: SchemaChanges{DropColumn: "stop"}, change: reshape(itemA, itemShape(), nil), code: "schema_drop",
		row: []string{"2"}, want: "id bigint!\n1\n2"},
}

// TestAlterStops: what is left to a person stops before any effect of the
// transaction, and the SQL of the advice lets it go on.
func TestAlterStops(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for name, c := range alterStops {
			pgtest.Exec(t, url, "DROP TABLE IF EXISTS item", itemSQL, "INSERT INTO item VALUES (1, 'one')")
			f := newFeed(t, url)
			f.policy(c.policy)
			b := f.batch(tx(ins(c.change.Schema.Before, "3", "x"), del(c.change.Schema.Before, "3", ""), c.change, ins(c.change.Table, c.row...)))
			stop := wantStop(t, f.w.Write(t.Context(), b), c.code)
			for _, text := range c.texts {
				if !strings.Contains(stop.Error(), text) {
					t.Errorf("%s: %v does not say %q", name, stop, text)
				}
			}
			pgtest.Exec(t, url, stop.Next)
			f.open()
			f.policy(c.policy)
			if err := f.w.Write(t.Context(), b); err != nil {
				t.Errorf("%s: after %s: %v", name, stop.Next, err)
			}
			if got := itemState(t, url); got != c.want {
				t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
			}
		}
	})
}

// TestAlterRights: a role that does not own the table stops with the SQL for who
// does; so does a type that is not there.
func TestAlterRights(t *testing.T) {
	pgtest.AsOwner(t)
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, itemSQL)
		wide := itemShape(sized("a", "varchar", 9), col("b", "int4"))
		f := newFeed(t, url)
		role := pgtest.Name(t)
		pgtest.Exec(t, url, "CREATE ROLE "+role, "ALTER TABLE item OWNER TO "+role, "GRANT ALL ON ALL TABLES IN SCHEMA public, entrain TO "+role,
			"GRANT USAGE ON SCHEMA entrain TO "+role, "ALTER TABLE item OWNER TO "+rowsOf(t, url, "SELECT current_user"))
		if _, err := f.w.conn.Exec(t.Context(), "SET ROLE "+role).ReadAll(); err != nil {
			t.Fatal(err)
		}
		b := f.batch(tx(reshape(itemA, wide, nil), ins(wide, "1", "x", "1")))
		stop := wantStop(t, f.w.Write(t.Context(), b), "schema_rights")
		pgtest.Exec(t, url, stop.Next)
		f.open()
		if err := f.w.Write(t.Context(), b); err != nil {
			t.Error(err)
		}
		odd := itemShape(sized("a", "varchar", 9), col("b", "int4"), col("c", "app.mood"))
		wantStop(t, f.w.Write(t.Context(), f.batch(tx(reshape(wide, odd, nil)))), "type_missing")
	})
}

// TestPolicies: what is no policy is refused.
func TestPolicies(t *testing.T) {
	for _, c := range []SchemaChanges{{AddColumn: "ignore"}, {Widen: "no"}, {Rename: "ignore"}, {Retype: "ignore"}, {DropColumn: "drop"}} {
		if _, err := NewSink(Config{URL: "postgres://localhost/x", Pipeline: "p", SchemaChanges: c}); err == nil || !strings.Contains(err.Error(), "schema_changes.") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestWidens: a type is wider only if no value changes its text.
func TestWidens(t *testing.T) {
	numeric := func(p, s int32) int32 { return p<<16 | s&0x7ff + 0 + 4 }
	for _, c := range []struct {
		from, to entrain.Column
		want     bool
	}{
		{col("", "int2"), col("", "int4"), true}, {col("", "int4"), col("", "int8"), true}, {col("", "int8"), col("", "int4"), false},
		{col("", "int4"), sized("", "numeric", numeric(10, 0)), true}, {col("", "int4"), sized("", "numeric", numeric(9, 0)), false},
		{col("", "int4"), sized("", "numeric", numeric(12, 2)), false}, {col("", "int8"), col("", "numeric"), true},
		{sized("", "varchar", 9), sized("", "varchar", 10), true}, {sized("", "varchar", 9), sized("", "varchar", 8), false},
		{sized("", "varchar", 9), col("", "varchar"), true}, {sized("", "varchar", 9), col("", "text"), true}, {col("", "varchar"), sized("", "varchar", 9), false},
		{col("", "text"), col("", "varchar"), false}, {sized("", "bpchar", 9), sized("", "bpchar", 10), false},
		{sized("", "numeric", numeric(8, 2)), sized("", "numeric", numeric(10, 2)), true}, {sized("", "numeric", numeric(8, 2)), sized("", "numeric", numeric(10, 3)), false},
		{sized("", "numeric", numeric(8, 2)), col("", "numeric"), true}, {col("", "numeric"), sized("", "numeric", numeric(8, 2)), false},
		{sized("", "timestamp", 3), col("", "timestamp"), true}, {sized("", "timestamp", 3), sized("", "timestamp", 0), false},
		{col("", "float4"), col("", "float8"), false}, {col("", "int4"), col("", "float8"), false}, {col("", "date"), col("", "timestamp"), false},
		{col("", "uuid"), col("", "uuid"), true}, {sized("", "bit", 4), sized("", "varbit", 8), true}, {sized("", "bit", 4), sized("", "varbit", 3), false},
	} {
		if got := widens(c.from, c.to); got != c.want {
			t.Errorf("%s(%d) to %s(%d): %t", c.from.Type, c.from.Modifier, c.to.Type, c.to.Modifier, got)
		}
	}
}

// TestAdviceWithOddNames: no name can end a comment in printed SQL.
func TestAdviceWithOddNames(t *testing.T) {
	if got := alternative([]string{"ALTER TABLE t ADD COLUMN \"a\nDROP TABLE x;\" int;"}); got != nil {
		t.Errorf("%q", got)
	}
	if got := alternative([]string{"ALTER TABLE t ADD COLUMN b int;"}); len(got) != 2 || !strings.HasPrefix(got[1], "--") {
		t.Errorf("%q", got)
	}
}

// TestTypeChangedAtTarget: somebody widens a column of the target while the session
// is up. What the new type takes is no refused row (P9).
func TestTypeChangedAtTarget(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, "CREATE TABLE item (id int8 PRIMARY KEY, a int4)")
		shape := itemShape(col("a", "text"))
		f := newFeed(t, url)
		f.write(tx(ins(shape, "1", "1")))
		pgtest.Exec(t, url, "ALTER TABLE item ALTER COLUMN a TYPE text")
		f.write(tx(upd(shape, "1", "hello")))
		f.bulk(tx(ins(shape, "2", "two")))
		if got := pgtest.QueryOne(t, url, "SELECT string_agg(a, ' ' ORDER BY id) FROM item"); got != "hello two" {
			t.Errorf("the rows have %q", got)
		}
	})
}

// TestAlteredIsToldLater: the log says that a table was changed once that is durable,
// and not if the transaction failed: the stop's SQL has the change then, and leaves
// no row without a key.
func TestAlteredIsToldLater(t *testing.T) {
	url := pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	pgtest.Exec(t, url, `CREATE TABLE bare (v text); INSERT INTO bare VALUES ('a'), ('b')`)
	before := keyless(describe(t, url, "public", "bare"))
	after := &entrain.Table{Schema: "public", Name: "bare", Columns: []entrain.Column{
		{Name: "v", Type: "text", Modifier: -1}, {Name: "id", Type: "int8", Modifier: -1, Key: true, Kind: entrain.Integer}}}
	after.Version = after.Fingerprint()
	change := reshape(before, after, nil, entrain.ColumnFacts{Name: "id", Volatile: true, NotNull: true})
	var log strings.Builder
	feed := func() *feed {
		f := newFeed(t, url)
		f.w.log = slog.New(slog.NewTextHandler(&log, nil))
		return f
	}
	f := feed()
	stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(change, settling(ins(after, "a", "1"))))), "key_index_missing")
	if log.Len() > 0 {
		t.Errorf("the log says of what was undone: %s", &log)
	}
	pgtest.Exec(t, url, stop.Next)
	f = feed()
	f.write(tx(change, settling(ins(after, "a", "1")), settling(ins(after, "b", "2"))))
	wantRows(t, url, `SELECT string_agg(v || id, ' ' ORDER BY id), count(*) FROM bare`, "a1 b2|2")
	pgtest.Exec(t, url, `ALTER TABLE bare DROP COLUMN id, ADD COLUMN other int; CREATE UNIQUE INDEX ON bare (v)`)
	f = feed()
	f.write(tx(change))
	if !strings.Contains(log.String(), "changed a table of the target as the source did") {
		t.Errorf("of a change that is durable the log says %q", &log)
	}
}
