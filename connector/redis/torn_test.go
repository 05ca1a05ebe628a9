package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// startAgain kills a server and starts it again.
func startAgain(t *testing.T, srv *redisserver.Server) {
	t.Helper()
	if err := srv.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// tear ends a server as if it had been killed while it wrote what it was told last: a
// part of that is in its file.
func tear(t *testing.T, srv *redisserver.Server) {
	t.Helper()
	if err := srv.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(srv.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the server's files are %v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err == nil {
		err = os.Truncate(files[0], info.Size()-int64(len("EXEC\r\n")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTornTransaction: what Redis has torn off its file in the middle of a transaction
// comes back to it when it is started once more (valkey-io/valkey#4342), and is none of
// the stream: all that was acknowledged is there once, in order (P1, P2).
func TestTornTransaction(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{})
	place := Server{URL: "redis://" + srv.Addr()}
	l := newLog(t, place)
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 3)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	early := readTo(t, r, 2)
	r.Close()
	tear(t, srv)
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, back := opened(t, l)
	if back.Offset != "2" {
		t.Fatalf("the writer goes on behind %s; want 2", back)
	}
	writeTxs(t, w, 3, 6)
	for range 2 {
		startAgain(t, srv)
		r, err := l.Read("c", "shop").Open(t.Context(), early)
		if err != nil {
			t.Fatal(err)
		}
		readTo(t, r, 6)
		r.Close()
		readNumbers(t, l, 6)
	}
	if _, back = opened(t, l); back.Offset != "6" {
		t.Errorf("the writer goes on behind %s; want 6", back)
	}
}

// TestTornIsSaid: a server that brings torn transactions back is a finding for the sink,
// whose advice mends it.
func TestTornIsSaid(t *testing.T) {
	place := own(t, nil)
	s := newSink(t, SinkConfig{Server: place})
	wantFinding(t, s, codeTorn, entrain.FindingWarning)
	report, err := s.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	advice := report.Findings[len(report.Findings)-1].Fix[0].Shell
	runAdvice(t, place, strings.ReplaceAll(strings.ReplaceAll(advice, keepSetting, "PING"), " && ", "; "))
	wantFinding(t, s, codeTorn, entrain.FindingOK)
	wantFinding(t, newLog(t, place), codeTorn, entrain.FindingOK)
}

// TestTornIsRefused: with the setting that check advises, a server with a torn transaction
// does not start until its file is mended, and the whole transaction is gone then.
func TestTornIsRefused(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{Settings: map[string]string{"aof-load-truncated": "no"}})
	l := newLog(t, Server{URL: "redis://" + srv.Addr()})
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 3)
	tear(t, srv)
	if err := srv.Start(t.Context()); err == nil {
		t.Fatal("it starts with a torn transaction")
	}
	if err := srv.Mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, back := opened(t, l)
	if back.Offset != "2" {
		t.Fatalf("the writer goes on behind %s; want 2", back)
	}
	writeTxs(t, w, 3, 4)
	startAgain(t, srv)
	readNumbers(t, l, 4)
}
