package capture

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// encodedDatabase makes a database with an encoding of its own, to be spoken to
// in UTF-8.
func encodedDatabase(t *testing.T, major int, encoding string) string {
	t.Helper()
	srv := pgtest.Shared(t, major)
	name := pgtest.Name(t)
	pgtest.Exec(t, srv.URL("postgres"), fmt.Sprintf(
		"CREATE DATABASE %s ENCODING '%s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'", name, encoding))
	return srv.URL(name) + "?client_encoding=UTF8"
}

// eachEncoded runs the test in a database of the encoding on each version, with
// a source whose slot, of which there are few, goes with the test.
func eachEncoded(t *testing.T, encoding string, run func(t *testing.T, src *Source, url string)) {
	t.Helper()
	eachMajor(t, func(t *testing.T, major int) {
		url := encodedDatabase(t, major, encoding)
		pgtest.Exec(t, url, oneTable, "CREATE PUBLICATION pub FOR ALL TABLES", "GRANT SELECT ON t TO PUBLIC")
		src := newTestSource(t, url)
		run(t, src, url)
		pgtest.Exec(t, url, dropSlot(src.cfg.Slot))
	})
}

// TestEncodings: PG-31, P1. Names, values and prefixes of databases in other
// encodings come in UTF-8.
func TestEncodings(t *testing.T) {
	texts := map[string]string{"LATIN1": "Ünï ÿ", "WIN1252": "€ ‚Ž", "EUC_JP": "日本語", "KOI8R": "Привет", "UTF8": "日本 €🎉"}
	for encoding, text := range texts {
		t.Run(encoding, func(t *testing.T) {
			eachEncoded(t, encoding, func(t *testing.T, src *Source, url string) {
				pgtest.Exec(t, url, fmt.Sprintf(`CREATE TABLE "%[1]s" (id int PRIMARY KEY, "c %[1]s" text, a text[])`, text))
				from := createSlot(t, src)
				pgtest.Exec(t, url, fmt.Sprintf(`INSERT INTO "%[1]s" VALUES (1, '%[1]s', ARRAY['%[1]s'])`, text),
					fmt.Sprintf("SELECT pg_logical_emit_message(true, '%s', 'x')", text))
				captureExactly(t, src, from, fmt.Sprintf(`"table":"%s","schema_version":`, text), fmt.Sprintf(`"prefix":"%s"`, text))
				captureExactly(t, src, from, fmt.Sprintf(`"after":{"id":1,"c %[1]s":"%[1]s","a":"{`, text), "")
			})
		})
	}
}

// TestNoEncoding: PG-31, P1. A database without an encoding holds any bytes:
// those that are UTF-8 are text, all others come as they are.
func TestNoEncoding(t *testing.T) {
	eachEncoded(t, "SQL_ASCII", func(t *testing.T, src *Source, url string) {
		pgtest.Exec(t, url, `CREATE TABLE "naïve" (id int PRIMARY KEY)`)
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'ünï🎉')", `INSERT INTO t VALUES (2, E'caf\xe9')`,
			`UPDATE t SET v = E'\xff\xfe' WHERE id = 1`, `INSERT INTO "naïve" VALUES (1)`)
		captureExactly(t, src, from, `"v":"ünï🎉"`, `"v":{"base64":"Y2Fm6Q=="}`, `"v":{"base64":"//4="}`, `"table":"naïve"`)
	})
}

// TestStopNameUnreadable: a name that is no text is refused when a row of its
// table comes; what came before is delivered.
func TestStopNameUnreadable(t *testing.T) {
	eachEncoded(t, "SQL_ASCII", func(t *testing.T, src *Source, url string) {
		const in = "DO $$ BEGIN EXECUTE E'%s'; END $$"
		from := createSlot(t, src)
		pgtest.Exec(t, url, fmt.Sprintf(in, `CREATE TABLE "caf\xe9" (id int PRIMARY KEY)`), "INSERT INTO t VALUES (1, 'before')",
			fmt.Sprintf(in, `INSERT INTO "caf\xe9" VALUES (1)`))
		stopAfter(t, openReader(t, src, from), "name_unreadable", `caf\xe9`)
	})
}

// TestStopTextUntranslatable: P1. A character that UTF-8 does not have is a
// named stop that tells its place; what came before is delivered.
func TestStopTextUntranslatable(t *testing.T) {
	eachEncoded(t, "WIN1252", func(t *testing.T, src *Source, url string) {
		from := createSlot(t, src)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'before')",
			`INSERT INTO t VALUES (2, convert_from('\x81', 'WIN1252'))`)
		stopAfter(t, openReader(t, src, from), "text_untranslatable", "0x81", "LSN")
	})
}

// stopAfter reads a session to its end: one event, then the named stop, which
// tells what the words say.
func stopAfter(t *testing.T, r *reader, code string, words ...string) {
	t.Helper()
	defer closeReader(t, r)
	if got := captureLines(t, r, 1); len(got.lines) != 1 || !strings.Contains(got.lines[0], "before") {
		t.Errorf("before the stop came %q", got.lines)
	}
	stop := expectStop(t, readUntilError(t, r), code)
	for _, word := range words {
		if !strings.Contains(stop.What, word) {
			t.Errorf("the stop does not tell %s: %s", word, stop.What)
		}
	}
}
