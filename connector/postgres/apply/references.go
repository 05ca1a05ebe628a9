package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector/postgres/applyplan"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/jackc/pgx/v5/pgconn"
)

// reference is a foreign key between two tables, by their oids.
type reference struct {
	child, parent string
	// For messages, quoted; constraint is empty for the copies that partitions
	// have of a reference of the whole table.
	childName, constraint string
	name                  string // of child and constraint, as an error has them
	// What happens to the child when the parent is deleted or updated.
	updateActs, deleteActs, cascades bool
	columns                          []string // attnums of the parent
	childColumns                     []string // of the child, in the same order
}

// loadGraph reads the references between all tables, once.
func (c *catalog) loadGraph(ctx context.Context) error {
	if c.graph != nil {
		return nil
	}
	fks, err := dial.QueryRows(ctx, c.conn, catalogForeignKeysSQL)
	if err != nil {
		return fmt.Errorf("read the target's foreign keys: %w", err)
	}
	parts, err := dial.QueryRows(ctx, c.conn, catalogPartsSQL)
	if err != nil {
		return fmt.Errorf("read the target's partitions: %w", err)
	}
	late, err := dial.QueryRows(ctx, c.conn, catalogDeferrableSQL)
	if err != nil {
		return fmt.Errorf("read the target's deferrable constraints: %w", err)
	}
	c.late = map[string]bool{}
	for _, row := range late {
		c.late[row[0]] = true
	}
	c.refs = c.refs[:0]
	keys := make([]applyplan.ForeignKey, len(fks))
	for i, row := range fks {
		ref := reference{child: row[0], parent: row[1], updateActs: row[3] == "true",
			deleteActs: row[4] == "true", cascades: row[5] == "true", columns: strings.Fields(row[6]), childName: row[7], childColumns: strings.Fields(row[9]), name: row[11] + "." + row[10]}
		if row[8] != "" {
			ref.constraint = sqltext.Ident(row[8])
		}
		c.refs = append(c.refs, ref)
		keys[i] = applyplan.ForeignKey{Child: parseOID(row[0]), Parent: parseOID(row[1]), Deferrable: row[2] == "true"}
	}
	c.parent = map[string]string{}
	alike := make([][2]uint32, len(parts))
	for i, row := range parts {
		c.parent[row[0]] = row[1]
		alike[i] = [2]uint32{parseOID(row[0]), parseOID(row[1])}
	}
	c.graph = applyplan.NewGraph(keys, alike)
	c.since = time.Now()
	return nil
}

// knowsReference reports whether the reference that refused something was there when
// the catalog was read. What a copy makes gets its references behind its rows.
func (c *catalog) knowsReference(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return true
	}
	name := refused.SchemaName + "." + refused.TableName + "." + refused.ConstraintName
	return slices.ContainsFunc(c.refs, func(r reference) bool { return r.name == name })
}
