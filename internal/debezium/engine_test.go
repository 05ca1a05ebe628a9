package debezium

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// runEngine lets the real engine read what the slot has, once for each variant,
// and returns the records it emitted by the variant's name.
func runEngine(t *testing.T, db, slot string, all []variant) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	libs := fetchEngine(t)
	args := []string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(libs, "*"), "engine/Record.java"}
	for i, v := range all {
		own := fmt.Sprintf("%s_%d", slot, i)
		pgtest.Exec(t, db, fmt.Sprintf("SELECT pg_copy_logical_replication_slot('%s', '%s')", slot, own))
		file := filepath.Join(dir, v.name)
		if err := os.WriteFile(file, []byte(properties(t, db, own, v)), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.CommandContext(t.Context(), "java", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("the engine: %v\n%s", err, out)
	}
	records := make(map[string][]byte)
	for _, v := range all {
		text, err := os.ReadFile(filepath.Join(dir, v.name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		records[v.name] = text
	}
	return records
}

// fetchEngine returns a folder with the engine's libraries, which Maven keeps.
func fetchEngine(t *testing.T) string {
	t.Helper()
	libs := filepath.Join(t.TempDir(), "libs")
	out, err := exec.CommandContext(t.Context(), "mvn", "-q", "-B", "-f", "engine/pom.xml",
		"dependency:copy-dependencies", "-DoutputDirectory="+libs).CombinedOutput()
	if err != nil {
		t.Fatalf("fetch the engine: %v\n%s", err, out)
	}
	return libs
}

// properties are the engine's settings for a variant.
func properties(t *testing.T, db, slot string, v variant) string {
	t.Helper()
	u, err := url.Parse(db)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"name=compare",
		"connector.class=io.debezium.connector.postgresql.PostgresConnector",
		"offset.storage=org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
		"database.hostname=" + u.Hostname(),
		"database.port=" + u.Port(),
		"database.user=" + u.User.Username(),
		"database.password=none",
		"database.dbname=" + strings.TrimPrefix(u.Path, "/"),
		"topic.prefix=shop",
		"plugin.name=pgoutput",
		"slot.name=" + slot,
		"publication.name=" + publication,
		"publication.autocreate.mode=disabled",
		"snapshot.mode=no_data",
		"skipped.operations=none",
		"converter.schemas.enable=false",
		"poll.interval.ms=5",
	}
	return strings.Join(append(lines, v.properties...), "\n") + "\n"
}
