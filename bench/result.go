package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one line: a work done by entrain beside a peer.
type result struct {
	Work string `json:"work"`
	Peer string `json:"peer"`
	// RatioRate is our rate over the peer's: of two medians of times, the
	// peer's over ours. Above 1 we are faster.
	RatioRate float64 `json:"ratio_rate"`
	// RatioCPU is our processor time over the peer's; nil if one is not known.
	RatioCPU *float64 `json:"ratio_cpu"`
	// RatioRSS is our most resident memory over the peer's; nil if one is not
	// known.
	RatioRSS *float64 `json:"ratio_rss,omitempty"`
	// RSSMB is the most memory that any of our runs had resident, in MB of
	// 10^6 bytes; nil if not known.
	RSSMB *float64 `json:"rss_mb"`
	// Want says what is to be reached, "" for nothing, OK whether it was.
	Want string `json:"want"`
	OK   bool   `json:"ok"`

	ours, peer time.Duration
}

// limits are what is to be reached; 0 is no limit.
type limits struct {
	rate  float64 // at least
	time  float64 // ours over the peer's, at most
	cpu   float64 // at most
	rssMB float64 // at most
	rss   float64 // ours over the peer's, at most
}

// String is the form in which limits are printed.
func (l limits) String() string {
	var parts []string
	for _, part := range []struct {
		format string
		limit  float64
	}{{"rate >= %.4g", l.rate}, {"time <= %.4g", l.time}, {"cpu <= %.4g", l.cpu}, {"rss <= %.4g MB", l.rssMB}, {"rss <= %.4g", l.rss}} {
		if part.limit != 0 {
			parts = append(parts, fmt.Sprintf(part.format, part.limit))
		}
	}
	return strings.Join(parts, ", ")
}

// pairing names what is compared.
type pairing struct{ work, peer string }

// compare makes a result of the samples of both sides. What a limit is about
// must be known to be reached.
func compare(of pairing, ours, peer []sample, want limits) result {
	r := result{Work: of.work, Peer: of.peer, Want: want.String(), ours: medianWall(ours), peer: medianWall(peer)}
	r.RatioRate = ratio(r.peer, r.ours)
	if a, b := medianCPU(ours), medianCPU(peer); a > 0 && b > 0 {
		v := ratio(a, b)
		r.RatioCPU = &v
	}
	if rss := maxRSS(ours); rss > 0 {
		v := round(float64(rss) / 1e6)
		r.RSSMB = &v
	}
	if a, b := maxRSS(ours), maxRSS(peer); a > 0 && b > 0 {
		v := round(float64(a) / float64(b))
		r.RatioRSS = &v
	}
	times := ratio(r.ours, r.peer)
	r.OK = r.RatioRate >= want.rate && within(&times, want.time) && within(r.RatioCPU, want.cpu) &&
		within(r.RSSMB, want.rssMB) && within(r.RatioRSS, want.rss)
	return r
}

func within(value *float64, limit float64) bool {
	return limit == 0 || value != nil && *value <= limit
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return round(float64(a) / float64(b))
}

// round keeps three digits behind the point: more would be noise.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// writeLine writes a result as one line of JSON.
func writeLine(w io.Writer, r result) error {
	line := json.NewEncoder(w)
	line.SetEscapeHTML(false)
	return line.Encode(r)
}

// writeTable writes all results, aligned.
func writeTable(w io.Writer, results []result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "work\tpeer\tentrain\tpeer's\trate\tcpu\trss MB\twant\tok")
	for _, r := range results {
		ok := "ok"
		switch {
		case !r.OK:
			ok = "MISSED"
		case r.Want == "":
			ok = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%s\t%s\n", r.Work, r.Peer, seconds(r.ours), seconds(r.peer),
			r.RatioRate, number(r.RatioCPU, "%.2f"), r.memory(), orDash(r.Want), ok)
	}
	return table.Flush()
}

// memory shows the most memory, and behind it how much of the peer's that is.
func (r result) memory() string {
	text := number(r.RSSMB, "%.0f")
	if r.RatioRSS != nil {
		text += fmt.Sprintf(" (%.2f)", *r.RatioRSS)
	}
	return text
}

func number(v *float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// seconds shows a time in seconds, one below a tenth of a second in
// milliseconds, and nothing for one that is not known.
func seconds(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func megabytes(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}

// errMissed says that a threshold was not reached.
var errMissed = errors.New("not everything that is wanted was reached")

// missed returns an error that names the works whose wants were not reached.
func missed(results []result) error {
	var names []string
	for _, r := range results {
		if !r.OK {
			names = append(names, fmt.Sprintf("%s against %s", r.Work, r.Peer))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errMissed, strings.Join(names, "; "))
}
