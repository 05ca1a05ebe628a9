// Package metrics shows how a pipeline is to Prometheus: GET /metrics in its text
// format (https://prometheus.io/docs/instrumenting/exposition_formats). What is
// shown is read from the pipeline's report when somebody asks, so that asking is
// all it costs.
package metrics

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/pipeline"
)

// The labels that tell where on its way a change is: stage "capture" ends in the
// sink, or in the stream if there is one, stage "deliver" goes from a partition of
// the stream into a sink.
var place = []string{"pipeline", "stage", "sink", "partition"}

// names are those of all metrics of ours.
var names = map[string]bool{}

func describe(name, help string, labels ...string) *prometheus.Desc {
	names["sync_"+name] = true
	return prometheus.NewDesc("sync_"+name, help, labels, nil)
}

var (
	lagSeconds = describe("lag_seconds", "How long the oldest change waits that is known here and not delivered, from its commit on; 0 when none waits.", place...)
	lagBytes   = describe("lag_bytes", "Of the log before this stage that are not delivered.", place...)
	captured   = describe("captured_events_total", "Events read before this stage. At rest captured = applied + filtered + parked + reread.", place...)
	applied    = describe("applied_events_total", "Events that are durable behind this stage.", place...)
	filtered   = describe("filtered_events_total", "Events that rules, or a copy of existing rows, left out, and those that the sink had already.", place...)
	duplicates = describe("duplicate_events_total", "Of the filtered events, those that deduplication recognised.", place...)
	doubled    = describe("duplicate_rate", "Part, 0 to 1, of the changes of the last minute that deduplication recognised.", place...)
	parked     = describe("parked_events_total", "Events that became dead letters.", place...)
	late       = describe("gate_late_events_total", "Events that the sink's version gate compared one by one, since they came late.", place...)
	queued     = describe("gate_queued_events_total", "Events that came too late to be applied, and are in the reconciliation queue.", place...)
	letters    = describe("deadletter_count", "Dead letters that are kept now.", place...)
	reread     = describe("reread_events", "Events that a broken session had read and that were read again.", place...)
	circuit    = describe("circuit_open", "1 from when the circuit breaker opens until the sink has taken a batch; missing without one.", place...)
	buffered   = describe("buffered_bytes", "Read and not yet handed on.", place...)
	phase      = describe("phase", "1 for the phase that the stage is in.", append(place, "phase")...)
	failed     = describe("delivery_failed", "1 while a delivery is given up until the next try.", place...)
	tables     = describe("tables", "Tables that do not simply stream, by state.", "pipeline", "state")
	breaches   = describe("contract_breaches_total", "Events that broke the contract of their table, whatever became of them.", "pipeline", "table")
	slotBytes  = describe("slot_retained_bytes", "Of the source's log that the slot keeps back.", "pipeline", "slot")
	slotLeft   = describe("slot_left_bytes", "That the slot may keep back besides before the server invalidates it.", "pipeline", "slot")
	slotAlarm  = describe("slot_alarm", "1 for the level that the slot is at: ok, warn, critical or lost.", "pipeline", "slot", "level")
	slotStatus = describe("slot_wal_status", "1 for the slot's wal_status.", "pipeline", "slot", "status")

	limit = describe("alert_threshold", "Of the file's monitoring.alerts.", "pipeline", "alert")
	over  = describe("alert", "1 while what the alert is about has reached its threshold.", "pipeline", "alert")

	all = []*prometheus.Desc{lagSeconds, lagBytes, captured, applied, filtered, duplicates, doubled, parked, late, queued, letters, reread, circuit, buffered, phase, failed, tables, breaches,
		slotBytes, slotLeft, slotAlarm, slotStatus, limit, over}
)

// Reporter is what the metrics are read from; Report does not block.
type Reporter interface{ Report() admin.Report }

// collector turns a report into metrics.
type collector struct{ of Reporter }

// Describe implements [prometheus.Collector].
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(out chan<- prometheus.Metric) {
	r := c.of.Report()
	if !r.DeliversOnly {
		collectStage(out, r.Status, r.Pipeline, "capture", "", "")
	}
	for state, n := range r.Status.Tables {
		gauge(out, tables, float64(n), r.Pipeline, string(state))
	}
	for table, n := range r.ContractBreaches() {
		count(out, breaches, n, []string{r.Pipeline, table})
	}
	if s := r.Status.Retained; s != nil {
		collectSlot(out, r.Pipeline, s)
	}
	for _, a := range r.Alerts {
		gauge(out, limit, a.Limit, r.Pipeline, a.Name)
		gauge(out, over, bit[a.Over], r.Pipeline, a.Name)
	}
	for _, s := range r.Sinks {
		at := []string{r.Pipeline, "deliver", s.Name, string(s.Partition)}
		collectStage(out, s.Status, at...)
		gauge(out, failed, float64(min(1, len(s.Failed))), at...)
	}
}

func collectStage(out chan<- prometheus.Metric, st pipeline.Status, at ...string) {
	gauge(out, lagSeconds, st.LagSeconds, at...)
	if st.LagBytes >= 0 {
		gauge(out, lagBytes, float64(st.LagBytes), at...)
	}
	count(out, captured, st.Captured, at)
	count(out, applied, st.Applied, at)
	count(out, filtered, st.Filtered, at)
	count(out, duplicates, st.Duplicates, at)
	gauge(out, doubled, st.DuplicateRate, at...)
	count(out, parked, st.Parked, at)
	for name, d := range map[string]*prometheus.Desc{"late": late, "queued": queued} {
		if n, gated := st.Counts[name]; gated {
			count(out, d, n, at)
		}
	}
	gauge(out, letters, float64(st.DeadLetters), at...)
	gauge(out, reread, float64(st.Reread), at...) // it falls when a session catches up
	if c := st.Circuit; c != nil {
		open := 1.0
		if c.State == "closed" {
			open = 0
		}
		gauge(out, circuit, open, at...)
	}
	gauge(out, buffered, float64(st.BufferedBytes), at...)
	gauge(out, phase, 1, append(at, st.Phase)...)
}

func collectSlot(out chan<- prometheus.Metric, name string, s *entrain.Retained) {
	gauge(out, slotBytes, float64(s.Bytes), name, s.Name)
	if s.Left >= 0 {
		gauge(out, slotLeft, float64(s.Left), name, s.Name)
	}
	for level := entrain.AlarmOK; level <= entrain.AlarmLost; level++ {
		gauge(out, slotAlarm, bit[level == s.Alarm], name, s.Name, level.String())
	}
	gauge(out, slotStatus, 1, name, s.Name, s.Status)
}

// bit is how Prometheus has what is or is not.
var bit = map[bool]float64{true: 1}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, texts(labels)...)
}

func count(out chan<- prometheus.Metric, d *prometheus.Desc, v int64, labels []string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), texts(labels)...)
}

// texts writes bytes of names that are no UTF-8 as \xHH: Prometheus takes text only.
func texts(names []string) []string {
	valid := make([]string, len(names))
	for i, name := range names {
		if utf8.ValidString(name) {
			valid[i] = name
			continue
		}
		var t strings.Builder
		for len(name) > 0 {
			r, n := utf8.DecodeRuneInString(name)
			if r == utf8.RuneError && n == 1 {
				fmt.Fprintf(&t, `\x%02x`, name[0])
			} else {
				t.WriteString(name[:n])
			}
			name = name[n:]
		}
		valid[i] = t.String()
	}
	return valid
}

// Known reports whether there is a metric of the name.
func Known(name string) bool { return names[name] }

// Server answers until it is closed.
type Server struct {
	http *http.Server
	addr string
	done chan error
}

// Listen answers at the address, host:port.
func Listen(address string, of Reporter) (*Server, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{of}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("monitoring.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	s := &Server{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second},
		addr: listener.Addr().String(), done: make(chan error, 1),
	}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// Address is where it answers.
func (s *Server) Address() string { return s.addr }

// Close ends the server and waits for it.
func (s *Server) Close() error {
	err := s.http.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
