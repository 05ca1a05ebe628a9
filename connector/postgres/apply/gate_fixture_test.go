package apply

import (
	"fmt"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// gateFeed is a feed whose events bring their own versions.
type gateFeed struct {
	*feed
	cfg Config
}

// newGateFeed opens a session with a gate; cfg has what else is set.
func newGateFeed(t testing.TB, url string, cfg Config) *gateFeed {
	t.Helper()
	cfg.URL, cfg.VersionGate = connector.Secret(pgtest.TargetURL(url)), true
	if cfg.Pipeline == "" {
		cfg.Pipeline = "test"
	}
	f := &gateFeed{&feed{t: t, url: url}, cfg}
	f.reopen()
	return f
}

func (f *gateFeed) sink() *Sink {
	f.t.Helper()
	s, err := NewSink(f.cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// reopen begins a new session.
func (f *gateFeed) reopen() {
	f.t.Helper()
	if f.w != nil {
		f.w.Close()
	}
	w, err := f.sink().Open(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { w.Close() })
	f.w = w.(*writer)
	if _, err := f.w.Position(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// send writes events, which have versions already, as one batch that moves the position.
func (f *gateFeed) send(events ...entrain.Event) {
	f.t.Helper()
	if err := f.sendErr(events...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *gateFeed) sendErr(events ...entrain.Event) error {
	f.seq++
	return f.w.Write(f.t.Context(), &entrain.Batch{Events: events, Through: position(f.seq)})
}

// resend writes events as dead letters come: the position stays where it is.
func (f *gateFeed) resend(events ...entrain.Event) {
	f.t.Helper()
	if err := f.w.Write(f.t.Context(), &entrain.Batch{Events: events, Through: f.w.pos}); err != nil {
		f.t.Fatal(err)
	}
}

// at gives an event its version and ordinal.
func at(version, ordinal uint64, e entrain.Event) entrain.Event {
	return from("i1", version, ordinal, e)
}

func from(incarnation string, version, ordinal uint64, e entrain.Event) entrain.Event {
	e.Tx = &entrain.Transaction{Stream: &entrain.Stream{Source: "source", Incarnation: incarnation}, Version: version}
	e.Ordinal = ordinal
	return e
}

// wantQueue compares the queue: "version.ordinal op key reason rowversion" a line.
func wantQueue(t testing.TB, url, want string) {
	t.Helper()
	wantRows(t, url, `SELECT version || '.' || ordinal || ' ' || op || ' ' || key || ' ' || reason || ' ' || row_version || '.' || row_ordinal
		FROM entrain.reconciliation ORDER BY era, version, ordinal, key`, want)
}

func wantCounts(t testing.TB, w *writer, want map[string]int64) {
	t.Helper()
	got := w.Counts()
	for name, n := range want {
		if got[name] != n {
			t.Errorf("count %s is %d, want %d; all: %s", name, got[name], n, fmt.Sprint(got))
		}
	}
}
