package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
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

	// leaves are the tables that hold a partitioned table's rows. The server
	// logs a row by the leaf's identity and, published through the root,
	// describes it by the root's: they must be equal.
	leaves []leafTable
}

type leafTable struct {
	name, identity string
	published      bool
}

const identityFull = "*"

// replicaIdentitySQL is the identity of the relation that alias of pg_class stands
// for, judged as the server does: an index that is deferrable does not count.
func replicaIdentitySQL(alias string) string {
	return strings.ReplaceAll(`CASE c.relreplident WHEN 'f' THEN '*' WHEN 'n' THEN '' ELSE (
		SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attname)
		FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid
			AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
		WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
			AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END`,
		"c.", alias+".")
}

// tables lists the wanted tables of the database and which of them the
// publication publishes. It asks by a connection of its own: what a walsender
// looks up about a table stays in its cache, and from there it would describe
// rows of the past by the table's present shape.
func (s *Source) tables(ctx context.Context) ([]sourceTable, error) {
	published := "(SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = $1)"
	var rows [][]string
	err := s.withConn(ctx, func(conn *pgconn.PgConn) (err error) {
		rows, err = queryRows(ctx, conn, `SELECT n.nspname, c.relname, c.relispartition, `+replicaIdentitySQL("c")+`,
		c.relreplident = 'd', c.relkind = 'p', (n.nspname, c.relname) IN `+published+`,
		m.nspname, l.relname, `+replicaIdentitySQL("l")+`, (m.nspname, l.relname) IN `+published+`
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN LATERAL pg_partition_tree(c.oid) p ON c.relkind = 'p' AND p.isleaf
		LEFT JOIN pg_class l ON l.oid = p.relid AND l.relkind = 'r' AND l.relpersistence = 'p'
		LEFT JOIN pg_namespace m ON m.oid = l.relnamespace
		WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
		AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
			AND d.objid = c.oid AND d.deptype = 'e')
		ORDER BY 1, 2, 8, 9`, s.cfg.Publication)
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
		name := quoteTable(r[0], r[1])
		if len(tables) == 0 || tables[len(tables)-1].name != name {
			tables = append(tables, sourceTable{
				name: name, partition: r[2] == "t", identity: r[3], byKey: r[4] == "t",
				partitioned: r[5] == "t", published: r[6] == "t",
			})
		}
		if r[8] != "" {
			t := &tables[len(tables)-1]
			t.leaves = append(t.leaves, leafTable{quoteTable(r[7], r[8]), r[9], r[10] == "t"})
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

// carried reports whether the publication publishes the table's rows, as its
// own or as those of its leaves.
func (t *sourceTable) carried(pub publication) bool {
	if t.published || pub.viaRoot || !t.partitioned {
		return t.published
	}
	for _, leaf := range t.leaves {
		if !leaf.published {
			return false
		}
	}
	return true
}
