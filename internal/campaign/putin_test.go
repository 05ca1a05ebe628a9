package campaign

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestStreamPutIn: a pipeline that went without a stream does not go on with an
// empty one. Both ways out that the stop names lead on: without the stream, or
// anew.
func TestStreamPutIn(t *testing.T) {
	t.Parallel()
	s, _ := shop(t, someMajor(t))
	file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	addOrders(t, s.source, 1, 10)
	run := func(code int) string {
		t.Helper()
		p := launch(t, "run", "--until", "now", file.path)
		p.exit(t, code)
		return p.stderr.String()
	}
	run(exitOK) // makes the slot
	addOrders(t, s.source, 11, 20)
	run(exitOK)
	s.wantOrders(t, 10)
	file.add(t, "stream: {type: embedded}")
	text := run(exitEnvironment)
	if !strings.Contains(text, "stream_put_in") || !strings.Contains(text, "entrain teardown "+file.path) {
		t.Errorf("said %s", text)
	}
	addOrders(t, s.source, 21, 30)
	file.edit(t, "stream: {type: embedded}\n", "")
	run(exitOK)
	s.wantOrders(t, 20)
	file.add(t, "stream: {type: embedded}")
	run(exitEnvironment)
	launch(t, "teardown", "--yes", file.path).exit(t, exitOK)
	pgtest.Exec(t, s.target, "TRUNCATE orders")
	file.edit(t, "snapshot: {mode: never}", "snapshot: {mode: initial}")
	run(exitOK)
	s.wantOrders(t, 30)
}
