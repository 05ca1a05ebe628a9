package nats

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// look returns what is not well.
func look(t *testing.T, l *Log) []entrain.Finding {
	t.Helper()
	return lookAt(t, l, "stream.md#")
}

func lookAt(t *testing.T, l entrain.Checker, page string) []entrain.Finding {
	t.Helper()
	report, err := l.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, f := range report.Findings {
		codes[f.Code] = true
		if f.Object == "" || f.Doc != page+f.Code {
			t.Errorf("%+v lacks its object or page", f)
		}
	}
	for _, code := range l.Codes() {
		if !codes[code] {
			t.Errorf("nothing is said of %s", code)
		}
	}
	return slices.DeleteFunc(report.Findings, func(f entrain.Finding) bool { return f.Status == entrain.FindingOK })
}

func newServerLog(t *testing.T, cfg ServerConfig) *Log {
	t.Helper()
	cfg.Producer = "shop"
	l, err := NewLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func jetStream(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := natsgo.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// A server as it should be, before and behind a run; looking makes nothing.
func TestCheckFindsNothing(t *testing.T) {
	at := newElsewhere(t)
	l := newServerLog(t, ServerConfig{URL: at.url})
	if bad := look(t, l); len(bad) > 0 {
		t.Errorf("before: %+v", bad)
	}
	for name := range jetStream(t, at.url).StreamNames(t.Context()).Name() {
		t.Errorf("the check made the stream %s", name)
	}
	made(t, l, nil)
	if bad := look(t, l); len(bad) > 0 {
		t.Errorf("behind: %+v", bad)
	}
}

var editCommand = regexp.MustCompile(`^nats stream edit --force (\S+) --([a-z-]+)(?:=(\S+))?(?: --max-msgs=-1)?$`)

// obey does what a command of the client nats says.
func obey(t *testing.T, js jetstream.JetStream, command string) {
	t.Helper()
	m := editCommand.FindStringSubmatch(command)
	if m == nil {
		t.Fatalf("the command is %s", command)
	}
	s, err := js.Stream(t.Context(), m[1])
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	n, _ := strconv.Atoi(m[3])
	switch m[2] {
	case "discard":
		cfg.Discard = map[string]jetstream.DiscardPolicy{"new": jetstream.DiscardNew, "old": jetstream.DiscardOld}[m[3]]
	case "dupe-window":
		cfg.Duplicates, _ = time.ParseDuration(m[3])
	case "ack":
		cfg.NoAck = false
	case "max-msgs":
		cfg.MaxMsgs = int64(n)
	case "max-age":
		cfg.MaxAge = 0
	case "max-msgs-per-subject":
		cfg.MaxMsgsPerSubject = int64(n)
	case "max-msg-size":
		cfg.MaxMsgSize = int32(n)
	case "max-bytes":
		cfg.MaxBytes, cfg.MaxMsgs = int64(n), -1
	default:
		t.Fatalf("the command is %s", command)
	}
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
}

// openStop is what a session stops with; nil if it does not.
func openStop(t *testing.T, l *Log) (stop *entrain.Stop) {
	t.Helper()
	w, err := l.Open(t.Context())
	if err == nil {
		w.Close()
	} else if !errors.As(err, &stop) {
		t.Fatal(err)
	}
	return stop
}

// Each limit that would lose something is found, and gone behind the command.
func TestCheckStreams(t *testing.T) {
	for name, c := range map[string]struct {
		values bool // the stream beside
		set    func(*jetstream.StreamConfig)
		says   string
		fixed  bool
	}{
		"discards old":  {set: func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, says: "discard: old", fixed: true},
		"age":           {set: func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, says: "1h0m0s", fixed: true},
		"per subject":   {set: func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, says: "5 messages", fixed: true},
		"size":          {set: func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, says: "1000 bytes", fixed: true},
		"memory":        {set: func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, says: "memory"},
		"no answers":    {set: func(c *jetstream.StreamConfig) { c.NoAck = true }, says: "no_ack", fixed: true},
		"no purge":      {set: func(c *jetstream.StreamConfig) { c.DenyPurge = true }, says: "deny_purge"},
		"no removal":    {set: func(c *jetstream.StreamConfig) { c.DenyDelete = true }, says: "deny_delete"},
		"sources":       {set: func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "other"}} }, says: "sources"},
		"work queue":    {set: func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, says: "retention"},
		"age of values": {values: true, set: func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, says: "1h0m0s", fixed: true},
		"room of values": {values: true, set: func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1<<20, jetstream.DiscardOld },
			says: "positions", fixed: true},
	} {
		t.Run(name, func(t *testing.T) {
			at := newElsewhere(t)
			js := jetStream(t, at.url)
			cfg := jetstream.StreamConfig{Name: "entrain_shop", Subjects: []string{"entrain.log.shop"}, Discard: jetstream.DiscardNew, AllowAtomicPublish: true}
			if c.values {
				cfg = jetstream.StreamConfig{Name: "entrain=values_shop", Subjects: []string{"entrain.values.shop.>"}, MaxMsgsPerSubject: 1}
			}
			c.set(&cfg)
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			l := newServerLog(t, ServerConfig{URL: at.url})
			if stop := openStop(t, l); stop == nil || stop.Code != "nats_stream" || !strings.Contains(stop.Why, c.says) {
				t.Fatalf("a session stops with %+v", stop)
			}
			bad := look(t, l)
			if len(bad) != 1 || bad[0].Code != codeStream || bad[0].Status != entrain.FindingError || !strings.Contains(bad[0].Why, c.says) {
				t.Fatalf("found %+v", bad)
			}
			if !c.fixed {
				if len(bad[0].Fix) > 0 {
					t.Errorf("a fix: %+v", bad[0].Fix)
				}
				return
			}
			obey(t, js, bad[0].Fix[0].Shell)
			if bad := look(t, l); len(bad) > 0 {
				t.Errorf("behind the command: %+v", bad)
			}
			if stop := openStop(t, l); stop != nil {
				t.Errorf("behind the command a session stops with %+v", stop)
			}
		})
	}
}

func TestCheckServer(t *testing.T) {
	for version, earlier := range map[string]bool{"2.11.9": true, "1.4": true, "2.12.0": false, "2.13.0-RC.1": false, "3.0": false, "new": false} {
		if before(version, batching) != earlier {
			t.Errorf("%s is before 2.12: %v", version, !earlier)
		}
	}
	at := startServer(t, server.Options{NoSystemAccount: true}, withoutJetStream)
	bad := look(t, newServerLog(t, ServerConfig{URL: at.url}))
	if len(bad) != 1 || bad[0].Code != codeServer || bad[0].Status != entrain.FindingError || !strings.Contains(bad[0].Why, "JetStream") {
		t.Errorf("without JetStream: %+v", bad)
	}
	var away *entrain.Unreachable
	if _, err := newServerLog(t, ServerConfig{URL: at.url}).Open(t.Context()); !errors.As(err, &away) || !strings.Contains(away.Why, "JetStream") {
		t.Errorf("a session without JetStream: %v", err)
	}
}

// startWith starts a server by lines of its configuration file.
func startWith(t *testing.T, lines string) *elsewhere {
	t.Helper()
	o, err := server.ProcessConfigFile(writeFile(t, lines))
	if err != nil {
		t.Fatalf("%s: %v", lines, err)
	}
	return startServer(t, *o)
}

func withoutJetStream(o *server.Options) { o.JetStream = false }

// Subjects that a user may not use are named; with what the finding says it may.
func TestCheckRights(t *testing.T) {
	user := &server.User{Username: "entrain", Password: "secret", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{"other.>"}}, Subscribe: &server.SubjectPermission{Allow: []string{"other.>"}}}}
	at := startServer(t, server.Options{Users: []*server.User{user}})
	url := strings.Replace(at.url, "nats://", "nats://entrain:secret@", 1)
	objects, fix := map[string]bool{}, ""
	for _, f := range look(t, newServerLog(t, ServerConfig{URL: url})) {
		if f.Code != codeRights || f.Status != entrain.FindingError || f.Why == "" || strings.Contains(f.Object+f.Why, "secret") {
			t.Errorf("found %+v", f)
		}
		objects[f.Object] = true
		fix = f.Fix[0].Config
	}
	for _, want := range []string{"$JS.API.STREAM.INFO.entrain_shop", "$JS.API.STREAM.CREATE.entrain_shop", "entrain.log.shop", "entrain.values.shop.check", "_INBOX.>"} {
		if !objects["subject "+want] {
			t.Errorf("nothing is said of %s: %v", want, objects)
		}
	}
	at = startWith(t, "authorization { users: [ { user: entrain, password: secret, "+fix+" } ] }")
	l := newServerLog(t, ServerConfig{URL: strings.Replace(at.url, "nats://", "nats://entrain:secret@", 1)})
	if bad := look(t, l); len(bad) > 0 {
		t.Errorf("with the rights: %+v", bad)
	}
	made(t, l, nil)
}

func TestCheckWithoutServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := newServerLog(t, ServerConfig{URL: "nats://127.0.0.1:1"}).Check(ctx, nil)
	var u *entrain.Unreachable
	if !errors.As(err, &u) {
		t.Errorf("got %v", err)
	}
}
