package campaign

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestStreamCopyAndResyncKills: the process is killed again and again in the first copy
// and in a resync, both through a stream, while 16 writers change the rows: in the end
// the target has what the source has, and no row twice where none has a key (P1, P2, P9).
func TestStreamCopyAndResyncKills(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		streamKills(t, embedded(""))
	})
	t.Run("kafka", func(t *testing.T) {
		if !wide() {
			t.Skip("with ENTRAIN_TEST_WIDE=1")
		}
		t.Parallel()
		streamKills(t, fmt.Sprintf("stream: {type: kafka, brokers: [%q], session_timeout: %s}", kafkatest.Start(t).Addr(), sessionTimeout))
	})
}

func streamKills(t *testing.T, stream string) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, fullSQL)
	file := writeSections(t, pgtest.Name(t), "source: "+fromPostgres(source), "snapshot: {mode: initial, parallel: 2, chunk_rows: 300}", stream,
		"sinks: ["+sinkNamed("copy", creating(intoPostgres(target)))+"]")
	stop := hustle(t, source, 20*time.Millisecond, 29)
	step := 24
	if wide() {
		step = 6
	}
	copying := killAfter(t, file, step, func(string) {})
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	pgtest.Exec(t, target, "DELETE FROM parts WHERE person % 3 = 0", "UPDATE parts SET n = -1 WHERE person % 5 = 0")
	p := launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	file.order(t, "resync", "public.parts")
	p.kill()
	resyncing := killUntilStreaming(t, file, "public.parts")
	stop()
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	want, err := query(t.Context(), source, rowsSQL29)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query(t.Context(), target, rowsSQL29)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("source %v\ntarget %v, %v", want, got, err)
	}
	left := pgtest.QueryOne(t, target, "SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'entrain' AND relkind = 'r'")
	if strings.Contains(left, "double") {
		t.Errorf("the target keeps %s", left)
	}
	if copying < 3 || resyncing < 3 {
		t.Errorf("%d kills in the copy and %d in the resync", copying, resyncing)
	}
	t.Logf("equal under %d kills in the copy, %d in the resync and %d writers", copying, resyncing, writers)
}
