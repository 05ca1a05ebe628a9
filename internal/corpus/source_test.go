package corpus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// Settings of databases and roles that must change nothing; those of the two ends differ.
var (
	sourceSettings = []string{"datestyle = 'German'", "intervalstyle = 'iso_8601'", "extra_float_digits = '0'", "bytea_output = 'escape'",
		"timezone = 'Asia/Kathmandu'", "xmloption = 'document'", "quote_all_identifiers = 'on'"}
	targetSettings = []string{"datestyle = 'SQL, MDY'", "intervalstyle = 'sql_standard'", "extra_float_digits = '-3'", "timezone = 'Pacific/Apia'"}
)

// ends are the databases of a test and what they hold.
type ends struct {
	source, target string
	kinds          []*kind
	byTable        map[string]*kind
}

// newEnds makes both databases with the tables; the source has the rows of the first
// path, and those that the third one will update.
func newEnds(t *testing.T, major int) *ends {
	t.Helper()
	srv := pgtest.Shared(t, major)
	e := &ends{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), kinds: kinds(t, major), byTable: map[string]*kind{}}
	setup, err := testdata.ReadFile("testdata/setup.sql")
	if err != nil {
		t.Fatal(err)
	}
	create, fill := []string{string(setup)}, []string{settings() + "SET search_path = public, pg_catalog"}
	for _, k := range e.kinds {
		e.byTable[k.table] = k
		create = append(create, k.createSQL())
		fill = append(fill, k.fillSQL(), fmt.Sprintf("INSERT INTO public.%[1]s (id) SELECT id + %[2]d FROM public.%[1]s", k.table, pathUpdate*pathStep))
	}
	pgtest.Exec(t, e.source, append(create, "CREATE PUBLICATION pub FOR ALL TABLES")...)
	pgtest.Exec(t, e.target, create...)
	pgtest.Exec(t, e.source, fill...)
	unsettle(t, e.source, sourceSettings)
	unsettle(t, e.target, targetSettings)
	return e
}

func unsettle(t *testing.T, url string, settings []string) {
	t.Helper()
	for _, s := range settings {
		pgtest.Exec(t, url, fmt.Sprintf("DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET ', current_database()) || %s; END $$", quoted(s)))
	}
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// settings makes a session print values as those of sources do.
func settings() string {
	var sql strings.Builder
	for name, value := range dial.SessionSettings() {
		fmt.Fprintf(&sql, "SET %s = %s; ", name, quoted(value))
	}
	return sql.String()
}

// change writes what the stream and the updates bring, each in a transaction.
func (e *ends) change(t *testing.T) {
	t.Helper()
	var insert, update strings.Builder
	for _, k := range e.kinds {
		insert.WriteString(k.copySQL(pathStream))
		fmt.Fprintf(&update, "UPDATE public.%[1]s d SET v = s.v, a = s.a FROM public.%[1]s s WHERE d.id = s.id + %[2]d AND s.id < %[3]d;",
			k.table, pathUpdate*pathStep, pathStep)
	}
	pgtest.Exec(t, e.source, insert.String(), update.String())
}

// copySQL writes the rows once more, for a path.
func (k *kind) copySQL(path int) string {
	return fmt.Sprintf("INSERT INTO public.%[1]s SELECT id + %[2]d, v, a FROM public.%[1]s WHERE id < %[3]d;", k.table, path*pathStep, pathStep)
}

// cell is a place in the corpus: a column of a row.
type cell struct {
	table  string
	id     int
	column string // v, a
}

// texts are the values of a database as its server prints them; nil is NULL.
func (e *ends) texts(t *testing.T, url string, below int) map[cell]*string {
	t.Helper()
	var queries []string
	for _, k := range e.kinds {
		queries = append(queries, fmt.Sprintf("SELECT '%[1]s', id, num_nulls(v), format('%%s', v), num_nulls(a), format('%%s', a) FROM public.%[1]s WHERE id < %[2]d", k.table, below))
	}
	all := map[cell]*string{}
	for _, row := range pgtest.Query(t, url, settings()+strings.Join(queries, " UNION ALL ")) {
		id, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		for i, column := range []string{"v", "a"} {
			text := &row[3+2*i]
			if row[2+2*i] == "1" {
				text = nil
			}
			all[cell{row[0], id, column}] = text
		}
	}
	return all
}

// TestEveryTypeIsHere: each type of the server that a column can have is in the corpus, or
// has no values that SQL can write.
func TestEveryTypeIsHere(t *testing.T) {
	without := []string{"gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}
	for _, major := range pgtest.Majors(t) {
		url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
		var here []string
		for _, k := range kinds(t, major) {
			here = append(here, fmt.Sprintf("to_regtype(%s)", quoted(k.name)))
		}
		missing := pgtest.Query(t, url, `SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e')
			AND typrelid = 0 AND typname !~ '^_' AND typisdefined AND oid <> ALL (array_remove(ARRAY[`+strings.Join(here, ", ")+`], NULL)::oid[]) ORDER BY 1`)
		for _, row := range missing {
			if !slices.Contains(without, row[0]) {
				t.Errorf("PostgreSQL %d: type %s is not in the corpus", major, row[0])
			}
		}
	}
}
