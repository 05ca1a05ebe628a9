package pgoutput

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

var update = flag.Bool("update", false, "record testdata/golden.txt again")

const goldenFile = "testdata/golden.txt"

// goldenMessages reads the recorded messages: pairs of lines, what a server
// sent and what it means.
func goldenMessages(t testing.TB) (raw [][]byte, want []string) {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		data, err := hex.DecodeString(lines[i])
		if err != nil {
			t.Fatalf("%s:%d: %v", goldenFile, i+1, err)
		}
		raw, want = append(raw, data), append(want, lines[i+1])
	}
	return raw, want
}

// TestGolden: what servers sent reads as it did when it was recorded.
func TestGolden(t *testing.T) {
	raw, want := goldenMessages(t)
	var m Message
	kinds := ""
	for i, data := range raw {
		if err := Parse(data, &m); err != nil {
			t.Fatalf("%s: %v", want[i], err)
		}
		if got := show(&m); got != want[i] {
			t.Errorf("message %d is %s, want %s", i, got, want[i])
		}
		kinds += string(m.Kind)
	}
	for _, kind := range "BCORYIUDTM" {
		if !strings.ContainsRune(kinds, kind) {
			t.Errorf("no message %c was recorded", kind)
		}
	}
}

// script makes a message of each kind, in each form.
var script = []string{
	"CREATE TYPE mood AS ENUM ('sad', 'ok')",
	"CREATE TABLE d (id int PRIMARY KEY, v varchar(10), big text, m mood); ALTER TABLE d ALTER big SET STORAGE EXTERNAL",
	"CREATE TABLE f (id int PRIMARY KEY, v text); ALTER TABLE f REPLICA IDENTITY FULL",
	"CREATE PUBLICATION p FOR TABLE d, f",
	"SELECT pg_create_logical_replication_slot('SLOT', 'pgoutput')",
	"INSERT INTO d VALUES (1, 'a', repeat('x', 3000), 'ok'), (2, NULL, '', NULL); INSERT INTO f VALUES (1, 'ü')",
	"UPDATE d SET v = 'b' WHERE id = 1",
	"UPDATE d SET id = 3 WHERE id = 1",
	"UPDATE f SET v = NULL",
	"DELETE FROM d; DELETE FROM f",
	"TRUNCATE d, f RESTART IDENTITY CASCADE",
	"TRUNCATE d",
	"SELECT pg_logical_emit_message(true, 'pre', 'inside')",
	"SELECT pg_logical_emit_message(false, 'pre', '\\x00ff'::bytea)",
	"SELECT pg_replication_origin_create('SLOT'); SELECT pg_replication_origin_session_setup('SLOT')",
	"INSERT INTO d VALUES (9, 'o', NULL, NULL)",
}

// record runs the script and returns the messages in hexadecimal.
func record(t *testing.T, url string) []string {
	t.Helper()
	slot := pgtest.Name(t)
	sql := make([]string, len(script))
	for i, text := range script {
		sql[i] = strings.ReplaceAll(text, "SLOT", slot)
	}
	pgtest.Exec(t, url, sql...)
	rows := pgtest.Query(t, url, fmt.Sprintf(`SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('%s', NULL, NULL,
		'proto_version', '1', 'publication_names', 'p', 'messages', 'true')`, slot))
	pgtest.Eventually(t, time.Minute, "the session that had the origin is gone", func() bool {
		return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == "1"
	})
	pgtest.Exec(t, url, fmt.Sprintf("SELECT pg_replication_origin_drop('%s')", slot))
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = row[0]
	}
	return out
}

// withoutEmpty leaves out transactions without changes, which versions before 15
// send: those of the server's own housekeeping, too.
func withoutEmpty(lines []string) []string {
	var out []string
	for _, line := range lines {
		n := len(out)
		if n > 0 && strings.HasPrefix(line, "COMMIT") && strings.HasPrefix(out[n-1], "BEGIN") {
			out = out[:n-1]
			continue
		}
		out = append(out, line)
	}
	return out
}

var changing = regexp.MustCompile(`(final|at|end|time|xid|type)=\S+?([ )]|$)|[0-9]{5,}|"t[0-9]+_[a-z0-9_]*"|x{100,}`)

// stable takes out of a rendered message what differs between two runs.
func stable(line string) string { return changing.ReplaceAllString(line, "$1$2") }

// TestServersSendWhatWasRecorded: every version sends the recorded messages.
func TestServersSendWhatWasRecorded(t *testing.T) {
	for i, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			messages := record(t, pgtest.CreateDatabase(t, pgtest.Shared(t, major)))
			var got, file []string
			for _, text := range messages {
				data, err := hex.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				var m Message
				if err := Parse(data, &m); err != nil {
					t.Fatalf("message %s: %v", text, err)
				}
				got = append(got, stable(show(&m)))
				file = append(file, text, show(&m))
			}
			if *update && i == 0 {
				if err := os.WriteFile(goldenFile, []byte(strings.Join(file, "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, want := goldenMessages(t)
			for i := range want {
				want[i] = stable(want[i])
			}
			if diff := cmp.Diff(want, withoutEmpty(got)); diff != "" {
				t.Errorf("(-recorded +sent):\n%s", diff)
			}
		})
	}
}
