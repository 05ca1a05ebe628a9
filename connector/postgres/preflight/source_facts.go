package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Source says what a source is configured to do.
type Source struct {
	Session Session
	// Slot and Publications to read from.
	Slot         string
	Publications []string
	// CreateSlot and CreatePublication: what is missing will be made.
	CreateSlot, CreatePublication bool
	// Listed: the file lists the tables to capture.
	Listed bool
	// Wants is what the list means; it takes unquoted names.
	Wants func(schema, name string) bool
	// Named chooses the views and the like that a copy takes, too; nil: none.
	Named func(schema, name string) bool
	// Never: no rows are ever copied.
	Never bool
	// Copies chooses the tables whose existing rows will be copied; nil: none.
	Copies func(schema, name string) bool
	// Standalone: no changes are captured, so that nothing is made that lasts.
	Standalone bool
	// Given: the file lists the publications, which are never made here.
	Given bool
	// Kind says how values of a type, named as in entrain.Column, read.
	Kind func(typ string) entrain.Kind
	// Size writes a number of bytes as people do.
	Size func(bytes int64) string
	// Application is what the pipeline's own replication sessions are called.
	Application string
	// DecodingWorkMem is what the file sets; 0: what the server has. MuchHeld
	// is how much log a slot may hold back. Both in bytes.
	DecodingWorkMem, MuchHeld int64
	// Replication is why a replication session failed that was tried, if it
	// did so for a reason that no right or setting explains.
	Replication error
}

// sourceFacts is what the judges of a source see.
type sourceFacts struct {
	server
	cfg Source

	slotsUsed, sendersUsed int64
	slot                   slot
	pub                    publications
	tables                 []*table // that are wanted
	// carried are those of them that the publications have or will get.
	carried   []*table
	views     []*table           // views, materialized ones and foreign tables that are wanted by their names
	sequences []entrain.Sequence // of those
	spilled   int64              // transactions of the slot that did not fit in memory
}

// slot is ours as the catalog shows it; its zero value is one that is missing.
type slot struct {
	exists, active, temporary  bool
	plugin, database           string
	status, reason             string
	pid, application, loggedIn string
	held                       int64
}

// publications are those of the source taken together.
type publications struct {
	missing     []string
	viaRoot     bool
	unpublished []string // actions that none of them publishes
	identified  bool     // updates or deletes are published
}

// table is one that the source wants.
type table struct {
	oid, schema, name           string
	kind, persistence, identity string
	form                        string // of the identity: d, n, i or f
	partition, published        bool
	selectable, usable, secured bool
	primary                     bool // has a primary key that can identify rows
	owner                       string
	owned                       bool // by our role, or by one that it may act as
	ownerMayCreate              bool // in the database
	columns                     []column
	lists                       [][]string // of columns, as published
	filters                     []filter
	leaves                      []*table
	foreign                     []*table // leaves that are foreign tables
	member                      string   // the first publication that has it itself; empty: none
	extensions                  []entrain.Extension
}

// column is one of a table.
type column struct {
	num, name, typ string
	modifier       int32
	key            bool
	keyAt          int64  // its place in the index that identifies rows
	generated      string // s stored, v virtual
	toasted        bool   // its values may be kept apart
}

// filter is what one publication leaves out of a table.
type filter struct {
	publication, rows string
	rowColumns        []string // numbers of the columns that rows looks at
	list              []string // numbers; nil: all columns
}

// String returns the quoted name.
func (t *table) String() string { return sqltext.Table(t.schema, t.name) }

const (
	usageSQL = `SELECT (SELECT count(*) FROM pg_replication_slots)::text, (SELECT count(*) FROM pg_stat_replication)::text`

	slotSQL = `SELECT s.active::text, s.temporary::text, coalesce(s.plugin, ''), coalesce(s.database, ''), coalesce(s.wal_status, ''),
  coalesce(to_jsonb(s) ->> 'invalidation_reason', ''), coalesce(s.active_pid::text, ''), coalesce(a.application_name, ''),
  coalesce(a.usename::text, ''), coalesce(e.lsn - s.restart_lsn, 0)::bigint::text,
  coalesce((SELECT spill_txns FROM pg_stat_replication_slots w WHERE w.slot_name = s.slot_name), 0)::text
FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid, LATERAL (SELECT CASE
  WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END) AS e(lsn)
WHERE s.slot_name = $1`

	publicationSQL = `SELECT pubname, pubviaroot::text, pubinsert::text, pubupdate::text, pubdelete::text, pubtruncate::text
FROM pg_publication WHERE pubname = ANY (ARRAY(SELECT json_array_elements_text($1::json)))`

	// The schemas are the system's; the list of published columns is there
	// from version 15 on.
	tablesSQL = `WITH p AS MATERIALIZED (
  SELECT schemaname, tablename, jsonb_agg(to_jsonb(t) -> 'attnames') AS lists FROM pg_publication_tables t
  WHERE pubname = ANY (ARRAY(SELECT json_array_elements_text($1::json))) GROUP BY 1, 2)
SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, %s, c.relreplident::text,
  c.relispartition::text, (p.lists IS NOT NULL)::text, has_table_privilege(c.oid, 'SELECT')::text,
  has_schema_privilege(n.oid, 'USAGE')::text, row_security_active(c.oid)::text,
  (EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate))::text,
  coalesce(p.lists::text, '[]'), pg_has_role(c.relowner, 'USAGE')::text, pg_get_userbyid(c.relowner),
  has_database_privilege(c.relowner, current_database(), 'CREATE')::text,
  coalesce((SELECT min(u.pubname) FROM pg_publication u
    WHERE u.pubname = ANY (ARRAY(SELECT json_array_elements_text($1::json))) AND (u.puballtables
      OR EXISTS (SELECT FROM pg_publication_rel m WHERE m.prpubid = u.oid AND m.prrelid = c.oid))), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN p ON p.schemaname = n.nspname AND p.tablename = c.relname
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3`

	leavesSQL = `SELECT r.oid::text, p.relid::oid::text, n.nspname, l.relname, %s, l.relreplident::text, l.relkind::text,
  l.relpersistence::text, has_table_privilege(l.oid, 'SELECT')::text, has_schema_privilege(n.oid, 'USAGE')::text, row_security_active(l.oid)::text
FROM pg_class r, pg_partition_tree(r.oid) p JOIN pg_class l ON l.oid = p.relid JOIN pg_namespace n ON n.oid = l.relnamespace
WHERE r.oid = ANY ($1::oid[]) AND p.isleaf AND l.relkind IN ('r', 'f') ORDER BY 1, 3, 4`

	columnsSQL = sqltext.BaseTypes + `SELECT a.attrelid::text, a.attnum::text, a.attname, b.name, greatest(a.atttypmod, b.typmod)::text,
  (` + sqltext.InIdentity + `)::text,
  a.attgenerated::text, (a.attlen = -1 AND a.attstorage <> 'p')::text,
  coalesce((SELECT array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
    AND i.indimmediate AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END), 0)::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN bases b ON b.typ = a.atttypid
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

	// neededSQL lists the extensions whose types, functions and operator classes
	// the tables use, with the names of these types.
	neededSQL = sqltext.BaseTypes + `, parts(tab, class, obj, name) AS (
  SELECT a.attrelid, 'pg_type'::regclass, o.typ, b.name FROM pg_attribute a JOIN bases b ON b.typ = a.atttypid JOIN pg_type t ON t.oid = b.base,
    LATERAL (VALUES (b.base), (t.typelem)) o(typ) WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT used.tab, d.refclassid::regclass, d.refobjid, NULL FROM (
    SELECT adrelid, 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY ($1::oid[])
    UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY ($1::oid[])
    UNION ALL SELECT indrelid, 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = ANY ($1::oid[])) used(tab, class, obj)
    JOIN pg_depend d ON d.classid = used.class AND d.objid = used.obj)
SELECT parts.tab::text, n.nspname, e.extname, coalesce(json_agg(DISTINCT parts.name) FILTER (WHERE parts.name IS NOT NULL), '[]')::text
FROM parts JOIN pg_depend x ON x.classid = parts.class AND x.objid = parts.obj AND x.deptype = 'e' AND x.refclassid = 'pg_extension'::regclass
JOIN pg_extension e ON e.oid = x.refobjid JOIN pg_namespace n ON n.oid = e.extnamespace GROUP BY 1, 2, 3 ORDER BY 1, 3`

	// filtersSQL is for versions from 15 on, which have them.
	filtersSQL = `SELECT r.prrelid::text, p.pubname, coalesce(pg_get_expr(r.prqual, r.prrelid), ''),
  coalesce((SELECT json_agg(DISTINCT m[1]) FROM regexp_matches(r.prqual::text, ':varattno (\d+)', 'g') AS m)::text, '[]'),
  coalesce((SELECT json_agg(k::text) FROM unnest(r.prattrs::int2[]) AS k)::text, 'null')
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
WHERE p.pubname = ANY (ARRAY(SELECT json_array_elements_text($1::json))) AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)`
)

// gather asks for all facts.
func (cfg Source) gather(ctx context.Context, ask Ask) (*sourceFacts, error) {
	base, err := gatherServer(ctx, ask, cfg.Session)
	if err != nil {
		return nil, err
	}
	f := &sourceFacts{server: base, cfg: cfg}
	for _, step := range []func(context.Context, Ask) error{f.readUsage, f.readSlot, f.readPublications, f.readTables, f.readSequences} {
		if err := step(ctx, ask); err != nil {
			return nil, fmt.Errorf("examine %s: %w", f.where, err)
		}
	}
	return f, nil
}

func (f *sourceFacts) readUsage(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, usageSQL)
	if err != nil {
		return fmt.Errorf("count slots and senders: %w", err)
	}
	f.slotsUsed, f.sendersUsed = integer(rows[0][0]), integer(rows[0][1])
	return nil
}

func (f *sourceFacts) readSlot(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, slotSQL, f.cfg.Slot)
	if err != nil {
		return fmt.Errorf("read replication slot %s: %w", f.cfg.Slot, err)
	}
	if len(rows) == 0 {
		return nil
	}
	r := rows[0]
	f.slot = slot{exists: true, active: r[0] == "true", temporary: r[1] == "true", plugin: r[2], database: r[3], status: r[4],
		reason: r[5], pid: r[6], application: r[7], loggedIn: r[8], held: integer(r[9])}
	f.spilled = integer(r[10])
	return nil
}

func (f *sourceFacts) readPublications(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, publicationSQL, jsonText(f.cfg.Publications))
	if err != nil {
		return fmt.Errorf("read publications: %w", err)
	}
	found, published := map[string]bool{}, map[string]bool{}
	actions := [...]string{"insert", "update", "delete", "truncate"}
	for _, r := range rows {
		found[r[0]] = true
		f.pub.viaRoot = f.pub.viaRoot || r[1] == "true"
		for i, action := range actions {
			published[action] = published[action] || r[2+i] == "true"
		}
	}
	for _, name := range f.cfg.Publications {
		if !found[name] {
			f.pub.missing = append(f.pub.missing, name)
		}
	}
	for _, action := range actions {
		if !published[action] && len(rows) > 0 {
			f.pub.unpublished = append(f.pub.unpublished, action)
		}
	}
	f.pub.identified = len(rows) == 0 || published["update"] || published["delete"]
	return nil
}

func (f *sourceFacts) readTables(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, fmt.Sprintf(tablesSQL, sqltext.ReplicaIdentity("c")), jsonText(f.cfg.Publications))
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	byOID, oids := map[string]*table{}, []string{}
	for _, r := range rows {
		view := strings.Contains("vmf", r[3])
		if !f.cfg.Wants(r[1], r[2]) || view && (f.cfg.Named == nil || !f.cfg.Named(r[1], r[2])) {
			continue
		}
		t := &table{oid: r[0], schema: r[1], name: r[2], kind: r[3], persistence: r[4], identity: r[5], form: r[6],
			partition: r[7] == "true", published: r[8] == "true", selectable: r[9] == "true", usable: r[10] == "true",
			secured: r[11] == "true", primary: r[12] == "true", owned: r[14] == "true", owner: r[15], ownerMayCreate: r[16] == "true",
			member: r[17]}
		if err := json.Unmarshal([]byte(r[13]), &t.lists); err != nil {
			return fmt.Errorf("columns published of table %s: %w", t, err)
		}
		byOID[t.oid], oids = t, append(oids, t.oid)
		if view {
			f.views = append(f.views, t)
			continue
		}
		f.tables = append(f.tables, t)
		if t.published || len(f.pub.missing) > 0 && !t.partition && t.persistence == "p" {
			f.carried = append(f.carried, t)
		}
	}
	return f.readDetails(ctx, ask, details{byOID, "{" + join(oids) + "}"})
}

// details says which tables to read more about.
type details struct {
	byOID map[string]*table
	oids  string // as an array
}

func (f *sourceFacts) readDetails(ctx context.Context, ask Ask, d details) error {
	rows, err := ask(ctx, columnsSQL, d.oids)
	if err != nil {
		return fmt.Errorf("read columns: %w", err)
	}
	for _, r := range rows {
		t := d.byOID[r[0]]
		t.columns = append(t.columns, column{num: r[1], name: r[2], typ: r[3], modifier: int32(integer(r[4])), key: r[5] == "true",
			generated: r[6], toasted: r[7] == "true", keyAt: integer(r[8])})
	}
	if rows, err = ask(ctx, neededSQL, d.oids); err != nil {
		return fmt.Errorf("read extensions: %w", err)
	}
	for _, r := range rows {
		x := entrain.Extension{Schema: r[1], Name: r[2]}
		if err := json.Unmarshal([]byte(r[3]), &x.Types); err != nil {
			return fmt.Errorf("types of extension %s: %w", x.Name, err)
		}
		d.byOID[r[0]].extensions = append(d.byOID[r[0]].extensions, x)
	}
	if rows, err = ask(ctx, fmt.Sprintf(leavesSQL, sqltext.ReplicaIdentity("l")), d.oids); err != nil {
		return fmt.Errorf("read partitions: %w", err)
	}
	for _, r := range rows {
		root := d.byOID[r[0]]
		leaf := &table{oid: r[1], schema: r[2], name: r[3], identity: r[4], form: r[5], kind: r[6], persistence: r[7],
			selectable: r[8] == "true", usable: r[9] == "true", secured: r[10] == "true"}
		switch {
		case root.kind != "p":
		case leaf.kind == "f":
			root.foreign = append(root.foreign, leaf)
		default:
			root.leaves = append(root.leaves, leaf)
		}
	}
	if f.version < 150000 {
		return nil
	}
	if rows, err = ask(ctx, filtersSQL, jsonText(f.cfg.Publications)); err != nil {
		return fmt.Errorf("read row filters: %w", err)
	}
	for _, r := range rows {
		t := d.byOID[r[0]]
		if t == nil {
			continue
		}
		fl := filter{publication: r[1], rows: r[2]}
		if err := json.Unmarshal([]byte(r[3]), &fl.rowColumns); err != nil {
			return fmt.Errorf("row filter of table %s: %w", t, err)
		}
		if err := json.Unmarshal([]byte(r[4]), &fl.list); err != nil {
			return fmt.Errorf("column list of table %s: %w", t, err)
		}
		t.filters = append(t.filters, fl)
	}
	return nil
}

func integer(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
