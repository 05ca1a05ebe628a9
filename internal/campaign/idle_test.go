package campaign

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// TestIdleNATS: a capture from which nothing comes notices within seconds that the NATS
// server of its stream is gone, says so in its log and status, and goes on by itself when
// it is back (P1, P2); so does a pipeline whose sink the server is.
func TestIdleNATS(t *testing.T) {
	t.Parallel()
	const within = 10 * time.Second
	o := server.Options{Host: "127.0.0.1", Port: throwaway.RandomPort(), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, SyncAlways: true}
	nats := startNATS(t, o)
	t.Cleanup(func() { endNATS(nats) })
	url := fmt.Sprintf("nats://127.0.0.1:%d", o.Port)
	srv := pgtest.Start(t, someMajor(t), nil)
	source := pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, ordersSQL)
	name := pgtest.Name(t)
	files := []pipelineFile{
		writeSections(t, name+"_stream", "source: "+fromPostgres(source), "snapshot: {mode: never}", fmt.Sprintf("stream: {type: nats, url: %q, stream: idle}", url)),
		writeSections(t, name+"_sink", "source: "+fromPostgres(source), "snapshot: {mode: never}", fmt.Sprintf("sink: {type: nats, url: %q}", url)),
	}
	var all []*process
	for i, verb := range []string{"capture", "run"} {
		all = append(all, launch(t, verb, files[i].path))
		files[i].until(t, "it streams", streaming)
	}
	wait(t.Context(), 3*time.Second) // the next position of an idle source is a minute away
	endNATS(nats)
	began := time.Now()
	for i, p := range all {
		files[i].until(t, "it notices", func(r admin.Report) bool { return !streaming(r) })
		if took := time.Since(began); took > within {
			t.Errorf("%s is noticed after %s", files[i].name, took)
		}
		pgtest.Eventually(t, within, "the log says so", func() bool { return strings.Contains(p.stderr.String(), "session ended, will start again") })
	}
	nats = startNATS(t, o)
	for i, p := range all {
		files[i].until(t, "it streams again", streaming)
		pgtest.Exec(t, source, fmt.Sprintf("INSERT INTO orders SELECT i, 'x' FROM generate_series(%d, %d) i", 10*i+1, 10*i+10))
		files[i].until(t, "it goes on", func(r admin.Report) bool { return r.Status.Applied >= 10 })
		p.signal(t, syscall.SIGTERM)
		p.exit(t, exitOK)
	}
}
