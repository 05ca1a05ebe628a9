package preflight_test

import (
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func targetTrials() []trial {
	many := sqltext.Table(`new "schema"`, "many")
	publish := "ALTER PUBLICATION pub ADD TABLE " + many
	return []trial{
		{code: "target_read_only", status: fails, do: func(l *lab) {
			pgtest.Exec(l.t, l.target, "ALTER DATABASE "+databaseOf(l.target)+" SET default_transaction_read_only = on")
		}},
		{code: "position_rights", status: fails, do: func(l *lab) {
			l.asKeeper(l.target, "REVOKE CREATE ON DATABASE "+databaseOf(l.target)+" FROM "+l.q(l.apply))
		}},
		{code: "position_rights", status: fails, target: []string{"CREATE SCHEMA entrain"}},
		{code: "same_database", status: fails, unfixable: true, do: func(l *lab) { l.file.Sink.URL = l.file.Source.URL }},
		{code: "type_missing", status: fails, unfixable: true, source: []string{
			"CREATE SCHEMA \"new \"\"schema\"\"\"", "CREATE TYPE " + sqltext.Table(`new "schema"`, "mood") + " AS ENUM ('up')",
			"CREATE TABLE " + many + " (id int PRIMARY KEY, m " + sqltext.Table(`new "schema"`, "mood") + ")", publish}},
		{code: "table_missing", status: fails, target: []string{"DROP TABLE " + oddTable}},
		{code: "table_missing", status: fails, source: []string{"CREATE SCHEMA \"new \"\"schema\"\"\"", "CREATE TABLE " + many +
			` (a int, "b ""c" text, n numeric(10,3), v varchar(7), c char(3), t timestamptz(2), u bit(3), w "char", x int[], y interval(2),
			PRIMARY KEY ("b ""c", a))`, publish}},
		{code: "table_kind", status: fails, unfixable: true, target: []string{"DROP TABLE " + oddTable,
			"CREATE VIEW " + oddTable + " AS SELECT 1 AS id, 'x'::text AS " + oddColumn}},
		{code: "target_rights", status: fails, do: func(l *lab) {
			l.asKeeper(l.target, "REVOKE UPDATE, TRUNCATE ON "+oddTable+" FROM "+l.q(l.apply))
		}},
		{code: "target_rights", status: fails, do: func(l *lab) {
			l.asKeeper(l.target, "REVOKE USAGE ON SCHEMA "+sqltext.Ident(oddSchema)+" FROM "+l.q(l.apply))
		}},
		{code: "target_row_security", status: fails, target: []string{"ALTER TABLE " + oddTable + " ENABLE ROW LEVEL SECURITY"}},
	}
}

// retype gives the lab's column another type at each end.
func retype(source, target string) (atSource, atTarget []string) {
	alter := func(typ string) []string {
		return []string{"ALTER TABLE " + oddTable + " ALTER COLUMN " + oddColumn + " TYPE " + typ + " USING NULL"}
	}
	return alter(source), alter(target)
}

func columnTrials() []trial {
	all := []trial{
		{code: "column_missing", status: fails, target: []string{"ALTER TABLE " + oddTable + " DROP COLUMN " + oddColumn}},
		{code: "column_not_null", status: fails, target: []string{
			"ALTER TABLE " + oddTable + " ADD COLUMN " + sqltext.Ident(`ex"tra`) + " int NOT NULL"}},
	}
	for _, pair := range [][2]string{
		{"int8", "int4"}, {"varchar(20)", "varchar(10)"}, {"text", "varchar(10)"}, {"numeric(10,2)", "numeric(9,2)"}, {"int8", "numeric(12,0)"},
	} {
		source, target := retype(pair[0], pair[1])
		all = append(all, trial{code: "column_narrower", status: warns, source: source, target: target})
	}
	for _, pair := range [][2]string{
		{"numeric(10,4)", "numeric(10,2)"}, {"float8", "float4"}, {"timestamptz", "timestamp"}, {"timestamp", "timestamp(3)"}, {"json", "jsonb"},
	} {
		source, target := retype(pair[0], pair[1])
		all = append(all, trial{code: "column_narrower", status: fails, source: source, target: target})
	}
	source, target := retype("text", "date")
	return append(all, trial{code: "column_type", status: warns, source: source, target: target})
}

// partitionTrials: changes come through several partitions of a stream.
func partitionTrials() []trial {
	several := func(l *lab) { l.partitions = 3 }
	children := []string{
		"ALTER TABLE " + oddTable + " ADD parent int, ADD FOREIGN KEY (parent) REFERENCES " + oddTable + " NOT VALID",
		"CREATE TABLE " + sqltext.Table(oddSchema, "other") + " (id int PRIMARY KEY REFERENCES " + oddTable + ")", // is not fed
	}
	apart, fed := func(l *lab) { l.classes = true }, sqltext.Table(oddSchema, "fed")
	makeFed := "CREATE TABLE " + fed + " (id int PRIMARY KEY REFERENCES " + oddTable + ")"
	return []trial{
		{code: "class_references", status: warns, source: []string{makeFed, "ALTER PUBLICATION pub ADD TABLE " + fed}, target: []string{makeFed}, do: apart},
		{code: "partition_references", status: fails, target: children, do: several},
		{code: "partition_references", status: fails, target: []string{"ALTER TABLE " + oddTable + " ADD parent int REFERENCES " + oddTable +
			" DEFERRABLE INITIALLY DEFERRED"}, do: several},
		{code: "partition_unique", status: warns, unfixable: true, target: []string{"ALTER TABLE " + oddTable + " ADD UNIQUE (" + oddColumn + ")"}, do: several},
	}
}

func keyTrials() []trial {
	dropKey := "ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey")
	child := sqltext.Table(oddSchema, `chi"ld`)
	makeChild := "CREATE TABLE " + child + " (id int PRIMARY KEY, p int REFERENCES " + oddTable + " ON DELETE CASCADE ON UPDATE SET NULL)"
	return []trial{
		{code: "unique_key_missing", status: warns, target: []string{dropKey}},
		{code: "unique_key_deferrable", status: warns, target: []string{dropKey, "ALTER TABLE " + oddTable + " ADD PRIMARY KEY (id) DEFERRABLE"}},
		{code: "unique_key_deferrable", status: warns, target: []string{"ALTER TABLE " + oddTable + " ADD UNIQUE (id) DEFERRABLE"}}, // beside the key
		{code: "resync_rights", status: warns, do: func(l *lab) { limitEntrain(l) }},
		{code: "resync_rights", status: warns, do: copying(func(l *lab) {
			l.asKeeper(l.target, "REVOKE TEMPORARY ON DATABASE "+databaseOf(l.target)+" FROM PUBLIC")
		})},
		{code: "key_mismatch", status: fails, target: []string{dropKey, "ALTER TABLE " + oddTable + " ADD PRIMARY KEY (" + oddColumn + ")"}},
		{code: "no_equality", status: warns, unfixable: true,
			source: []string{dropKey, "ALTER TABLE " + oddTable + " ADD j json, ADD p point, REPLICA IDENTITY FULL"},
			target: []string{dropKey, "ALTER TABLE " + oddTable + " ADD j json, ADD p point"}},
		{code: "target_triggers", status: warns, target: []string{
			"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
			`CREATE TRIGGER "tri""gger" BEFORE INSERT ON ` + oddTable + " FOR EACH ROW EXECUTE FUNCTION f()",
			`CREATE RULE "ru""le" AS ON DELETE TO ` + oddTable + " DO ALSO SELECT 1"}},
		{code: "foreign_key_actions", status: warns,
			source: []string{makeChild, "ALTER PUBLICATION pub ADD TABLE " + child}, target: []string{makeChild}},
		{code: "foreign_key_actions", status: warns, unfixable: true, target: []string{makeChild}, do: func(l *lab) {
			l.file.Source.Tables = postgres.Tables{Exclude: []string{"*.other"}}
		}},
	}
}

// sequenceTrials: sequences are the target's own, by identity or by a default.
func sequenceTrials() []trial {
	alter := "ALTER TABLE " + oddTable
	own := sqltext.Table(oddSchema, `se"q'`)
	identity := alter + " ALTER id ADD GENERATED BY DEFAULT AS IDENTITY"
	grants := func(l *lab) {
		l.asKeeper(l.source, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA "+sqltext.Ident(oddSchema)+" TO "+l.q(l.capture),
			"INSERT INTO "+oddTable+" ("+oddColumn+") VALUES ('x'), ('y')")
	}
	return []trial{
		{code: "sequences", status: warns, source: []string{identity}, target: []string{identity}, do: grants},
		{code: "sequences", status: warns, source: []string{identity}, do: grants, target: []string{
			"CREATE SEQUENCE " + own, "SELECT nextval(" + sqltext.Literal(own) + ")",
			alter + " ALTER id SET DEFAULT nextval(" + sqltext.Literal(own) + ")"}},
	}
}
