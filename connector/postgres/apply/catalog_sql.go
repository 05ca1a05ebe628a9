package apply

// What the catalog says about a target table. All of it may be read by every
// role. Triggers and rules count if they fire in the session's role, for the
// table and for every partition below it.
const (
	catalogTableSQL = `WITH rel AS (
  SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2),
family AS MATERIALIZED (
  SELECT ARRAY(SELECT oid FROM rel UNION
    SELECT t.relid::oid FROM rel, pg_partition_tree(rel.oid) t WHERE rel.relkind = 'p') AS oids),
firing AS (
  SELECT ARRAY['A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END]::"char"[] AS on),
differing AS (
  SELECT 1 FROM pg_trigger WHERE tgrelid = ` + inFamily + ` AND NOT tgisinternal AND tgenabled IN ('O', 'R') UNION ALL
  SELECT 1 FROM pg_rewrite WHERE ev_class = ` + inFamily + ` AND rulename <> '_RETURN' AND ev_enabled IN ('O', 'R') UNION ALL
  SELECT 1 FROM pg_index WHERE indrelid = ` + inFamily + ` AND NOT indimmediate)
SELECT rel.oid::text, rel.relkind::text, row_security_active(rel.oid)::text,
  (EXISTS (SELECT 1 FROM pg_trigger, firing
    WHERE tgrelid = ` + inFamily + ` AND NOT tgisinternal AND tgenabled = ANY (firing.on))
  OR EXISTS (SELECT 1 FROM pg_rewrite, firing
    WHERE ev_class = ` + inFamily + ` AND rulename <> '_RETURN' AND ev_enabled = ANY (firing.on)))::text,
  EXISTS (SELECT FROM differing)::text
FROM rel`

	// inFamily is an array and no join: the planner takes it for a few tables, and
	// so looks for them in an index instead of reading the whole catalog.
	inFamily = `ANY ((SELECT oids FROM family)::oid[])`

	// relationSQL is the oid of the table that two parameters name.
	relationSQL = `(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)`

	// A domain is followed down to the type it is made of.
	catalogColumnsSQL = `SELECT a.attnum::text, a.attname::text, (a.attgenerated <> '')::text, a.attidentity::text,
  base.oid::text, format_type(base.oid, -1),
  CASE nsp.nspname WHEN 'pg_catalog' THEN base.typname::text ELSE nsp.nspname || '.' || base.typname END,
  (base.typtype = 'e')::text, greatest(a.atttypmod, chain.typmod)::text,
  coalesce(coll.collisdeterministic, true)::text,
  (a.attidentity <> '' OR EXISTS (
    SELECT 1 FROM pg_attrdef ad, regexp_matches(ad.adbin::text, ':(?:op)?funcid (\d+)', 'g') AS f(id)
    JOIN pg_proc p ON p.oid = f.id[1]::oid
    WHERE ad.adrelid = a.attrelid AND ad.adnum = a.attnum AND p.provolatile = 'v'))::text,
  coalesce((SELECT opn.nspname::text FROM pg_opclass oc
    JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amopstrategy = 3
      AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
    JOIN pg_operator o ON o.oid = ao.amopopr AND o.oprname = '='
    JOIN pg_namespace opn ON opn.oid = o.oprnamespace
    WHERE oc.opcdefault AND oc.opcmethod = 403 AND oc.opcintype = base.oid LIMIT 1), 'pg_catalog')
FROM pg_attribute a JOIN pg_type typ ON typ.oid = a.atttypid
LEFT JOIN LATERAL (
  WITH RECURSIVE d(oid, next, typmod) AS (
    SELECT t.oid, t.typbasetype, t.typtypmod FROM pg_type t WHERE t.oid = a.atttypid
    UNION ALL SELECT t.oid, t.typbasetype, greatest(d.typmod, t.typtypmod) FROM d JOIN pg_type t ON t.oid = d.next)
  SELECT d.oid, d.typmod FROM d WHERE d.next = 0 AND typ.typtype = 'd') chain ON true
JOIN pg_type base ON base.oid = coalesce(chain.oid, typ.oid)
JOIN pg_namespace nsp ON nsp.oid = base.typnamespace
LEFT JOIN pg_collation coll ON coll.oid = a.attcollation
WHERE a.attrelid = ` + relationSQL + ` AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

	// Unique indexes that identify rows: whole, valid, of columns only.
	catalogKeysSQL = `SELECT i.indisprimary::text, i.indimmediate::text,
  (SELECT string_agg(k::text, ' ') FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k),
  coalesce((SELECT quote_ident(k.conname) FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u')), '')
FROM pg_index i WHERE i.indrelid = ` + relationSQL + ` AND i.indisunique AND i.indisvalid AND i.indisready
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid`

	catalogForeignKeysSQL = `SELECT conrelid::text, confrelid::text, condeferrable::text,
  (confupdtype IN ('c', 'n', 'd'))::text, (confdeltype IN ('c', 'n', 'd'))::text, (confdeltype = 'c')::text,
  array_to_string(confkey, ' '), conrelid::regclass::text, CASE conparentid WHEN 0 THEN conname::text ELSE '' END,
  array_to_string(conkey, ' '), conname::text, (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = conrelid)
FROM pg_constraint WHERE contype = 'f'`

	catalogPartsSQL = `SELECT inhrelid::text, inhparent::text FROM pg_inherits`

	// Tables with constraints that can be checked late.
	catalogDeferrableSQL = `SELECT conrelid::text FROM pg_constraint WHERE condeferrable AND conrelid <> 0
UNION SELECT confrelid::text FROM pg_constraint WHERE condeferrable AND confrelid <> 0`
)
