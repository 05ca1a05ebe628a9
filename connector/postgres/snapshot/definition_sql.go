package snapshot

// The queries behind definitions, each for an array of tables' oids. What is
// quoted and qualified is so by the server; search_path is pg_catalog.
const (
	// definedColumnsSQL: a default that takes the next value of a sequence is
	// shown by that sequence. A NOT NULL that is not validated holds for new
	// rows only.
	definedColumnsSQL = `SELECT a.attrelid::text, a.attnum::text, a.attname, format_type(a.atttypid, a.atttypmod),
  coalesce((SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
    WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation), ''),
  (a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n'
    AND NOT k.convalidated AND k.conkey = ARRAY[a.attnum]))::text,
  a.attgenerated::text, coalesce(pg_get_expr(d.adbin, d.adrelid), ''),
  (SELECT coalesce(jsonb_agg(DISTINCT p.refobjsubid::text), '[]') FROM pg_depend p WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
    AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid AND p.refobjsubid <> a.attnum),
  (a.attidentity <> '' OR s.seqrelid IS NOT NULL)::text,
  coalesce(CASE WHEN s.seqtypid = a.atttypid THEN format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s',
    s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END) END, ''),
  (a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))::text
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN LATERAL (SELECT q.* FROM pg_sequence q JOIN pg_depend p ON
  p.classid = 'pg_class'::regclass AND p.objid = q.seqrelid AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
    AND p.refobjsubid = a.attnum AND p.deptype = 'i' AND a.attidentity <> ''
  OR p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass AND p.refobjid = q.seqrelid LIMIT 1) s ON true
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

	// constraintsSQL leaves out those that the server makes beside a foreign key
	// that leads to a partitioned table. Those that can be put on an index that is
	// there are described so, too.
	constraintsSQL = `SELECT k.conrelid::text, quote_ident(k.conname), k.contype::text, pg_get_constraintdef(k.oid),
  coalesce(to_jsonb(k.conkey::text[]), '[]')::text, k.confrelid::text, coalesce(to_jsonb(k.confkey::text[]), '[]')::text,
  coalesce((SELECT CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END || ' USING INDEX ' || quote_ident(c.relname)
    || CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indexrelid = k.conindid AND k.contype IN ('p', 'u') AND i.indisvalid AND NOT i.indisexclusion), ''), k.conname
FROM pg_constraint k LEFT JOIN pg_constraint above ON above.oid = k.conparentid
WHERE k.conrelid = ANY ($1::oid[]) AND k.contype IN ('p', 'u', 'x', 'c', 'f') AND above.conrelid IS DISTINCT FROM k.conrelid
ORDER BY k.conrelid, k.conname`

	// indexesSQL leaves out those that are made with a constraint. The columns of an
	// index are also those that its expressions look at.
	indexesSQL = `SELECT i.indrelid::text, 'CREATE ' || CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX ', quote_ident(c.relname),
  ' ON ' || CASE WHEN c.relkind = 'I' THEN 'ONLY ' ELSE '' END || quote_ident(n.nspname) || '.' || quote_ident(t.relname),
  quote_ident(n.nspname) || '.' || quote_ident(t.relname), pg_get_indexdef(i.indexrelid),
  (SELECT coalesce(jsonb_agg(DISTINCT num::text), '[]') FROM (
    SELECT unnest(i.indkey::int2[]) UNION SELECT p.refobjsubid FROM pg_depend p WHERE p.classid = 'pg_class'::regclass AND p.objid = i.indexrelid
      AND p.refclassid = 'pg_class'::regclass AND p.refobjid = i.indrelid) u(num) WHERE num <> 0)::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE i.indrelid = ANY ($1::oid[]) AND i.indisvalid AND NOT i.indisexclusion
ORDER BY i.indrelid, c.relname`

	// typesSQL lists the types that the columns consist of, the inner ones
	// first, with what makes one unless an extension does.
	typesSQL = `WITH RECURSIVE need(tab, col, typ, depth) AS (
  SELECT attrelid, attname, atttypid, 0 FROM pg_attribute WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped
  UNION ALL SELECT need.tab, need.col, x.typ, need.depth + 1 FROM need JOIN pg_type t ON t.oid = need.typ, LATERAL (
    SELECT t.typelem WHERE t.typelem <> 0 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
    UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid
    UNION ALL SELECT rngtypid FROM pg_range WHERE rngmultitypid = t.oid) x(typ)),
needed AS (SELECT tab, typ, max(depth) AS depth, jsonb_agg(DISTINCT col) AS cols FROM need GROUP BY 1, 2)
SELECT needed.tab::text, needed.cols::text, quote_ident(n.nspname), coalesce(quote_ident(e.extname), ''),
  coalesce((SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = e.extnamespace), ''),
  quote_ident(n.nspname) || '.' || quote_ident(t.typname),
  CASE t.typtype
  WHEN 'e' THEN 'CREATE TYPE %s AS ENUM (' || coalesce((SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), '') || ')'
  WHEN 'd' THEN 'CREATE DOMAIN %s AS ' || format_type(t.typbasetype, t.typtypmod)
    || coalesce((SELECT ' COLLATE ' || quote_ident(cn.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace
      JOIN pg_type b ON b.oid = t.typbasetype WHERE l.oid = t.typcollation AND l.oid <> b.typcollation), '')
    || coalesce(' DEFAULT ' || pg_get_expr(t.typdefaultbin, 0), '') || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
    || coalesce((SELECT string_agg(' CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid), '' ORDER BY conname)
      FROM pg_constraint WHERE contypid = t.oid AND contype = 'c' AND convalidated), '')
  WHEN 'c' THEN 'CREATE TYPE %s AS (' || coalesce((SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
    || coalesce((SELECT ' COLLATE ' || quote_ident(cn.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace
      JOIN pg_type b ON b.oid = a.atttypid WHERE l.oid = a.attcollation AND l.oid <> b.typcollation), ''), ', ' ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') || ')'
  WHEN 'r' THEN (SELECT 'CREATE TYPE %s AS RANGE (SUBTYPE = ' || format_type(r.rngsubtype, NULL)
    || ', SUBTYPE_OPCLASS = ' || quote_ident(opn.nspname) || '.' || quote_ident(op.opcname)
    || coalesce((SELECT ', COLLATION = ' || quote_ident(cn.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace WHERE l.oid = r.rngcollation), '')
    || coalesce((SELECT ', SUBTYPE_DIFF = ' || quote_ident(fn.nspname) || '.' || quote_ident(f.proname) FROM pg_proc f JOIN pg_namespace fn ON fn.oid = f.pronamespace WHERE f.oid = r.rngsubdiff), '')
    || ', MULTIRANGE_TYPE_NAME = ' || quote_ident(mn.nspname) || '.' || quote_ident(m.typname) || ')'
    FROM pg_range r JOIN pg_opclass op ON op.oid = r.rngsubopc JOIN pg_namespace opn ON opn.oid = op.opcnamespace
    JOIN pg_type m ON m.oid = r.rngmultitypid JOIN pg_namespace mn ON mn.oid = m.typnamespace WHERE r.rngtypid = t.oid)
  END
FROM needed JOIN pg_type t ON t.oid = needed.typ JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e' LEFT JOIN pg_extension e ON e.oid = d.refobjid
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND (t.typtype IN ('e', 'd', 'r') OR e.oid IS NOT NULL OR t.typtype = 'c' AND (SELECT relkind = 'c' FROM pg_class WHERE oid = t.typrelid))
ORDER BY needed.tab, needed.depth DESC, 6`

	// extensionsSQL lists the extensions whose functions and operator classes
	// the tables' defaults, constraints and indexes use.
	extensionsSQL = `WITH parts(tab, class, obj) AS (
  SELECT adrelid, 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = ANY ($1::oid[])
  UNION ALL SELECT conrelid, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = ANY ($1::oid[])
  UNION ALL SELECT indrelid, 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = ANY ($1::oid[]))
SELECT DISTINCT parts.tab::text, quote_ident(e.extname), quote_ident(n.nspname)
FROM parts JOIN pg_depend d ON d.classid = parts.class AND d.objid = parts.obj
JOIN pg_depend x ON x.classid = d.refclassid AND x.objid = d.refobjid AND x.deptype = 'e'
JOIN pg_extension e ON e.oid = x.refobjid JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY 1, 2`
)
