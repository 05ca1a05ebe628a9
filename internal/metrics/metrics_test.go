package metrics_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/metrics"
	"github.com/entrainsync/entrain/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type report admin.Report

func (r report) Report() admin.Report { return admin.Report(r) }

// TestMetrics: what the report says is shown under its names, and what it does not
// know is left out.
func TestMetrics(t *testing.T) {
	s, err := metrics.Listen("127.0.0.1:0", report{
		Pipeline: "shop",
		Status: pipeline.Status{
			Phase: "streaming", LagSeconds: 1.5, LagBytes: 4096, Captured: 10, Applied: 7, Filtered: 2, Parked: 3, DeadLetters: 2, Reread: 1, BufferedBytes: 99,
			Tables:   map[pipeline.TableState]int{pipeline.TablePaused: 2},
			Retained: &entrain.Retained{Name: "entrain_shop", Bytes: 5000, Left: -1, Alarm: entrain.AlarmWarn, Status: "extended"},
		},
		Alerts: []admin.Alert{{Name: "lag_critical", Limit: 30, Value: 31, Over: true}, {Name: "deadletter_critical", Limit: 100, Value: 2}},
		Sinks:  []pipeline.SinkStatus{{Name: "lake", Partition: "shop", Failed: "no room", Status: pipeline.Status{Phase: "failed", LagBytes: -1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := get(t, "http://"+s.Address()+"/metrics")
	const capture = `{partition="",pipeline="shop",sink="",stage="capture"} `
	const deliver = `{partition="shop",pipeline="shop",sink="lake",stage="deliver"} `
	for _, want := range []string{
		"sync_lag_seconds" + capture + "1.5", "sync_lag_bytes" + capture + "4096", "sync_captured_events_total" + capture + "10",
		"sync_applied_events_total" + capture + "7", "sync_filtered_events_total" + capture + "2", "sync_reread_events" + capture + "1",
		"sync_parked_events_total" + capture + "3", "sync_deadletter_count" + capture + "2",
		"sync_buffered_bytes" + capture + "99", "sync_delivery_failed" + deliver + "1",
		`sync_phase{partition="",phase="streaming",pipeline="shop",sink="",stage="capture"} 1`,
		`sync_tables{pipeline="shop",state="paused"} 2`, `sync_slot_retained_bytes{pipeline="shop",slot="entrain_shop"} 5000`,
		`sync_slot_alarm{level="warn",pipeline="shop",slot="entrain_shop"} 1`, `sync_slot_alarm{level="ok",pipeline="shop",slot="entrain_shop"} 0`,
		`sync_alert_threshold{alert="lag_critical",pipeline="shop"} 30`, `sync_alert{alert="lag_critical",pipeline="shop"} 1`,
		`sync_alert{alert="deadletter_critical",pipeline="shop"} 0`,
		`sync_slot_wal_status{pipeline="shop",slot="entrain_shop",status="extended"} 1`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not shown: %s", want)
		}
	}
	for _, none := range []string{"sync_slot_left_bytes{", "sync_lag_bytes" + deliver} {
		if strings.Contains(text, none) {
			t.Errorf("shown though not known: %s", none)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestMetricsOfADelivery: a process that only delivers shows nothing as captured.
func TestMetricsOfADelivery(t *testing.T) {
	s, err := metrics.Listen("127.0.0.1:0", report{Pipeline: "shop", DeliversOnly: true, Status: pipeline.Status{Phase: "streaming"},
		Sinks: []pipeline.SinkStatus{{Name: "lake", Partition: "p", Status: pipeline.Status{Phase: "streaming"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := get(t, "http://"+s.Address()+"/metrics")
	if strings.Contains(text, `stage="capture"`) || !strings.Contains(text, `stage="deliver"`) {
		t.Error(text)
	}
}

// TestNameThatIsNoText: the name of a partition comes from a server and may be any
// bytes; two that differ stay two.
func TestNameThatIsNoText(t *testing.T) {
	sink := func(partition entrain.Partition) pipeline.SinkStatus {
		return pipeline.SinkStatus{Name: "lake", Partition: partition, Status: pipeline.Status{Phase: "streaming"}}
	}
	s, err := metrics.Listen("127.0.0.1:0", report{Pipeline: "shop", DeliversOnly: true, Status: pipeline.Status{Phase: "streaming"},
		Sinks: []pipeline.SinkStatus{sink("caf\xe9"), sink("caf\xe8"), sink("café")}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text := get(t, "http://"+s.Address()+"/metrics")
	for _, want := range []string{`partition="caf\\xe9"`, `partition="caf\\xe8"`, `partition="café"`} {
		if !strings.Contains(text, want) {
			t.Errorf("not shown: %s\n%s", want, text)
		}
	}
}

func TestListenRefused(t *testing.T) {
	s, err := metrics.Listen("127.0.0.1:0", report{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := metrics.Listen(s.Address(), report{}); err == nil || !strings.Contains(err.Error(), "monitoring.listen") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	return string(text)
}
