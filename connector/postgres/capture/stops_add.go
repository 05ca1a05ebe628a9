package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The named stops of a table that is to be captured, too.

// stopTableExcluded is for a table that the key of the configuration leaves out;
// "" stands for the tool's own schema.
func stopTableExcluded(schema, name, key string) error {
	stop := &entrain.Stop{
		Code: "table_excluded",
		What: fmt.Sprintf("table %s.%s is not captured: %s in FILE leaves it out", schema, name, key),
		Why:  "what the file says decides; the publication alone would change nothing",
		Next: fmt.Sprintf("change %s in FILE, run it again, and add the table then", key),
	}
	if key == "" {
		stop.What = fmt.Sprintf("table %s.%s is one of entrain's own", schema, name)
		stop.Why = "the schema " + ownSchema + " is never captured: it would feed itself"
		stop.Next = "give another table"
	}
	return stop
}

func stopTableUnknown(schema, name string) error {
	return &entrain.Stop{
		Code: "table_unknown",
		What: fmt.Sprintf("the source has no table %s.%s that can be captured", schema, name),
		Why: "it does not exist, or is a view, a foreign, temporary or unlogged table, or a part of an extension; " +
			"capital letters count",
		Next: "SELECT schemaname, tablename FROM pg_catalog.pg_tables; -- lists the tables that there are",
	}
}

// stopPartitionAdded is for a partition whose changes come under its root's name.
func stopPartitionAdded(t sourceTable, root string) error {
	return &entrain.Stop{
		Code: "table_is_partition",
		What: fmt.Sprintf("table %s is a partition of %s", t.name, root),
		Why:  "the publication sends the rows of partitions as those of their partitioned table",
		Next: fmt.Sprintf("add %s instead, if it is not captured yet", root),
	}
}

// stopSentAsPartitions is for a table whose publication would send it as its
// partitions, some of which are left out. To change that changes how other tables
// come.
func stopSentAsPartitions(t sourceTable, sql string) error {
	return &entrain.Stop{
		Code: "table_sent_as_partitions",
		What: fmt.Sprintf("the publication sends table %s as its partitions, not all of which source.tables takes", t.name),
		Why:  "publish_via_partition_root is off; set, it changes under what names all partitioned tables of the publication come",
		Next: sql + " -- by the owner of the publication; or let source.tables take the partitions",
	}
}

// refusedTable is a table that could not be added to a publication, by which SQL.
type refusedTable struct {
	pub alterable
	t   sourceTable
	add string
}

// stopTableNotAdded says who can add it.
func (s *Source) stopTableNotAdded(ctx context.Context, r refusedTable, err error) error {
	if dial.SQLState(err) == stateReadOnly {
		return &entrain.Stop{
			Code: "table_not_added",
			What: fmt.Sprintf("table %s cannot be added to publication %q here", r.t.name, s.cfg.publications()[0]),
			Why:  "the source is a standby or read-only: a publication is changed on the primary and arrives from there",
			Next: r.add + " -- on the primary, by the owner of the publication and the table",
			Err:  err,
		}
	}
	owner := "another role"
	_ = s.withConn(ctx, func(conn *pgconn.PgConn) error { // the refusal is what counts
		row, err := dial.QueryRow(ctx, conn, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass($1)", r.t.name)
		if err == nil && row != nil {
			owner = fmt.Sprintf("role %q", row[0])
		}
		return nil
	})
	return &entrain.Stop{
		Code: "table_not_added",
		What: fmt.Sprintf("this role may not add table %s to publication %q", r.t.name, s.cfg.publications()[0]),
		Why: fmt.Sprintf("that takes the owner of both, or a member of the owners: the publication is role %q's, the table %s's",
			r.pub.owner, owner),
		Next: r.add + " -- by such a role or a superuser; then add the table again",
		Err:  err,
	}
}

// publishGenerated is the SQL that makes a publication send the generated columns
// that the server stores.
func publishGenerated(publication string) string {
	return fmt.Sprintf("ALTER PUBLICATION %s SET (publish_generated_columns = stored);", sqltext.Ident(publication))
}
