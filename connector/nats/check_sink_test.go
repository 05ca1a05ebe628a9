package nats

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

func lookSink(t *testing.T, s *Sink) []entrain.Finding {
	t.Helper()
	return lookAt(t, s, "nats.md#")
}

// TestSinkCheckFindsNothing: a server as it should be, before and behind a run; looking
// makes nothing, and nobody who listens gets anything.
func TestSinkCheckFindsNothing(t *testing.T) {
	at := newElsewhere(t)
	nc, err := natsgo.Connect(at.url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	heard := make(chan *natsgo.Msg, 100)
	for _, subject := range []string{"changes.>", "entrain.>", "shop.>"} {
		if _, err := nc.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	sinks := []*Sink{newSink(t, at, SinkConfig{}), newSink(t, at, debeziumConfig())}
	for _, s := range sinks {
		if bad := lookSink(t, s); len(bad) > 0 {
			t.Errorf("before: %+v", bad)
		}
	}
	for name := range jetStream(t, at.url).StreamNames(t.Context()).Name() {
		t.Errorf("the check made the stream %s", name)
	}
	if err := nc.Flush(); err != nil || len(heard) > 0 {
		t.Errorf("%d messages were heard, %v", len(heard), err)
	}
	for _, s := range sinks {
		w, _ := openSink(t, s)
		write(t, w, batchOf(1, inserts(1, 3)...))
		if bad := lookSink(t, s); len(bad) > 0 {
			t.Errorf("behind: %+v", bad)
		}
	}
}

// one is the only thing that is not well, with its code.
func one(t *testing.T, s *Sink, code, says string) entrain.Finding {
	t.Helper()
	bad := lookSink(t, s)
	if len(bad) != 1 || bad[0].Code != code || !strings.Contains(bad[0].Why, says) {
		t.Fatalf("found %+v, want %s: %s", bad, code, says)
	}
	return bad[0]
}

// TestSinkCheckStream: limits under which changes or positions get lost are found, and
// gone behind the command.
func TestSinkCheckStream(t *testing.T) {
	var small SinkConfig
	small.Server.MaxBytes = 1 << 20
	for name, c := range map[string]struct {
		cfg    SinkConfig
		older  bool
		set    func(*jetstream.StreamConfig)
		says   string
		status entrain.FindingStatus
		fixed  bool
	}{
		"memory":      {set: func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, says: "memory", status: entrain.FindingError},
		"interest":    {set: func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, says: "interest", status: entrain.FindingError},
		"no purge":    {set: func(c *jetstream.StreamConfig) { c.DenyPurge = true }, says: "deny_purge", status: entrain.FindingError},
		"no answers":  {set: func(c *jetstream.StreamConfig) { c.NoAck = true }, says: "no_ack", status: entrain.FindingError, fixed: true},
		"size":        {set: func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, says: "1000 bytes", status: entrain.FindingWarning, fixed: true},
		"per subject": {set: func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, says: "5 messages", status: entrain.FindingWarning, fixed: true},
		"full": {cfg: small, set: func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1<<20, jetstream.DiscardNew }, says: "discard: new",
			status: entrain.FindingWarning, fixed: true},
		"window": {older: true, set: func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, says: "remembers for 1s", status: entrain.FindingWarning, fixed: true},
	} {
		t.Run(name, func(t *testing.T) {
			at := newElsewhere(t)
			js := jetStream(t, at.url)
			cfg := jetstream.StreamConfig{Name: "changes", Subjects: []string{"changes.>", "entrain.position.changes.*"}, AllowAtomicPublish: true}
			c.set(&cfg)
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			s := newSink(t, at, c.cfg)
			s.backend.withoutBatches = c.older
			bad := one(t, s, codeStream, c.says)
			if bad.Status != c.status || (len(bad.Fix) > 0) != c.fixed {
				t.Errorf("found %+v", bad)
			}
			if !c.fixed {
				return
			}
			obey(t, js, bad.Fix[0].Shell)
			if bad := lookSink(t, s); len(bad) > 0 {
				t.Errorf("behind the command: %+v", bad)
			}
			w, _ := openSink(t, s)
			write(t, w, batchOf(1, inserts(1, 3)...))
		})
	}
}

// TestSinkCheckShared: a bound lets the position of another pipeline go that rests.
func TestSinkCheckShared(t *testing.T) {
	at := newElsewhere(t)
	other, err := NewSink(SinkConfig{Server: ServerConfig{URL: at.url}, Pipeline: "other"})
	if err != nil {
		t.Fatal(err)
	}
	openSink(t, other)
	var cfg SinkConfig
	cfg.Server.MaxBytes = 1 << 20
	bad := one(t, newSink(t, at, cfg), codeStream, "entrain.position.changes.other")
	if bad.Status != entrain.FindingError || bad.Fix[0].Config != "retention: 168h" {
		t.Errorf("found %+v", bad)
	}
	cfg.Server.MaxBytes, cfg.Server.Retention = 0, 168*time.Hour
	if bad := lookSink(t, newSink(t, at, cfg)); len(bad) > 0 {
		t.Errorf("with the fix: %+v", bad)
	}
}

// TestSinkCheckForeign: subjects that another stream has are found; in that stream the
// sink finds its place, as the finding says.
func TestSinkCheckForeign(t *testing.T) {
	at := newElsewhere(t)
	js := jetStream(t, at.url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "theirs", Subjects: []string{"changes.>"}, AllowAtomicPublish: true}); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, at, SinkConfig{})
	bad := one(t, s, codeForeign, "changes.*.*.*")
	var stop *entrain.Stop
	if _, err := s.Open(t.Context()); !errors.As(err, &stop) || stop.Code != codeForeign || bad.Status != entrain.FindingError {
		t.Errorf("found %+v; a session says %v", bad, err)
	}
	name, _ := strings.CutPrefix(bad.Fix[0].Config, "stream: ")
	var cfg SinkConfig
	cfg.Server.Stream = name
	s = newSink(t, at, cfg)
	if bad := lookSink(t, s); len(bad) > 0 {
		t.Errorf("with the fix: %+v", bad)
	}
	w, _ := openSink(t, s)
	write(t, w, batchOf(1, inserts(1, 3)...))
}

// TestSinkCheckRights: subjects that a user may not publish to are named, each; with the
// lines of the finding the sink works. A session that is denied one says so at once.
func TestSinkCheckRights(t *testing.T) {
	const user = "authorization { users: [ { user: entrain, password: secret, "
	for name, cfg := range map[string]SinkConfig{"native": {}, "debezium": debeziumConfig()} {
		t.Run(name, func(t *testing.T) {
			sink := func(at *elsewhere) *Sink {
				return newSink(t, &elsewhere{url: strings.Replace(at.url, "nats://", "nats://entrain:secret@", 1)}, cfg)
			}
			narrow := sink(startWith(t, user+`permissions: { publish: { allow: ["$JS.API.>", "entrain.position.*.*"] } } } ] }`))
			bad := lookSink(t, narrow)
			if len(bad) == 0 || strings.Contains(bad[0].Object+bad[0].Why, "secret") {
				t.Fatalf("found %+v", bad)
			}
			for _, f := range bad {
				if f.Code != codeRights || f.Status != entrain.FindingError || strings.Contains(f.Object, "$JS") || strings.Contains(f.Object, "position") {
					t.Errorf("found %+v", f)
				}
			}
			w, _ := openSink(t, narrow)
			began := time.Now()
			stop := stopOf(t, w.Write(t.Context(), batchOf(1, inserts(1, 3)...)), codeDenied)
			if took := time.Since(began); took > 10*time.Second || !strings.Contains(stop.Next, bad[0].Fix[0].Config) {
				t.Errorf("after %s it says %v", took, stop)
			}
			none := lookSink(t, sink(startWith(t, user+`permissions: { publish: { allow: ["x"] }, subscribe: { allow: ["x"] } } } ] }`)))
			if len(none) < len(bad)+4 {
				t.Errorf("without any right: %+v", none)
			}
			s := sink(startWith(t, user+bad[0].Fix[0].Config+" } ] }"))
			if bad := lookSink(t, s); len(bad) > 0 {
				t.Errorf("with the rights: %+v", bad)
			}
			w, _ = openSink(t, s)
			write(t, w, batchOf(1, inserts(1, 1)...)) // older positions are removed behind it
		})
	}
}

// TestCheckTurnsJetStreamOn: the command that turns JetStream on does.
func TestCheckTurnsJetStreamOn(t *testing.T) {
	bad := one(t, newSink(t, startServer(t, server.Options{NoSystemAccount: true}, withoutJetStream), SinkConfig{}), codeServer, "JetStream")
	dir := t.TempDir()
	shell := strings.ReplaceAll(bad.Fix[0].Shell, "/var/lib/nats", filepath.Join(dir, "store"))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", shell)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", shell, err, out)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(writeFile(t, string(lines)))
	if err != nil || !o.JetStream || !o.SyncAlways {
		t.Fatalf("%s: %v", lines, err)
	}
	if bad := lookSink(t, newSink(t, startServer(t, *o), SinkConfig{})); len(bad) > 0 {
		t.Errorf("then: %+v", bad)
	}
}

// TestCheckRoom: more room than the account may have, and none where it has to be
// bounded, are found for streams and sinks; with what is printed all is made.
func TestCheckRoom(t *testing.T) {
	bounded := startWith(t, `accounts { A { jetstream: { max_file: 10MB, max_streams: 5 }, users: [ { user: a, password: a } ] } }`)
	bounded.url = strings.Replace(bounded.url, "nats://", "nats://a:a@", 1)
	var cfg SinkConfig
	cfg.Server.MaxBytes = 1 << 30
	bad := one(t, newSink(t, bounded, cfg), codeStream, "1073741824")
	if bad.Fix[0].Config != "max_bytes: 9437184" {
		t.Errorf("found %+v", bad)
	}
	log := ServerConfig{URL: bounded.url, Config: Config{MaxBytes: 1 << 30}}
	if bad := look(t, newServerLog(t, log)); len(bad) != 1 || bad[0].Code != codeStream {
		t.Errorf("of the stream: %+v", bad)
	}
	log.MaxBytes = 9437184
	l := newServerLog(t, log)
	if bad := look(t, l); len(bad) > 0 {
		t.Errorf("with the fix: %+v", bad)
	}
	made(t, l, nil)
}
