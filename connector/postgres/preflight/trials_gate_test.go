package preflight_test

import (
	"strings"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const oddMark = `mark"ed 'x' \`

// gating turns the version gate on, after what else is to be done.
func gating(do ...func(l *lab)) func(l *lab) {
	return func(l *lab) {
		for _, f := range do {
			f(l)
		}
		l.file.Sink.VersionGate = true
	}
}

// gateTables makes the gate's tables as the owner of the schema.
func gateTables(l *lab) {
	limitEntrain(l)
	l.asKeeper(l.target, versiongate.Create...)
}

func (l *lab) grantGate(right string) {
	l.asKeeper(l.target, "GRANT "+right+" ON entrain."+strings.Join(versiongate.Tables, ", entrain.")+" TO "+l.q(l.apply))
}

// rekey gives the lab's table another key at each end.
func rekey(source, target string) (atSource, atTarget []string) {
	alter := func(typ string) []string {
		return []string{"ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey"),
			"ALTER TABLE " + oddTable + " ALTER " + oddColumn + " TYPE " + typ + " USING NULL, ADD PRIMARY KEY (" + oddColumn + ")"}
	}
	return alter(source), alter(target)
}

func gateTrials() []trial {
	dropKey := "ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey")
	all := []trial{
		{code: "gate_rights", status: fails, do: gating(func(l *lab) { limitEntrain(l) })},
		{code: "gate_rights", status: fails, do: gating(gateTables)},
		{code: "gate_rights", status: fails, do: gating(gateTables, func(l *lab) { l.grantGate("SELECT, INSERT, UPDATE") })},
		{code: "gate_key", status: fails, unfixable: true, source: []string{dropKey, "ALTER TABLE " + oddTable + " REPLICA IDENTITY FULL"},
			target: []string{dropKey}, do: gating()},
		{code: "gate_key", status: fails, target: []string{dropKey}, do: gating()},
		{code: "gate_key", status: fails, target: []string{dropKey, "ALTER TABLE " + oddTable + " ADD PRIMARY KEY (id) DEFERRABLE"}, do: gating()},
		{code: "gate_shared", status: fails, do: gating(gateTables, func(l *lab) {
			l.grantGate("ALL")
			pgtest.Exec(l.t, l.target, "INSERT INTO entrain.gate VALUES ('an''other', 'floor', "+
				sqltext.Literal(oddSchema+"."+oddName)+", 1, 1, 1, 1), ('an''other', 'start', '', NULL, 1, 1, 1)")
		})},
		{code: "gate_off", status: warns, do: func(l *lab) {
			l.file.Sink.ConflictStrategy, l.file.Sink.GateOff = "source_lsn_priority", true
		}},
	}
	for _, pair := range [][2]string{{"varchar(20)", "varchar(10)"}, {"int8", "text"}, {"timestamptz", "timestamptz(3)"}} {
		source, target := rekey(pair[0], pair[1])
		all = append(all, trial{code: "gate_key", status: fails, source: source, target: target, do: gating()})
	}
	for _, pair := range [][2]string{{"numeric", "numeric"}, {"float8", "float8"},
		{`text COLLATE "C"`, "text COLLATE mild"}} {
		source, target := rekey(pair[0], pair[1])
		if pair[1] == "text COLLATE mild" {
			target = append([]string{"CREATE COLLATION mild (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"}, target...)
		}
		all = append(all, trial{code: "gate_key", status: fails, unfixable: true, source: source, target: target, do: gating()})
	}
	return all
}

// softly marks deleted rows, after what else is to be done.
func softly(do ...func(l *lab)) func(l *lab) {
	return func(l *lab) {
		for _, f := range do {
			f(l)
		}
		l.file.Sink.SoftDelete.Column = oddMark
	}
}

func softTrials() []trial {
	mark := sqltext.Ident(oddMark)
	add := func(definition string) []string {
		return []string{"ALTER TABLE " + oddTable + " ADD " + mark + " " + definition}
	}
	dropKey := "ALTER TABLE " + oddTable + " DROP CONSTRAINT " + sqltext.Ident(oddName+"_pkey")
	function := "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
	fire := "CREATE TRIGGER \"tri\"\"gger\" BEFORE DELETE ON " + oddTable + " FOR EACH ROW EXECUTE FUNCTION f()"
	return []trial{
		{code: "soft_delete_column", status: fails, do: softly()},
		{code: "soft_delete_column", status: fails, unfixable: true, source: add("timestamptz"), target: add("timestamptz"), do: softly()},
		{code: "soft_delete_column", status: fails, unfixable: true, target: add("text"), do: softly()},
		{code: "soft_delete_column", status: fails, unfixable: true, target: add("bool GENERATED ALWAYS AS (id > 5) STORED"), do: softly()},
		{code: "soft_delete_column", status: fails, target: add("timestamptz NOT NULL DEFAULT now()"), do: softly()},
		{code: "soft_delete_column", status: fails, target: add("timestamp DEFAULT localtimestamp"), do: softly()},
		{code: "soft_delete_column", status: fails, target: add("bool NOT NULL DEFAULT true"), do: softly()},
		{code: "soft_delete_column", status: fails, target: append(add("bool NOT NULL DEFAULT false"), dropKey), do: softly()},
		{code: "soft_delete_column", status: fails, target: []string{"DROP TABLE " + oddTable}, do: copying(softly(func(l *lab) {
			l.file.Sink.CreateTables = true
			l.asKeeper(l.target, "GRANT CREATE ON SCHEMA "+sqltext.Ident(oddSchema)+" TO "+l.q(l.apply))
		}))},
		{code: "soft_delete_triggers", status: warns, do: softly(), target: append(add("timestamptz"),
			function+"$$BEGIN UPDATE x SET "+mark+" = now(); RETURN NULL; END$$", fire)},
		{code: "soft_delete_triggers", status: warns, do: softly(), target: append(add("timestamptz"), function+"'BEGIN RETURN NEW; END'",
			`CREATE TRIGGER "tri""gger" BEFORE UPDATE OF `+mark+" ON "+oddTable+" FOR EACH ROW EXECUTE FUNCTION f()",
			"ALTER TABLE "+oddTable+` ENABLE ALWAYS TRIGGER "tri""gger"`)},
	}
}
