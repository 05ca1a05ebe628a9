package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// publicationMarkSQL is something that changes whenever one of the publications
// does.
const publicationMarkSQL = `WITH p AS (SELECT oid, xmin FROM pg_publication
  WHERE pubname = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb))))
SELECT coalesce(string_agg(mark, ',' ORDER BY mark), '') FROM (
  SELECT 'p' || oid || ' ' || xmin FROM p
  UNION ALL SELECT 'r' || r.oid || ' ' || r.xmin FROM pg_publication_rel r JOIN p ON p.oid = r.prpubid%s) m(mark)`

// schemasMarkSQL is for versions from 15 on.
const schemasMarkSQL = `
  UNION ALL SELECT 'n' || n.oid || ' ' || n.xmin FROM pg_publication_namespace n JOIN p ON p.oid = n.pnpubid`

// markSQL is publicationMarkSQL for a version of the server.
func markSQL(version int) string {
	if version >= 150000 {
		return fmt.Sprintf(publicationMarkSQL, schemasMarkSQL)
	}
	return fmt.Sprintf(publicationMarkSQL, "")
}

// samePublications makes sure that the publications are those of the view: the
// server tells what they have now, and the stream begins with what they had
// then. A table that was added in between would lack what was written before.
func (s *Snapshot) samePublications(ctx context.Context) error {
	if s.cfg.Unpublished {
		return nil
	}
	sql := markSQL(s.cfg.Version)
	mark := func(conn *pgconn.PgConn) ([]string, error) {
		return dial.QueryRow(ctx, conn, sql, jsonText(s.cfg.Publications))
	}
	then, err := mark(s.holder)
	if err != nil {
		return fmt.Errorf("look at the publication: %w", err)
	}
	sess, err := s.take(ctx, "") // which sees what is committed
	if err != nil {
		return err
	}
	now, err := mark(sess.conn)
	s.release(sess)
	if err != nil {
		return fmt.Errorf("look at the publication: %w", err)
	}
	if now[0] != then[0] {
		return entrain.Retryable(errors.New("the publication changed while the snapshot was being taken"))
	}
	return nil
}
