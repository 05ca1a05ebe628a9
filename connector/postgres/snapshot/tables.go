package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// catalog reads what there is to copy, as the view has it.
type catalog struct {
	cfg   Config
	conn  *pgconn.PgConn
	pages string // how to find out how many there are
}

func (s *Snapshot) catalog() catalog { return catalog{s.cfg, s.holder, pagesNow} }

const (
	// publishesGenerated is the first version that sends generated columns.
	publishesGenerated = 180000

	// publishedSQL lists what the publications have, a row a table, and whether one has
	// a list of its columns: the names that the server gives are all where there is none.
	// Versions before 15 have neither lists of columns nor filters of rows.
	publishedSQL = `SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, c.relreplident::text,
  jsonb_agg(DISTINCT to_jsonb(t) -> 'attnames')::text,
  jsonb_agg(DISTINCT coalesce(to_jsonb(t) ->> 'rowfilter', ''))::text,
  EXISTS (SELECT FROM pg_publication_rel l JOIN pg_publication p ON p.oid = l.prpubid WHERE l.prrelid = c.oid
    AND p.pubname = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND to_jsonb(l) ->> 'prattrs' IS NOT NULL)::text
FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE t.pubname = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))) AND c.relpersistence = 'p'
GROUP BY 1, 2, 3, 4, 5, c.oid`

	// publishableSQL lists what a publication of all tables would have.
	publishableSQL = `SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, c.relreplident::text, '[null]', '[""]', 'false'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`

	// leavesSQL lists the tables that hold rows of others, a table itself if it
	// is no partitioned one. How many pages they have, one of two says.
	leavesSQL = `WITH RECURSIVE tree(root, oid) AS (
  SELECT o, o FROM unnest($1::oid[]) o
  UNION ALL SELECT tree.root, i.inhrelid FROM tree JOIN pg_class c ON c.oid = tree.oid AND c.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = tree.oid AND coalesce(to_jsonb(i) ->> 'inhdetachpending', 'false') = 'false')
SELECT tree.root::text, c.oid::text, n.nspname, c.relname, c.relfilenode::text, c.reltuples::text, c.relpages::text,
  %s, current_setting('block_size'),
  (SELECT coalesce(sum(CASE WHEN attlen > 0 THEN attlen ELSE 32 END), 0) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' ORDER BY 1, n.nspname, c.relname`

	// pagesNow are not fewer than a view has. It waits for a table that is locked;
	// pagesAnalysed does not.
	pagesNow      = "coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::int"
	pagesAnalysed = "c.relpages"

	// ancestorsSQL lists the partitioned tables above each one.
	ancestorsSQL = `WITH RECURSIVE up(oid, above) AS (
  SELECT i.inhrelid, i.inhparent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
  WHERE i.inhrelid = ANY ($1::oid[])
  UNION ALL SELECT up.oid, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.above
  JOIN pg_class c ON c.oid = up.above AND c.relispartition)
SELECT oid::text, above::text FROM up`

	columnsSQL = sqltext.BaseTypes + `SELECT a.attrelid::text, a.attnum::text, a.attname, b.name, a.atttypmod::text,
  (` + sqltext.InIdentity + `)::text, a.attgenerated::text, b.base::oid::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN bases b ON b.typ = a.atttypid
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

	referencesSQL = `SELECT DISTINCT conrelid::text, confrelid::text FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY ($1::oid[]) AND confrelid = ANY ($1::oid[])`
)

// read returns the tables in order, with their parts.
func (c catalog) read(ctx context.Context) ([]*table, error) {
	tables, err := c.shapes(ctx)
	if err != nil {
		return nil, err
	}
	views, err := c.views(ctx)
	if err != nil {
		return nil, fmt.Errorf("list views: %w", err)
	}
	tables = append(tables, views...)
	sorted := make([]*table, len(tables))
	for i, t := range tables {
		t.divide(c.cfg.PartRows)
		sorted[i] = &t.table
	}
	edges, err := c.references(ctx, sorted)
	if err != nil {
		return nil, fmt.Errorf("read foreign keys: %w", err)
	}
	if err := c.define(ctx, sorted); err != nil {
		return nil, err
	}
	tie(sorted, edges)
	return order(sorted, edges), nil
}

// shapes returns the tables with their shapes, filters and leaves.
func (c catalog) shapes(ctx context.Context) ([]*published, error) {
	tables, err := c.published(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	if err := c.readLeaves(ctx, tables); err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	if err := c.readColumns(ctx, tables); err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	return tables, nil
}

// published is a table with what the publications have of it.
type published struct {
	table
	lists [][]string // of columns, a different one each; nil: all
}

// published lists the tables that are wanted. What a publication has as a part
// of its root, another one's root has it, too, and it is sent as that.
func (c catalog) published(ctx context.Context) ([]*published, error) {
	sql, args := publishableSQL, []string(nil)
	if !c.cfg.Unpublished {
		sql, args = publishedSQL, []string{jsonText(c.cfg.Publications)}
	}
	rows, err := dial.QueryRows(ctx, c.conn, sql, args...)
	if err != nil {
		return nil, err
	}
	oids := make([]string, len(rows))
	for i, r := range rows {
		oids[i] = r[0]
	}
	above, err := dial.QueryRows(ctx, c.conn, ancestorsSQL, arrayText(oids))
	if err != nil {
		return nil, err
	}
	inside := map[string]bool{}
	for _, r := range above {
		inside[r[0]] = inside[r[0]] || slices.Contains(oids, r[1])
	}
	var tables []*published
	for _, r := range rows {
		if inside[r[0]] || !c.cfg.Wants(r[1], r[2]) {
			continue
		}
		t := &published{table: table{oid: r[0], shape: &entrain.Table{Schema: r[1], Name: r[2], FullIdentity: r[4] == "f"}}}
		t.listed = r[7] == "true"
		if err := t.choose(r[5], r[6]); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.shape, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// choose reads the lists of columns and the filters, as JSON. A row is sent if
// one of the publications sends it.
func (t *published) choose(lists, filters string) error {
	if err := json.Unmarshal([]byte(lists), &t.lists); err != nil {
		return err
	}
	var conditions []string
	if err := json.Unmarshal([]byte(filters), &conditions); err != nil {
		return err
	}
	if !slices.Contains(conditions, "") {
		t.filter = strings.Join(conditions, " OR ")
	}
	if len(t.lists) > 1 {
		return stopListConflict(t.shape)
	}
	return nil
}

// chosen is what the publications have of the table's rows and columns, empty if it is
// all.
func (t *table) chosen() string {
	if t.filter == "" && !t.listed {
		return ""
	}
	columns := "all columns"
	if t.listed {
		names := make([]string, len(t.shape.Columns))
		for i, c := range t.shape.Columns {
			names[i] = c.Name
		}
		columns = sqltext.Idents(names)
	}
	return columns + " WHERE " + t.filter
}

func (c catalog) readLeaves(ctx context.Context, tables []*published) error {
	byOID, oids := indexed(tables)
	rows, err := dial.QueryRows(ctx, c.conn, fmt.Sprintf(leavesSQL, c.pages), arrayText(oids))
	if err != nil {
		return err
	}
	for _, r := range rows {
		t := byOID[r[0]]
		l := &leaf{oid: r[1], schema: r[2], table: r[3], filenode: r[4], pages: integer(r[7])}
		l.analysed, _ = strconv.ParseFloat(r[5], 64)
		l.rows = estimate(l.pages, density{l.analysed, integer(r[6])}, integer(r[9]), integer(r[8]))
		t.leaves = append(t.leaves, l)
	}
	return nil
}

// readColumns gives tables their shapes, and leaves their columns in the same
// order, which is not theirs.
func (c catalog) readColumns(ctx context.Context, tables []*published) error {
	_, oids := indexed(tables)
	for _, t := range tables {
		for _, l := range t.leaves {
			oids = append(oids, l.oid)
		}
	}
	rows, err := dial.QueryRows(ctx, c.conn, columnsSQL, arrayText(oids))
	if err != nil {
		return err
	}
	columns := map[string][][]string{}
	for _, r := range rows {
		columns[r[0]] = append(columns[r[0]], r)
	}
	for _, t := range tables {
		t.numbers = map[string]bool{}
		for _, r := range columns[t.oid] {
			if !c.sends(t, r) {
				continue
			}
			t.numbers[r[1]] = true
			t.shape.Columns = append(t.shape.Columns, entrain.Column{
				Name: r[2], Type: r[3], Modifier: int32(integer(r[4])), Kind: c.cfg.Kind(r[3]), Key: r[5] == "true",
			})
		}
		t.shape.Version = t.shape.Fingerprint()
		for _, l := range t.leaves {
			if err := l.take(t.shape, columns[l.oid]); err != nil {
				return err
			}
		}
	}
	return nil
}

// sends reports whether the stream has a column of the table, a row of
// columnsSQL.
func (c catalog) sends(t *published, r []string) bool {
	name, generated := r[2], r[6]
	switch {
	case t.once:
		return true
	case generated != "" && c.cfg.Version < publishesGenerated:
		return false
	case c.cfg.Unpublished:
		return generated != "v"
	case t.lists[0] == nil:
		return generated == ""
	}
	return slices.Contains(t.lists[0], name)
}

// take finds a leaf's columns by their names.
func (l *leaf) take(shape *entrain.Table, columns [][]string) error {
	for _, want := range shape.Columns {
		i := slices.IndexFunc(columns, func(r []string) bool { return r[2] == want.Name })
		if i < 0 {
			return fmt.Errorf("table %s has no column %q", l.name(), want.Name)
		}
		r := columns[i]
		l.columns = append(l.columns, leafColumn{name: r[2], number: uint16(integer(r[1])), base: uint32(integer(r[7]))})
	}
	return nil
}

func (c catalog) references(ctx context.Context, tables []*table) ([]edge, error) {
	oids := make([]string, len(tables))
	for i, t := range tables {
		oids[i] = t.oid
	}
	rows, err := dial.QueryRows(ctx, c.conn, referencesSQL, arrayText(oids))
	edges := make([]edge, len(rows))
	for i, r := range rows {
		edges[i] = edge{r[0], r[1]}
	}
	return edges, err
}

func indexed(tables []*published) (byOID map[string]*published, oids []string) {
	byOID = map[string]*published{}
	for _, t := range tables {
		byOID[t.oid] = t
		oids = append(oids, t.oid)
	}
	return byOID, oids
}

func arrayText(oids []string) string { return "{" + strings.Join(oids, ",") + "}" }

func jsonText(names []string) string {
	text, _ := json.Marshal(names) // strings do not fail
	return string(text)
}

func integer(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
