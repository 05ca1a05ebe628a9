package preflight_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func trials() []trial {
	var all []trial
	for _, some := range [][]trial{serverTrials(), slotTrials(), publicationTrials(), tableTrials(), targetTrials(), columnTrials(), keyTrials(), partitionTrials(), sequenceTrials(),
		copySourceTrials(), copyTargetTrials(), gateTrials(), softTrials()} {
		all = append(all, some...)
	}
	return all
}

const (
	warns = entrain.FindingWarning
	fails = entrain.FindingError
)

func serverTrials() []trial {
	return []trial{
		{code: "wal_level", status: fails, settings: map[string]string{"wal_level": "replica"}, by: byRestart},
		{code: "output_plugin_libraries", status: fails, settings: map[string]string{"output_plugin_libraries": "test_decoding"},
			do: func(l *lab) { pgtest.Exec(l.t, l.source, "GRANT pg_read_all_settings TO "+l.q(l.capture)) },
			unless: func(l *lab) bool {
				return pgtest.QueryOne(l.t, l.source, "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'") == "0"
			}},
		{code: "replication_right", status: fails, do: func(l *lab) {
			pgtest.Exec(l.t, l.source, "ALTER ROLE "+l.q(l.capture)+" NOREPLICATION")
		}},
		{code: "free_slots", status: fails, settings: map[string]string{"max_replication_slots": "1"}, by: byRestart, do: func(l *lab) {
			name := pgtest.Name(l.t)
			pgtest.Exec(l.t, l.source, "SELECT pg_create_physical_replication_slot('"+name+"')")
			l.afterwards("SELECT pg_drop_replication_slot('" + name + "')")
		}},
		{code: "free_senders", status: fails, settings: map[string]string{"max_wal_senders": "1"}, by: byRestart, held: func(l *lab) {
			pgtest.Connect(l.t, l.source+"?replication=database")
		}},
		{code: "wal_sender_timeout", status: warns, settings: map[string]string{"wal_sender_timeout": "0"}},
		{code: "wal_sender_timeout", status: warns, settings: map[string]string{"wal_sender_timeout": "2s"}},
		{code: "slot_retention", status: warns, settings: map[string]string{"max_slot_wal_keep_size": "-1"}},
		{code: "slot_retention", status: warns, settings: map[string]string{"max_slot_wal_keep_size": "64MB"}},
		{code: "slot_idle_timeout", status: warns, since: 18, settings: map[string]string{"idle_replication_slot_timeout": "60min"}},
		{code: "connect_right", status: fails, do: func(l *lab) {
			l.asKeeper(l.source, "REVOKE CONNECT ON DATABASE "+databaseOf(l.source)+" FROM public")
		}},
		{code: "connect_right", status: fails, do: func(l *lab) {
			l.asKeeper(l.target, "REVOKE CONNECT ON DATABASE "+databaseOf(l.target)+" FROM public")
		}},
	}
}

// makeSlot makes the pipeline's slot.
func makeSlot(l *lab) {
	pgtest.Exec(l.t, l.source, "SELECT pg_create_logical_replication_slot('"+l.file.Source.Slot+"', 'pgoutput')")
}

func slotTrials() []trial {
	return []trial{
		{code: "slot_missing", status: fails, do: func(l *lab) { l.file.Source.Create = false }},
		{code: "slot_lost", status: fails, settings: map[string]string{"max_slot_wal_keep_size": "1MB"}, do: loseSlot},
		{code: "slot_foreign", status: fails, do: func(l *lab) {
			slot := l.file.Source.Slot
			pgtest.Exec(l.t, l.srv.URL("postgres"), "SELECT pg_create_logical_replication_slot('"+slot+"', 'pgoutput')")
			l.afterwards("SELECT pg_drop_replication_slot('" + slot + "')")
		}},
		{code: "slot_active", status: fails, do: func(l *lab) {
			makeSlot(l)
			stream(l, "somebody else")
		}},
		{code: "decoding_memory", status: warns, settings: map[string]string{"logical_decoding_work_mem": "64kB"}, do: func(l *lab) {
			makeSlot(l)
			l.asKeeper(l.source, "INSERT INTO "+oddTable+" SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i")
			pgtest.Eventually(l.t, settle, "the transaction was spilled", func() bool {
				pgtest.Exec(l.t, l.source, "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('"+l.file.Source.Slot+
					"', NULL, NULL, 'proto_version', '1', 'publication_names', 'pub')")
				return pgtest.QueryOne(l.t, l.source, "SELECT coalesce(sum(spill_txns), 0) > 0 FROM pg_stat_replication_slots") == "t"
			})
		}},
	}
}

// loseSlot makes the server give the slot up.
func loseSlot(l *lab) {
	makeSlot(l)
	for range 4 {
		pgtest.Exec(l.t, l.source, "SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()")
	}
	pgtest.Eventually(l.t, settle, "the slot is lost", func() bool {
		pgtest.Exec(l.t, l.source, "CHECKPOINT")
		return pgtest.QueryOne(l.t, l.source, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '"+l.file.Source.Slot+"'") == "lost"
	})
}

// stream reads from the pipeline's slot by a session called application.
func stream(l *lab, application string) {
	l.t.Helper()
	cfg, err := pgconn.ParseConfig(l.source)
	if err != nil {
		l.t.Fatal(err)
	}
	cfg.RuntimeParams["replication"], cfg.RuntimeParams["application_name"] = "database", application
	conn, err := pgconn.ConnectConfig(l.t.Context(), cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Conn().Close() })
	conn.Exec(l.t.Context(), "START_REPLICATION SLOT "+l.file.Source.Slot+" LOGICAL 0/0 (proto_version '1', publication_names 'pub')")
	pgtest.Eventually(l.t, settle, "the slot is in use", func() bool {
		return pgtest.QueryOne(l.t, l.source, "SELECT active FROM pg_replication_slots WHERE slot_name = '"+l.file.Source.Slot+"'") == "t"
	})
}

// grantCreate gives the role of the capture the other half of what making a
// publication takes.
func grantCreate(l *lab) {
	pgtest.Exec(l.t, l.source, "GRANT CREATE ON DATABASE "+databaseOf(l.source)+" TO "+l.q(l.capture))
}

// Who may act as the owner of the tables may publish them.
func TestOwnersMayPublish(t *testing.T) {
	l := newLab(t, pgtest.Shared(t, pgtest.Majors(t)[0]), pgtest.Majors(t)[0])
	l.asKeeper(l.source, "DROP PUBLICATION pub")
	grantCreate(l)
	pgtest.Exec(t, l.source, "GRANT "+l.q(l.keeper)+" TO "+l.q(l.capture))
	if found := l.findings("publication_missing"); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

func publicationTrials() []trial {
	other := sqltext.Table(oddSchema, `other "one"`)
	root, leaf := sqltext.Table(oddSchema, `ro"ot`), sqltext.Table(oddSchema, `le"af`)
	parted := slices.Clip([]string{"CREATE TABLE " + root + " (id int PRIMARY KEY) PARTITION BY RANGE (id)",
		"CREATE TABLE " + leaf + " PARTITION OF " + root + " FOR VALUES FROM (0) TO (9)"})
	rootOnly := func(l *lab) {
		l.file.Source.Tables = postgres.Tables{Include: []string{connector.TablePattern(oddSchema, oddName), connector.TablePattern(oddSchema, `ro"ot`)}}
	}
	return []trial{
		{code: "no_tables", status: fails, unfixable: true, do: func(l *lab) {
			l.file.Source.Tables = postgres.Tables{Include: []string{"nowhere.*"}}
		}},
		{code: "publication_missing", status: fails, source: []string{"DROP PUBLICATION pub"}, do: func(l *lab) { l.file.Source.Create = false }},
		{code: "publication_missing", status: fails, source: []string{"DROP PUBLICATION pub"}},
		{code: "publication_missing", status: fails, source: []string{"DROP PUBLICATION pub"}, do: grantCreate}, // but no table
		{code: "publication_missing", status: fails, source: []string{"DROP PUBLICATION pub"}, do: func(l *lab) {
			grantCreate(l)
			pgtest.Exec(l.t, l.source, "CREATE TABLE "+other+" (id int PRIMARY KEY)") // of another owner
		}},
		{code: "publication_missing", status: fails, source: []string{"DROP PUBLICATION pub"}, do: func(l *lab) {
			pgtest.Exec(l.t, l.source, "ALTER DATABASE "+databaseOf(l.source)+" OWNER TO postgres") // so that the tables' owner may not
		}},
		{code: "publication_tables", status: fails, source: []string{"CREATE TABLE " + other + " (id int PRIMARY KEY)"}},
		{code: "publication_tables", status: fails, source: append(parted, "ALTER PUBLICATION pub ADD TABLE "+root), do: rootOnly},
		{code: "publication_tables", status: fails, source: append(parted, "ALTER PUBLICATION pub ADD TABLE "+leaf), do: rootOnly},
		{code: "publication_tables", status: fails, source: parted, do: rootOnly},
		{code: "publication_actions", status: warns, source: []string{"ALTER PUBLICATION pub SET (publish = 'insert, delete')"}},
		{code: "unlogged_table", status: warns, source: []string{"CREATE UNLOGGED TABLE " + other + " (id int PRIMARY KEY)"}},
	}
}

func tableTrials() []trial {
	dropKey := "ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey")
	part := sqltext.Table(oddSchema, `pa"rt`)
	return []trial{
		{code: "replica_identity", status: fails, source: []string{dropKey}},
		{code: "replica_identity", status: fails, source: []string{dropKey, "ALTER TABLE " + oddTable + " ADD PRIMARY KEY (id) DEFERRABLE"}},
		{code: "replica_identity_nothing", status: fails, source: []string{"ALTER TABLE " + oddTable + " REPLICA IDENTITY NOTHING"}},
		{code: "replica_identity_nothing", status: fails, source: []string{dropKey, "ALTER TABLE " + oddTable + " REPLICA IDENTITY NOTHING"}},
		{code: "partition_identity", status: fails, source: []string{
			"CREATE TABLE " + part + " (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
			"CREATE TABLE " + sqltext.Table(oddSchema, "le\"af") + " PARTITION OF " + part + " FOR VALUES FROM (0) TO (9)",
			"ALTER TABLE " + sqltext.Table(oddSchema, "le\"af") + " REPLICA IDENTITY FULL",
			"ALTER PUBLICATION pub SET (publish_via_partition_root = true)", "ALTER PUBLICATION pub ADD TABLE " + part,
		}},
		{code: "generated_identity", status: fails, since: 18, source: []string{
			"CREATE TABLE " + part + " (a int, id int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY)", "ALTER PUBLICATION pub ADD TABLE " + part}},
		{code: "filter_identity", status: fails, since: 15, source: []string{
			"ALTER PUBLICATION pub SET TABLE " + oddTable + " WHERE (" + oddColumn + " = 'x')"}},
		{code: "column_list_identity", status: fails, since: 15, source: []string{
			"ALTER PUBLICATION pub SET TABLE " + oddTable + " (" + oddColumn + ") WHERE (id > 3)"}},
		{code: "key_index_missing", status: warns, source: []string{"ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL"}},
		{code: "key_index_missing", status: warns, source: append(family, "ALTER TABLE "+parted+" REPLICA IDENTITY FULL", "ALTER TABLE "+leaf+" REPLICA IDENTITY FULL")},
		{code: "key_index_missing", status: warns, unfixable: true, source: []string{dropKey, "ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL"}},
		{code: "key_index_missing", status: warns, unfixable: true, since: 15, source: []string{"ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL",
			"ALTER PUBLICATION pub SET TABLE " + oddTable + " WHERE (" + oddColumn + " <> '')"}},
		{code: "keyless_table", status: warns, unfixable: true, source: []string{dropKey, "ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL"}},
		{code: "select_right", status: warns, do: func(l *lab) {
			l.asKeeper(l.source, "REVOKE SELECT ON "+oddTable+" FROM "+l.q(l.capture))
		}},
		{code: "select_right", status: warns, do: func(l *lab) {
			l.asKeeper(l.source, "REVOKE USAGE ON SCHEMA "+sqltext.Ident(oddSchema)+" FROM "+l.q(l.capture))
		}},
		{code: "source_row_security", status: warns, source: []string{"ALTER TABLE " + oddTable + " ENABLE ROW LEVEL SECURITY"}},
	}
}

// The pipeline's own session reads from the slot while it runs, under the name
// that the URL may give it.
func TestOurOwnSession(t *testing.T) {
	l := newLab(t, pgtest.Shared(t, pgtest.Majors(t)[0]), pgtest.Majors(t)[0])
	makeSlot(l)
	stream(l, "entrain_"+l.file.Source.Pipeline)
	if found := l.findings("slot_active"); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	l.file.Source.URL += "?application_name=mine"
	if found := l.findings("slot_active"); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

// What is well but worth saying has a reason and no fix.
func TestUnchangedValues(t *testing.T) {
	l := newLab(t, pgtest.Shared(t, pgtest.Majors(t)[0]), pgtest.Majors(t)[0])
	source, _ := l.check()
	for _, f := range source.Findings {
		if f.Code == "unchanged_values" && (f.Status != entrain.FindingOK || !strings.Contains(f.Why, oddTable) || len(f.Fix) > 0) {
			t.Errorf("%+v", f)
		}
	}
	l.asKeeper(l.source, "ALTER TABLE "+oddTable+" REPLICA IDENTITY FULL")
	source, _ = l.check()
	for _, f := range source.Findings {
		if f.Code == "unchanged_values" && f.Why != "" {
			t.Errorf("under FULL: %+v", f)
		}
	}
}
