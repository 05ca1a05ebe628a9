package sqltext

// Pieces of queries over the catalog that describe a table as the log does.
const (
	// BaseTypes begins a query: bases has, for each type, what it is made of
	// once domains are followed down (base), and that type's name as
	// [entrain.Column] has it.
	//
	// [entrain.Column]: https://pkg.go.dev/github.com/entrainsync/entrain#Column
	BaseTypes = `WITH RECURSIVE chain(typ, base, typmod) AS (
  SELECT oid, oid, typtypmod FROM pg_type
  UNION ALL SELECT c.typ, b.oid, greatest(c.typmod, b.typtypmod)
  FROM chain c JOIN pg_type t ON t.oid = c.base JOIN pg_type b ON b.oid = t.typbasetype WHERE t.typtype = 'd'),
bases AS (
  SELECT c.typ, c.base, c.typmod, CASE n.nspname WHEN 'pg_catalog' THEN b.typname::text ELSE n.nspname || '.' || b.typname END AS name
  FROM chain c JOIN pg_type b ON b.oid = c.base JOIN pg_namespace n ON n.oid = b.typnamespace WHERE b.typtype <> 'd')
`
	// InIdentity is a condition: the column a of the table c, of pg_attribute
	// and pg_class, is part of what identifies a row in the log.
	InIdentity = `c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary END)`
)
