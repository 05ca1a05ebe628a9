package versiongate

// The tables of the gate, beside the position table. Few versions of a row of
// row_version share a page, so that updates stay in it.
const (
	// RowVersionSQL makes the table with the version of each row. state is w: the last
	// change had all columns; p: it left some out; d: it was a delete.
	RowVersionSQL = `CREATE TABLE IF NOT EXISTS entrain.row_version (
  version bigint NOT NULL,
  ordinal bigint NOT NULL,
  relation oid NOT NULL,
  era integer NOT NULL,
  state "char" NOT NULL,
  key text COLLATE "C" NOT NULL,
  PRIMARY KEY (relation, key)
) WITH (fillfactor = 50)`

	// TombstonesSQL makes the index by which tombstones are found.
	TombstonesSQL = `CREATE INDEX IF NOT EXISTS row_version_deleted ON entrain.row_version (relation) WHERE state = 'd'`

	// JournalSQL makes the table in which versions wait for row_version: without an
	// index, so that a backlog is not slowed down much.
	JournalSQL = `CREATE TABLE IF NOT EXISTS entrain.row_journal (
  version bigint NOT NULL,
  ordinal bigint NOT NULL,
  relation oid NOT NULL,
  era integer NOT NULL,
  state "char" NOT NULL,
  key text COLLATE "C" NOT NULL
)`

	// GateSQL makes the table with what is not about one row: by kind, the incarnations
	// of a pipeline's sources and their eras, the version that rows count as having at
	// least (start: of all tables that were not met before; floor: of one table), and the
	// mark of each delivery.
	GateSQL = `CREATE TABLE IF NOT EXISTS entrain.gate (
  pipeline text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  relation oid,
  era integer NOT NULL,
  version bigint NOT NULL,
  ordinal bigint NOT NULL,
  PRIMARY KEY (pipeline, kind, name)
) WITH (fillfactor = 50)`

	// ReconciliationSQL makes the queue of changes that came too late to be applied.
	ReconciliationSQL = `CREATE TABLE IF NOT EXISTS entrain.reconciliation (
  pipeline text NOT NULL,
  id text NOT NULL,
  key text COLLATE "C" NOT NULL,
  table_name text NOT NULL,
  op text NOT NULL,
  reason text NOT NULL,
  era integer NOT NULL,
  version bigint NOT NULL,
  ordinal bigint NOT NULL,
  row_era integer NOT NULL,
  row_version bigint NOT NULL,
  row_ordinal bigint NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now(),
  body json NOT NULL,
  PRIMARY KEY (pipeline, id, key)
)`

	// ThereSQL says how many of the tables are there.
	ThereSQL = `SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'entrain' AND c.relkind IN ('r', 'i') AND c.relname IN ('row_version', 'row_journal', 'gate', 'reconciliation', 'row_version_deleted')`
)

// Tables are the names of the tables, without the schema.
var Tables = []string{"row_version", "row_journal", "gate", "reconciliation"}

// Create makes all of them, in order.
var Create = []string{RowVersionSQL, TombstonesSQL, JournalSQL, GateSQL, ReconciliationSQL}

// Statements that keep what is not about one row. $1 is the pipeline.
const (
	// EraSQL gives an incarnation, $2, the next era, unless it has one.
	EraSQL = `INSERT INTO entrain.gate (pipeline, kind, name, era, version, ordinal)
SELECT $1, 'incarnation', $2, coalesce(max(era), 0) + 1, 0, 0 FROM entrain.gate WHERE pipeline = $1 AND kind = 'incarnation'
ON CONFLICT DO NOTHING`

	// KnownSQL reads the incarnations, the start and the marks.
	KnownSQL = `SELECT kind, name, era::text, version::text, ordinal::text FROM entrain.gate
WHERE pipeline = $1 AND kind <> 'floor' ORDER BY kind, era, version, ordinal`

	// StartSQL notes the start, unless there is one.
	StartSQL = `INSERT INTO entrain.gate (pipeline, kind, name, era, version, ordinal)
VALUES ($1, 'start', '', $2, $3, $4) ON CONFLICT DO NOTHING`

	// MarkSQL moves the mark of the delivery $2.
	MarkSQL = `INSERT INTO entrain.gate AS g (pipeline, kind, name, era, version, ordinal) VALUES ($1, 'mark', $2, $3, $4, $5)
ON CONFLICT (pipeline, kind, name) DO UPDATE SET era = EXCLUDED.era, version = EXCLUDED.version, ordinal = EXCLUDED.ordinal`

	// MeetSQL notes a table, $2, with its oid, $3: what it held when the gate was turned on
	// has the version of the start. What is known of a table that was made anew since is
	// void: its rows count as being as new as the mark, $4 to $6.
	MeetSQL = `INSERT INTO entrain.gate AS g (pipeline, kind, name, relation, era, version, ordinal)
SELECT $1, 'floor', $2, $3::oid, s.era, s.version, s.ordinal FROM entrain.gate s WHERE s.pipeline = $1 AND s.kind = 'start'
ON CONFLICT (pipeline, kind, name) DO UPDATE SET relation = EXCLUDED.relation, era = $4::int, version = $5::bigint, ordinal = $6::bigint
WHERE g.relation <> EXCLUDED.relation`

	// SharedSQL has another pipeline whose gate knows the table $2.
	SharedSQL = `SELECT pipeline FROM entrain.gate WHERE kind = 'floor' AND name = $2 AND pipeline <> $1 ORDER BY 1 LIMIT 1`

	// RaiseSQL makes all rows of the tables $2 (a JSON array) count as being at least as
	// new as $3 to $5.
	RaiseSQL = `UPDATE entrain.gate SET era = $3::int, version = $4::bigint, ordinal = $5::bigint
WHERE pipeline = $1 AND kind = 'floor' AND name IN (SELECT json_array_elements_text($2::json))
  AND (era, version, ordinal) < ($3::int, $4::bigint, $5::bigint)`

	// ForgetSQL removes the versions of a table's rows, $1, up to $2 to $4, which its
	// floor has taken over.
	ForgetSQL = `DELETE FROM entrain.row_version WHERE relation = $1::oid AND (era, version, ordinal) <= ($2::int, $3::bigint, $4::bigint)`

	// JudgeSQL says what becomes of a late truncate $4 to $6 of the table $2 with the oid
	// $3: done, when it is the table's floor; late, if rows of the table are newer; else
	// free.
	JudgeSQL = `SELECT CASE WHEN (f.era, f.version, f.ordinal) = ($4::int, $5::bigint, $6::bigint) THEN 'done'
  WHEN (f.era, f.version, f.ordinal) > ($4::int, $5::bigint, $6::bigint) OR EXISTS (SELECT FROM entrain.row_version
    WHERE relation = $3::oid AND state <> 'd' AND (era, version, ordinal) > ($4::int, $5::bigint, $6::bigint)) THEN 'late'
  ELSE 'free' END FROM entrain.gate f WHERE f.pipeline = $1 AND f.kind = 'floor' AND f.name = $2`

	// NoteSQL adds to the journal.
	NoteSQL = `COPY entrain.row_journal (version, ordinal, relation, era, state, key) FROM STDIN (FORMAT binary)`

	// MergeSQL takes up to $1 rows of the journal over into row_version and returns how
	// many it took.
	MergeSQL = `WITH gone AS (DELETE FROM entrain.row_journal WHERE ctid = ANY (ARRAY(SELECT ctid FROM entrain.row_journal LIMIT $1::bigint))
    RETURNING version, ordinal, relation, era, state, key),
  merged AS (INSERT INTO entrain.row_version AS g (version, ordinal, relation, era, state, key)
    SELECT DISTINCT ON (relation, key) version, ordinal, relation, era, state, key FROM gone ORDER BY relation, key, era DESC, version DESC, ordinal DESC
    ON CONFLICT (relation, key) DO UPDATE SET era = EXCLUDED.era, version = EXCLUDED.version, ordinal = EXCLUDED.ordinal, state = EXCLUDED.state
    WHERE (g.era, g.version, g.ordinal) < (EXCLUDED.era, EXCLUDED.version, EXCLUDED.ordinal))
SELECT count(*)::text FROM gone`

	// JournalledSQL counts the rows of the journal, up to $1.
	JournalledSQL = `SELECT count(*)::text FROM (SELECT FROM entrain.row_journal LIMIT $1::bigint) j`

	// SweepSQL removes up to $7 tombstones of the table $2 with the oid $3 that are below
	// $4 to $6 and below the marks of all of the pipeline's deliveries, and raises the
	// table's floor to the newest of them: what is older still is stale from then on.
	SweepSQL = `WITH bound AS (SELECT era, version, ordinal FROM (SELECT era, version, ordinal FROM entrain.gate
    WHERE pipeline = $1 AND kind = 'mark' UNION ALL SELECT $4::int, $5::bigint, $6::bigint) m ORDER BY 1, 2, 3 LIMIT 1),
  gone AS (DELETE FROM entrain.row_version WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM entrain.row_version r, bound b
    WHERE r.relation = $3::oid AND r.state = 'd' AND (r.era, r.version, r.ordinal) < (b.era, b.version, b.ordinal) LIMIT $7::int))
    RETURNING era, version, ordinal),
  newest AS (SELECT era, version, ordinal FROM gone ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1),
  raised AS (UPDATE entrain.gate f SET era = n.era, version = n.version, ordinal = n.ordinal FROM newest n
    WHERE f.pipeline = $1 AND f.kind = 'floor' AND f.name = $2 AND (f.era, f.version, f.ordinal) < (n.era, n.version, n.ordinal))
SELECT count(*)::text FROM gone`
)
