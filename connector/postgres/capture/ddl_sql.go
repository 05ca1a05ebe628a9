package capture

// columnFactsSQL is an expression for the facts about the columns of the table
// whose pg_class is c, as JSON that reads as [entrain.ColumnFacts]. What rows
// that were there have in a column that was added is kept by the server as long
// as the table is not rewritten; of a partitioned table by its partitions. A
// default with an operator or function that is not immutable is not constant,
// nor is one with CURRENT_TIMESTAMP and its like.
//
// [entrain.ColumnFacts]: https://pkg.go.dev/github.com/entrainsync/entrain#ColumnFacts
const columnFactsSQL = `(SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', a.attnum, 'name', a.attname,
      'default', pg_get_expr(d.adbin, d.adrelid),
      'constant', d.adbin IS NOT NULL AND a.attgenerated = '' AND NOT f.volatile AND NOT f.changing,
      'volatile', a.attidentity <> '' OR a.attgenerated <> '' OR f.volatile,
      'not_null', a.attnotnull,
      'fill', coalesce((a.attmissingval::text::text[])[1], (SELECT (l.attmissingval::text::text[])[1]
        FROM pg_partition_tree(c.oid) p JOIN pg_attribute l ON l.attrelid = p.relid AND l.attname = a.attname
        WHERE c.relkind = 'p' AND l.atthasmissing LIMIT 1)))) ORDER BY a.attnum)
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum,
    LATERAL (SELECT coalesce(bool_or(o.provolatile = 'v'), false) AS volatile,
        coalesce(bool_or(o.provolatile <> 'i'), false) OR d.adbin::text ~ '\{(SQLVALUEFUNCTION|COERCEVIAIO)' AS changing
      FROM regexp_matches(coalesce(d.adbin::text, ''), ':(?:op)?funcid (\d+)', 'g') AS id(num)
      JOIN pg_proc o ON o.oid = id.num[1]::oid) f
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)`

// publishedSQL is a condition: pg_class c is in a publication, itself or as a
// part of what is.
const publishedSQL = `EXISTS (SELECT FROM pg_publication p, LATERAL pg_get_publication_tables(p.pubname::text) g
      WHERE g.relid = c.oid OR g.relid IN (SELECT pg_partition_ancestors(c.oid)))`

// ddlFunction is what the functions of the event triggers have in common. They
// run with the rights of who makes them, so that every name is the server's own;
// and whatever fails in them, the statement that they tell of does not. The
// settings are those in which the log's values are written.
const ddlFunction = ` RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET timezone = 'UTC'
SET bytea_output = 'hex' SET extra_float_digits = 1 SET xmlbinary = 'base64' SET lc_monetary = 'C'
AS $entrain$
DECLARE told jsonb;
BEGIN
  FOR told IN `

const ddlFunctionEnd = `
  LOOP
    PERFORM pg_logical_emit_message(true, '` + ddlPrefix + `', told::text);
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'entrain was not told of the statement: %', SQLERRM;
END $entrain$;
`

// ddlScript makes the source tell which statements changed published tables.
// What a statement does to a parent is told of its partitions and children, too.
const ddlScript = `-- Makes this database tell in its log which statements changed the columns of published tables, for entrain.
-- To be run by a superuser in the source's database; it may be run again. What takes it away is at the end.
BEGIN;
CREATE SCHEMA IF NOT EXISTS entrain;

CREATE OR REPLACE FUNCTION entrain.tell_ddl()` + ddlFunction + `
    WITH RECURSIVE rel AS (
      SELECT objid AS oid, objid AS root, objsubid AS num, command_tag AS tag, object_identity AS object
      FROM pg_event_trigger_ddl_commands()
      WHERE classid = 'pg_class'::regclass AND object_type IN ('table', 'table column')
      UNION SELECT i.inhrelid, rel.root, rel.num, rel.tag, rel.object FROM rel JOIN pg_inherits i ON i.inhparent = rel.oid)
    SELECT jsonb_strip_nulls(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'oid', c.oid::bigint,
      'tag', rel.tag, 'object', rel.object,
      'renamed', (SELECT own.attnum FROM pg_attribute r JOIN pg_attribute own ON own.attrelid = c.oid AND own.attname = r.attname
        WHERE r.attrelid = rel.root AND r.attnum = rel.num AND rel.num > 0),
      'columns', ` + columnFactsSQL + `))
    FROM rel JOIN pg_class c ON c.oid = rel.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND ` + publishedSQL + ddlFunctionEnd + `
CREATE OR REPLACE FUNCTION entrain.tell_drop()` + ddlFunction + `
    SELECT jsonb_strip_nulls(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'oid', c.oid::bigint,
      'tag', tg_tag, 'object', d.object, 'dropped', d.names,
      'columns', ` + columnFactsSQL + `))
    FROM (SELECT objid, min(object_identity) AS object, jsonb_agg(address_names[3] ORDER BY objsubid) AS names FROM pg_event_trigger_dropped_objects()
      WHERE classid = 'pg_class'::regclass AND object_type = 'table column' GROUP BY objid) d
    JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND ` + publishedSQL + `
    UNION ALL
    SELECT jsonb_build_object('schema', d.schema_name, 'table', d.object_name, 'oid', d.objid::bigint, 'tag', tg_tag, 'object', d.object_identity)
    FROM pg_event_trigger_dropped_objects() d
    WHERE d.object_type = 'table' AND NOT d.is_temporary AND EXISTS (SELECT FROM pg_publication)` + ddlFunctionEnd + `
DROP EVENT TRIGGER IF EXISTS entrain_ddl;
CREATE EVENT TRIGGER entrain_ddl ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION entrain.tell_ddl();
DROP EVENT TRIGGER IF EXISTS entrain_drop;
CREATE EVENT TRIGGER entrain_drop ON sql_drop EXECUTE FUNCTION entrain.tell_drop();
COMMIT;

-- To take it away again, without the dashes (the schema stays: a sink may use it):
-- DROP EVENT TRIGGER IF EXISTS entrain_ddl;
-- DROP EVENT TRIGGER IF EXISTS entrain_drop;
-- DROP FUNCTION IF EXISTS entrain.tell_ddl();
-- DROP FUNCTION IF EXISTS entrain.tell_drop();
`
