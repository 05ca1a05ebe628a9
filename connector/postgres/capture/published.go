package capture

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// sourceTable is a table that could be published, as the catalog shows it.
type sourceTable struct {
	name        string // quoted
	partition   bool
	partitioned bool
	published   bool // as itself, not as a part of its root

	// identity is what identifies a row in the log: identityFull, the columns
	// of an index, or nothing. With byKey that index is the primary key.
	identity string
	byKey    bool
	// Generated columns of the identity that the log does not carry: of the
	// stored ones what the publication leaves out, of the virtual ones all.
	stored, virtual string

	// leaves are the tables that hold a partitioned table's rows. The server
	// logs a row by the leaf's identity and, published through the root,
	// describes it by the root's: they must be equal.
	leaves []leafTable

	// member is the first publication that has the table itself, whatever it is
	// published as.
	member string
}

type leafTable struct {
	name, identity string
	published      bool
	wanted         bool
}

const identityFull = "*"

// replicaIdentitySQL is the identity of the relation that alias of pg_class
// stands for.
func replicaIdentitySQL(alias string) string { return sqltext.ReplicaIdentity(alias) }

// hiddenSQL names the generated columns of a kind that are in the identity of
// pg_class c but in none of the lists of p, what is published of it. Before
// version 18 they may be in such a list, but are not sent.
func hiddenSQL(kind string) string {
	return `(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '` + kind + `'
		AND (p.lists @> jsonb_build_array(jsonb_build_array(a.attname))
			AND current_setting('server_version_num')::int >= ` + strconv.Itoa(publishesGenerated) + `) IS NOT TRUE
		AND (c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
			AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
			AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END)))`
}

// memberSQL is the first of the publications that has pg_class c, other than as
// a part of a schema.
func memberSQL(publications string) string {
	return `(SELECT min(u.pubname) FROM pg_publication u WHERE u.pubname IN (` + publications + `) AND (u.puballtables
		OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = u.oid AND r.prrelid = c.oid)))`
}

// tables lists the wanted tables of the database and which of them the
// publications publish. It asks by a connection of its own: what a walsender
// looks up about a table stays in its cache, and from there it would describe
// rows of the past by the table's present shape.
func (s *Source) tables(ctx context.Context) ([]sourceTable, error) {
	var rows [][]string
	err := s.withConn(ctx, func(conn *pgconn.PgConn) (err error) {
		rows, err = dial.QueryRows(ctx, conn, `WITH p AS MATERIALIZED (
			SELECT schemaname, tablename, jsonb_agg(to_jsonb(t) -> 'attnames') AS lists
			FROM pg_publication_tables t WHERE pubname IN (`+quoteEach(s.cfg.publications(), sqltext.Literal)+`) GROUP BY 1, 2)
		SELECT n.nspname, c.relname, c.relispartition, `+replicaIdentitySQL("c")+`,
		c.relreplident = 'd', c.relkind = 'p', p.lists IS NOT NULL,
		m.nspname, l.relname, `+replicaIdentitySQL("l")+`, q.lists IS NOT NULL, `+hiddenSQL("s")+`, `+hiddenSQL("v")+`,
		`+memberSQL(quoteEach(s.cfg.publications(), sqltext.Literal))+`
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN p ON p.schemaname = n.nspname AND p.tablename = c.relname
		LEFT JOIN LATERAL pg_partition_tree(c.oid) f ON c.relkind = 'p' AND f.isleaf
		LEFT JOIN pg_class l ON l.oid = f.relid AND l.relkind = 'r' AND l.relpersistence = 'p'
		LEFT JOIN pg_namespace m ON m.oid = l.relnamespace
		LEFT JOIN p q ON q.schemaname = m.nspname AND q.tablename = l.relname
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
		AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
			AND d.objid = c.oid AND d.deptype = 'e')
		ORDER BY 1, 2, 8, 9`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var tables []sourceTable
	for _, r := range rows {
		if !s.wants(r[0], r[1]) {
			continue
		}
		name := sqltext.Table(r[0], r[1])
		if len(tables) == 0 || tables[len(tables)-1].name != name {
			tables = append(tables, sourceTable{
				name: name, partition: r[2] == "t", identity: r[3], byKey: r[4] == "t",
				partitioned: r[5] == "t", published: r[6] == "t", stored: r[11], virtual: r[12], member: r[13],
			})
		}
		if r[8] != "" {
			t := &tables[len(tables)-1]
			t.leaves = append(t.leaves, leafTable{
				name: sqltext.Table(r[7], r[8]), identity: r[9], published: r[10] == "t", wanted: s.wants(r[7], r[8])})
		}
	}
	return tables, nil
}

// bare names what of the table has no identity: its updates and deletes fail
// at the source once it is published.
func (t *sourceTable) bare() []string {
	var names []string
	if t.identity == "" {
		names = append(names, t.name)
	}
	for _, leaf := range t.leaves {
		if leaf.identity == "" {
			names = append(names, leaf.name)
		}
	}
	return names
}

// mixed names the leaves whose rows the log would describe wrongly.
func (t *sourceTable) mixed() []string {
	var names []string
	for _, leaf := range t.leaves {
		if leaf.identity != "" && leaf.identity != t.identity {
			names = append(names, leaf.name)
		}
	}
	return names
}

// mend is the SQL that gives the table and its leaves one identity. ALTER
// TABLE … REPLICA IDENTITY does not recurse. The leaves of a table with a
// primary key have it, too.
func (t *sourceTable) mend() []string {
	want, form := identityFull, "FULL"
	if t.byKey && t.identity != "" {
		want, form = t.identity, "DEFAULT"
	}
	var sql []string
	alter := func(name, identity string) {
		if identity != want {
			sql = append(sql, "ALTER TABLE "+name+" REPLICA IDENTITY "+form+";")
		}
	}
	alter(t.name, t.identity)
	for _, leaf := range t.leaves {
		alter(leaf.name, leaf.identity)
	}
	return sql
}

// unknowable names the generated columns of the identity that no publication of
// that version of the server carries.
func (t *sourceTable) unknowable(version int) string {
	switch {
	case version >= publishesGenerated:
		return t.virtual
	case t.identity == identityFull:
		return "" // the other columns are all there
	}
	return t.stored
}

// mendGenerated is the SQL for another identity, of the table and its leaves.
func (t *sourceTable) mendGenerated() string {
	form := "FULL"
	if t.identity == identityFull {
		form = "DEFAULT"
	}
	sql := "ALTER TABLE " + t.name + " REPLICA IDENTITY " + form + ";"
	for _, leaf := range t.leaves {
		sql += " ALTER TABLE " + leaf.name + " REPLICA IDENTITY " + form + ";"
	}
	return sql
}

// carried reports whether the publication publishes the table's rows, as its
// own or as those of its leaves, under names that are wanted.
func (t *sourceTable) carried(pub publication) bool {
	if t.published || pub.viaRoot || !t.partitioned {
		return t.published
	}
	for _, leaf := range t.leaves {
		if !leaf.published || !leaf.wanted {
			return false
		}
	}
	return true
}

// splits reports whether the publication would send the table as its leaves, some
// of which are not wanted.
func (t *sourceTable) splits(pub publication) bool {
	return !pub.viaRoot && slices.ContainsFunc(t.leaves, func(leaf leafTable) bool { return !leaf.wanted })
}

// publish is the SQL that has the publications send the table's changes under
// its name.
func (t *sourceTable) publish(pub publication, name string) string {
	var sql []string
	if t.member == "" {
		sql = append(sql, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", sqltext.Ident(name), t.name))
	} else {
		name = t.member
	}
	if t.splits(pub) {
		sql = append(sql, fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true);", sqltext.Ident(name)))
	}
	return strings.Join(sql, " ")
}
