package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

func serve(t *testing.T, e Engine) (folder string) {
	t.Helper()
	folder = folders(t)["short"]
	s, err := Listen(folder, e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return folder
}

func TestTables(t *testing.T) {
	want := []pipeline.TableStatus{
		{Table: "public.orders", State: pipeline.TableResyncing, Held: true, Since: time.Unix(9, 0).UTC(), Rows: 3, Estimate: 10},
		{Table: "public.\u202eodd", State: pipeline.TableFailed, Reason: "line\nline", Estimate: -1},
	}
	got, err := Tables(t.Context(), serve(t, &fake{tables: want}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = Tables(t.Context(), serve(t, &fake{}))
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("of no tables: %v, %v; want an empty list", got, err)
	}
	nobody := folders(t)["short"]
	if _, err := Tables(t.Context(), nobody); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody answers: %v", err)
	}
	if err := Do(t.Context(), nobody, pipeline.Order{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody takes orders: %v", err)
	}
}

func TestOrder(t *testing.T) {
	f := &fake{}
	want := pipeline.Order{Do: pipeline.OrderResync, Table: "public.orders"}
	if err := Do(t.Context(), serve(t, f), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]pipeline.Order{want}, f.orders); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the engine refuses is the same error for the one who asked: what is
// printed, and the kind that decides the exit code.
func TestErrorsTravel(t *testing.T) {
	stop := &entrain.Stop{Code: "table_state", What: "table a.b is paused", Why: "c", Next: "entrain table list FILE", Data: true, Err: errors.New("cause")}
	down := &entrain.Unreachable{Why: "w", Next: "psql", Err: entrain.Retryable(errors.New("connect to x: refused"))}
	for what, sent := range map[string]error{
		"stop":        stop,
		"wrapped":     fmt.Errorf("add table: %w", stop),
		"small":       &entrain.Stop{Code: "x", What: "y"},
		"unreachable": fmt.Errorf("look: %w", down),
		"retryable":   entrain.Retryable(errors.New("deadlock")),
		"plain":       errors.New("no store"),
	} {
		t.Run(what, func(t *testing.T) {
			folder := serve(t, &fake{err: sent})
			_, fromTables := Tables(t.Context(), folder)
			for _, got := range []error{fromTables, Do(t.Context(), folder, pipeline.Order{Do: pipeline.OrderAdd, Table: "a.b"})} {
				sameError(t, sent, got)
			}
		})
	}
}

func sameError(t *testing.T, sent, got error) {
	t.Helper()
	if got == nil || entrain.IsRetryable(got) != entrain.IsRetryable(sent) {
		t.Fatalf("%v became %v", sent, got)
	}
	var stop, gotStop *entrain.Stop
	if errors.As(sent, &stop) != errors.As(got, &gotStop) {
		t.Fatalf("%v became %v", sent, got)
	}
	if stop != nil {
		if gotStop.Error() != stop.Error() || gotStop.Data != stop.Data || gotStop.Code != stop.Code || gotStop.Next != stop.Next {
			t.Errorf("got  %+v\nwant %+v", gotStop, stop)
		}
		return
	}
	var down, gotDown *entrain.Unreachable
	if errors.As(sent, &down) != errors.As(got, &gotDown) || down != nil && (gotDown.Why != down.Why || gotDown.Next != down.Next) {
		t.Errorf("%v became %v", sent, got)
	}
	if got.Error() != sent.Error() {
		t.Errorf("got %q; want %q", got, sent)
	}
}

// Whoever stops waiting gives the order up.
func TestOrderIsGivenUp(t *testing.T) {
	f := &fake{wait: make(chan struct{}), gone: make(chan struct{})}
	folder := serve(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- Do(ctx, folder, pipeline.Order{Do: pipeline.OrderAdd, Table: "a.b"}) }()
	pgtest.Eventually(t, time.Minute, "the order has come", func() bool { return f.begun() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	select {
	case <-f.gone:
	case <-time.After(time.Minute):
		t.Error("the engine goes on with it")
	}
}

// While an order waits the process answers others, and its end ends the order.
func TestOrderWaits(t *testing.T) {
	f := &fake{report: shopReport, wait: make(chan struct{}), gone: make(chan struct{})}
	folder := folders(t)["short"]
	s, err := Listen(folder, f)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- Do(t.Context(), folder, pipeline.Order{Do: pipeline.OrderAdd, Table: "a.b"}) }()
	pgtest.Eventually(t, time.Minute, "the order has come", func() bool { return f.begun() == 1 })
	if _, err := Ask(t.Context(), folder); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("error %v; want one that says the process went away", err)
	}
	<-f.gone
}

// What is no order reaches no engine: a key that this version does not know
// neither, since it may have limited what was wanted.
func TestNoOrder(t *testing.T) {
	f := &fake{}
	folder := serve(t, f)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(folder, socketName))
	}}}
	for _, text := range []string{"", "{", "[]", `{"do":"refresh","table":"a.b","wheres":"id > 5"}`, `{"do":1}`} {
		answer, err := client.Post("http://entrain"+ordersPath, "application/json", bytes.NewBufferString(text))
		if err != nil {
			t.Fatal(err)
		}
		var got failure
		if err := json.NewDecoder(answer.Body).Decode(&got); err != nil || answer.StatusCode != http.StatusBadRequest || !strings.HasPrefix(got.Error, "no order: ") {
			t.Errorf("%.40s: %s, %+v, %v", text, answer.Status, got, err)
		}
		answer.Body.Close()
	}
	if f.begun() != 0 {
		t.Errorf("the engine got %v", f.orders)
	}
}

// addressNames are what a field would be called that takes an address or a path.
var addressNames = regexp.MustCompile(`(?i)ur[li]|host|addr|path|file|folder|server|broker|endpoint|target|dsn|port$|command|program`)

// TestOrdersHaveNoAddress: SE-06. What is sent over the socket names tables, sinks, letters
// and moments of this pipeline: it has no field for an address, and one that is added is an
// error, not overlooked.
func TestOrdersHaveNoAddress(t *testing.T) {
	for _, of := range []reflect.Type{reflect.TypeFor[pipeline.Order](), reflect.TypeFor[pipeline.Edit](), reflect.TypeFor[Replay]()} {
		for i := range of.NumField() {
			if f := of.Field(i); addressNames.MatchString(f.Name) || addressNames.MatchString(f.Tag.Get("json")) {
				t.Errorf("%s.%s may take an address: see docs/security.md", of, f.Name)
			}
		}
	}
	f := &fake{}
	folder := serve(t, f)
	for _, path := range []string{ordersPath, replaysPath} {
		for _, text := range []string{
			`{"do":"resync","table":"a.b","url":"http://127.0.0.1:1/"}`, `{"sink":"a","from":"now","source":{"url":"postgres://h/x"}}`,
			`{"do":"resync","table":"a.b","edits":[{"file":"/etc/passwd"}]}`,
		} {
			err := call(t.Context(), folder, request{method: http.MethodPost, path: path, body: json.RawMessage(text)})
			if err == nil || !strings.Contains(err.Error(), "unknown field") {
				t.Errorf("%s %s: %v", path, text, err)
			}
		}
	}
	large := json.RawMessage(`{"do":"resync","table":"` + strings.Repeat("x", maxOrder) + `"}`)
	if err := call(t.Context(), folder, request{method: http.MethodPost, path: ordersPath, body: large}); err == nil {
		t.Error("an order of any size is read")
	}
	if len(f.orders) > 0 {
		t.Errorf("carried out: %v", f.orders)
	}
}
