package demo

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgconn"
)

// content is what a table holds: how many rows, and a hash of them that does
// not depend on their order but on how often each occurs.
type content struct{ rows, hash string }

// contentSQL adds up the hashes of the rows.
const contentSQL = `SELECT count(*), left(md5(coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text), 16) FROM %s t`

// read asks a database for the content of each table.
func read(ctx context.Context, url string) (map[string]content, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect to compare: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	all := map[string]content{}
	for _, table := range tables {
		results, err := conn.Exec(ctx, fmt.Sprintf(contentSQL, table)).ReadAll()
		if err != nil {
			return nil, fmt.Errorf("read table %s to compare: %w", table, err)
		}
		row := results[0].Rows[0]
		all[table] = content{string(row[0]), string(row[1])}
	}
	return all, nil
}

// verdict compares both sides and says what came out.
func (d *demo) verdict(ctx context.Context) error {
	source, err := read(ctx, d.source.URL(database))
	if err != nil {
		return err
	}
	target, err := read(ctx, d.target.URL(database))
	if err != nil {
		return err
	}
	differ := d.screen.compare(source, target)
	if len(differ) > 0 {
		return fmt.Errorf("%w: %v", ErrDiffer, differ)
	}
	var committed, rolledBack int64
	if d.shop != nil {
		committed, rolledBack = d.shop.committed.Load(), d.shop.rolledBack.Load()
	}
	fmt.Fprintf(d.screen.out, "equal: %d transactions committed, %d rolled back, %d changes delivered, both sides hold the same rows\n",
		committed, rolledBack, d.applied)
	return nil
}

// compare writes a line a table and returns the tables that differ.
func (s *screen) compare(source, target map[string]content) []string {
	var differ []string
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "table\trows\thash\trows at target\thash at target\t")
	for _, table := range tables {
		a, b := source[table], target[table]
		word := "equal"
		if a != b {
			word = "DIFFERENT"
			differ = append(differ, table)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", table, a.rows, a.hash, b.rows, b.hash, word)
	}
	w.Flush()
	return differ
}
