package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Target says what a target is for.
type Target struct {
	Session Session
	// Position are the statements that make the schema and the tables of the
	// position and of loads.
	Position []string
	// Own are the names of those tables.
	Own []string
	// Copies: existing rows are to be copied, unless the position says that they
	// were. CreateTables: tables that are missing are made for it.
	Copies, CreateTables bool
	// Pattern is the one in a pipeline file that takes just this table.
	Pattern func(schema, name string) string
	// Pipeline and Source key the position.
	Pipeline, Source string
	// Gate is what is set of the version gate.
	Gate Gate
}

// targetFacts is what the judges of a target see.
type targetFacts struct {
	server
	cfg    Target
	source *entrain.Report // nil: not known

	position position
	tables   []*targetTable // one for each of the source's
	types    map[string]bool
	schemas  map[string]bool

	sequences map[string][]sequence // by the oids of tables
	// roomy are the schemas that our role may make tables in.
	roomy map[string]bool

	// extensions are those that tables which will be made need.
	extensions []extension

	load loadState
	// loading are the tables that loads of the pipeline are under way to.
	loading map[tableName]bool

	gate gateState
}

type tableName struct{ schema, name string }

// position is what the catalog says about the position's table.
type position struct{ schema, schemaUsable, schemaWritable, table, tableWritable, temporary bool }

// targetTable is what a table of the source meets at the target.
type targetTable struct {
	from    *entrain.Table
	index   []string // of the source, that identifies rows
	oid     string   // empty: there is none
	kind    string
	secured bool
	usable  bool     // the schema
	lacking []string // rights
	columns map[string]*targetColumn
	order   []*targetColumn
	keys    []uniqueKey
	fires   []firing
	refs    []reference
	// copied is how existing rows come here; nil if they do not.
	copied *entrain.TableCopy
	refers bool // to other rows, which is checked in our role
	// between are the foreign keys to tables of the pipeline that are checked in our
	// role; asked for only where it matters.
	between []between
	filled  bool // it has rows; known of tables without a key
	// marking are triggers that name the column which marks deleted rows.
	marking []marker
	// gatedBy is another pipeline whose version gate knows the table.
	gatedBy string
}

// targetColumn is a column as it is at the target.
type targetColumn struct {
	Name, Type string
	Modifier   int32
	NotNull    bool
	Default    bool // or identity
	Generated  bool
	InPrimary  bool
	Comparable bool // the type has an equality of its own
	Enum       bool
	Exact      bool   // the collation is deterministic
	DefaultSQL string // "" for none
}

// uniqueKey is a unique index that can identify rows, by names of columns.
type uniqueKey struct {
	primary, immediate bool
	constraint         string
	columns            []string
}

// firing is a trigger or rule that fires in our role.
type firing struct{ relation, what, name string }

// reference is a foreign key that points here and acts.
type reference struct {
	name, child, childColumns, parentColumns string
	childSchema, childName, actions          string
}

// String returns the quoted name.
func (t *targetTable) String() string { return sqltext.Table(t.from.Schema, t.from.Name) }

// keyed returns the columns that identify rows in the log: in the order of the
// source's index if that is known, else in the table's.
func (t *targetTable) keyed() []string {
	var names []string
	for _, c := range t.from.Columns {
		if c.Key && !t.from.FullIdentity {
			names = append(names, c.Name)
		}
	}
	if sameNames(names, t.index) {
		return t.index
	}
	return names
}

// key returns what identifies rows at the target: the source's identity or,
// where that is all columns, the target's primary key, if the source has it.
func (t *targetTable) key() []string {
	if !t.from.FullIdentity {
		return t.keyed()
	}
	for _, k := range t.keys {
		if k.primary && !slices.ContainsFunc(k.columns, func(name string) bool { return !sends(t.from, name) }) {
			return k.columns
		}
	}
	return nil
}

func sends(t *entrain.Table, column string) bool {
	return slices.ContainsFunc(t.Columns, func(c entrain.Column) bool { return c.Name == column })
}

const (
	positionSQL = `SELECT (n.oid IS NOT NULL)::text, coalesce(has_schema_privilege(n.oid, 'USAGE'), false)::text,
  coalesce(has_schema_privilege(n.oid, 'CREATE'), false)::text, (c.oid IS NOT NULL)::text,
  coalesce(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE'), false)::text,
  has_database_privilege(current_database(), 'TEMPORARY')::text
FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = 'entrain'
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'position'`

	targetTablesSQL = `SELECT x.i::text, c.oid::text, c.relkind::text, row_security_active(c.oid)::text,
  has_schema_privilege(n.oid, 'USAGE')::text, concat_ws(', ',
  CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END, CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
  CASE WHEN NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END, CASE WHEN NOT has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END,
  CASE WHEN NOT has_table_privilege(c.oid, 'TRUNCATE') THEN 'TRUNCATE' END)
FROM json_to_recordset($1::json) AS x(i int, s text, n text)
JOIN pg_namespace n ON n.nspname = x.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = x.n
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')`

	targetColumnsSQL = sqltext.BaseTypes + `SELECT a.attrelid::text, a.attname, b.name, greatest(a.atttypmod, b.typmod)::text, a.attnotnull::text,
  (a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL)::text, (a.attgenerated <> '')::text,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey))::text,
  (e.typtype IN ('e', 'c', 'r', 'm') OR e.typcategory = 'A' OR EXISTS (SELECT FROM pg_opclass o
    WHERE o.opcdefault AND o.opcmethod = 403 AND (o.opcintype = b.base OR EXISTS (SELECT FROM pg_cast k
      WHERE k.castsource = b.base AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))))::text,
  (e.typtype = 'e')::text, coalesce((SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation), true)::text,
  coalesce((SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum), '')
FROM pg_attribute a JOIN bases b ON b.typ = a.atttypid JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type e ON e.oid = b.base
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

	targetKeysSQL = `SELECT i.indrelid::text, i.indisprimary::text, i.indimmediate::text, coalesce(k.conname, ''),
  (SELECT json_agg(a.attname ORDER BY k.i) FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k(num, i)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num)::text
FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisunique AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid`

	// Triggers and rules count if they fire in the session's role, for the
	// table and for every partition below it.
	targetFiringSQL = `WITH family AS (
  SELECT r.oid AS root, r.oid AS rel FROM pg_class r WHERE r.oid = ANY ($1::oid[])
  UNION SELECT r.oid, p.relid::oid FROM pg_class r, pg_partition_tree(r.oid) p WHERE r.oid = ANY ($1::oid[]) AND r.relkind = 'p'),
firing AS (
  SELECT ARRAY['A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END]::"char"[] AS on)
SELECT family.root::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname), x.what, x.name
FROM firing, family JOIN pg_class c ON c.oid = family.rel JOIN pg_namespace n ON n.oid = c.relnamespace,
LATERAL (SELECT 'TRIGGER', t.tgname FROM pg_trigger t
    WHERE t.tgrelid = family.rel AND NOT t.tgisinternal AND t.tgenabled = ANY (firing.on)
  UNION ALL SELECT 'RULE', w.rulename FROM pg_rewrite w
    WHERE w.ev_class = family.rel AND w.rulename <> '_RETURN' AND w.ev_enabled = ANY (firing.on)) AS x(what, name)
ORDER BY 1, 2, 3, 4`

	// A copy that a partition has of a reference goes with the original.
	targetReferencesSQL = `SELECT k.confrelid::text, k.conname, n.nspname, c.relname,
  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.i) FROM unnest(k.conkey) WITH ORDINALITY AS u(num, i)
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num),
  (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.i) FROM unnest(k.confkey) WITH ORDINALITY AS u(num, i)
    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num),
  concat_ws(', ', CASE WHEN k.confdeltype IN ('c', 'n', 'd') THEN 'ON DELETE ' || (acts.words ->> k.confdeltype::text) END,
    CASE WHEN k.confupdtype IN ('c', 'n', 'd') THEN 'ON UPDATE ' || (acts.words ->> k.confupdtype::text) END)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
  (SELECT '{"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}'::json) AS acts(words)
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::oid[])
  AND (k.confupdtype IN ('c', 'n', 'd') OR k.confdeltype IN ('c', 'n', 'd')) ORDER BY 1, 3, 4, 2`

	namesSQL = `SELECT 'schema', n.nspname::text,
  (has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'))::text FROM pg_namespace n UNION ALL
SELECT 'type', n.nspname || '.' || t.typname, '' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname <> 'pg_catalog'
UNION ALL SELECT 'type', t.typname, '' FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace`
)

// gather asks for all facts.
func (cfg Target) gather(ctx context.Context, ask Ask, source *entrain.Report) (*targetFacts, error) {
	base, err := gatherServer(ctx, ask, cfg.Session)
	if err != nil {
		return nil, err
	}
	f := &targetFacts{server: base, cfg: cfg, source: source, types: map[string]bool{}, schemas: map[string]bool{},
		roomy: map[string]bool{}, loading: map[tableName]bool{}}
	rows, err := ask(ctx, positionSQL)
	if err != nil {
		return nil, fmt.Errorf("examine %s: look for the position: %w", f.where, err)
	}
	r := rows[0]
	f.position = position{r[0] == "true", r[1] == "true", r[2] == "true", r[3] == "true", r[4] == "true", r[5] == "true"}
	if err := f.readLoads(ctx, ask); err != nil {
		return nil, fmt.Errorf("examine %s: %w", f.where, err)
	}
	if source == nil {
		return f, nil
	}
	if err := f.readTables(ctx, ask); err != nil {
		return nil, fmt.Errorf("examine %s: %w", f.where, err)
	}
	return f, nil
}

func (f *targetFacts) readTables(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, namesSQL)
	if err != nil {
		return fmt.Errorf("read names: %w", err)
	}
	for _, r := range rows {
		map[string]map[string]bool{"schema": f.schemas, "type": f.types}[r[0]][r[1]] = true
		if r[2] == "true" {
			f.roomy[r[1]] = true
		}
	}
	type wanted struct {
		I int    `json:"i"`
		S string `json:"s"`
		N string `json:"n"`
	}
	list := make([]wanted, len(f.source.Tables))
	for i, t := range f.source.Tables {
		list[i] = wanted{i, t.Schema, t.Name}
		f.tables = append(f.tables, &targetTable{from: t, index: f.source.Keys[t], columns: map[string]*targetColumn{}})
	}
	f.markCopied()
	if rows, err = ask(ctx, targetTablesSQL, jsonText(list)); err != nil {
		return fmt.Errorf("look for tables: %w", err)
	}
	byOID, oids := map[string]*targetTable{}, []string{}
	for _, r := range rows {
		t := f.tables[integer(r[0])]
		t.oid, t.kind, t.secured, t.usable = r[1], r[2], r[3] == "true", r[4] == "true"
		if r[5] != "" {
			t.lacking = strings.Split(r[5], ", ")
		}
		if t.plain() {
			byOID[t.oid], oids = t, append(oids, t.oid)
		}
	}
	if err := f.readGate(ctx, ask, targetDetails{byOID, "{" + join(oids) + "}"}); err != nil {
		return err
	}
	if f.sequences, err = readSequences(ctx, ask, oids); err != nil {
		return err
	}
	if err := f.readDetails(ctx, ask, targetDetails{byOID, "{" + join(oids) + "}"}); err != nil {
		return err
	}
	if err := f.readExtensions(ctx, ask); err != nil {
		return err
	}
	return f.readFilled(ctx, ask)
}

// plain reports whether there is a table that changes can go to.
func (t *targetTable) plain() bool { return t.kind == "r" || t.kind == "p" }

// targetDetails says which tables to read more about.
type targetDetails struct {
	byOID map[string]*targetTable
	oids  string // as an array
}

// detail is a query whose rows have a table's oid first.
type detail struct {
	what, sql string
	take      func(t *targetTable, r []string) error
}

// readDetails runs a query a kind of detail; each has the table's oid first.
func (f *targetFacts) readDetails(ctx context.Context, ask Ask, d targetDetails) error {
	details := []detail{
		{"columns", targetColumnsSQL, (*targetTable).takeColumn},
		{"unique indexes", targetKeysSQL, (*targetTable).takeKey},
		{"triggers and rules", targetFiringSQL, (*targetTable).takeFiring},
		{"foreign keys", targetReferencesSQL, (*targetTable).takeReference},
		{"references that are checked", targetEnforcedSQL, (*targetTable).takeEnforced},
	}
	if divided(f) || classed(f) {
		details = append(details, detail{"references between the tables", targetBetweenSQL, (*targetTable).takeBetween})
	}
	for _, detail := range details {
		rows, err := ask(ctx, detail.sql, d.oids)
		if err != nil {
			return fmt.Errorf("read %s: %w", detail.what, err)
		}
		for _, r := range rows {
			if err := detail.take(d.byOID[r[0]], r[1:]); err != nil {
				return fmt.Errorf("read %s: %w", detail.what, err)
			}
		}
	}
	return nil
}

func (t *targetTable) takeColumn(r []string) error {
	c := &targetColumn{Name: r[0], Type: r[1], Modifier: int32(integer(r[2])), NotNull: r[3] == "true", Default: r[4] == "true",
		Generated: r[5] == "true", InPrimary: r[6] == "true", Comparable: r[7] == "true",
		Enum: r[8] == "true", Exact: r[9] == "true", DefaultSQL: r[10]}
	t.columns[c.Name], t.order = c, append(t.order, c)
	return nil
}

func (t *targetTable) takeKey(r []string) error {
	k := uniqueKey{primary: r[0] == "true", immediate: r[1] == "true", constraint: r[2]}
	t.keys = append(t.keys, k)
	if err := json.Unmarshal([]byte(r[3]), &t.keys[len(t.keys)-1].columns); err != nil {
		return err
	}
	return nil
}

func (t *targetTable) takeFiring(r []string) error {
	t.fires = append(t.fires, firing{r[0], r[1], r[2]})
	return nil
}

func (t *targetTable) takeEnforced([]string) error {
	t.refers = true
	return nil
}

func (t *targetTable) takeReference(r []string) error {
	t.refs = append(t.refs, reference{name: r[0], childSchema: r[1], childName: r[2], child: sqltext.Table(r[1], r[2]),
		childColumns: r[3], parentColumns: r[4], actions: r[5]})
	return nil
}
