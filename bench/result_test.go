package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func runs(wall, cpu time.Duration, rss int64) []sample {
	return []sample{
		{wall: wall + time.Second, cpu: cpu, rss: rss / 2}, {wall: wall, cpu: cpu, rss: rss}, {wall: wall - time.Second, cpu: cpu},
	}
}

func TestCompareHoldsAgainstLimits(t *testing.T) {
	ours, peer := runs(4*time.Second, time.Second, 30e6), runs(8*time.Second, 4*time.Second, 0)
	for _, c := range []struct {
		name string
		want limits
		ok   bool
	}{
		{"nothing wanted", limits{}, true},
		{"all reached exactly", limits{rate: 2, cpu: 0.25, rssMB: 30, time: 0.5}, true},
		{"rate", limits{rate: 2.01}, false},
		{"cpu", limits{cpu: 0.24}, false},
		{"rss", limits{rssMB: 29}, false},
		{"time", limits{time: 0.49}, false},
	} {
		r := compare(pairing{"work", "peer"}, ours, peer, c.want)
		if r.OK != c.ok {
			t.Errorf("%s: ok = %v, want %v (%+v)", c.name, r.OK, c.ok, r)
		}
		if r.RatioRate != 2 || *r.RatioCPU != 0.25 || *r.RSSMB != 30 {
			t.Errorf("%s: rate %v cpu %v rss %v", c.name, r.RatioRate, *r.RatioCPU, *r.RSSMB)
		}
	}
}

func TestMemoryBesideThePeers(t *testing.T) {
	ours, peer := runs(4*time.Second, 0, 30e6), runs(4*time.Second, 0, 300e6)
	for limit, ok := range map[float64]bool{0.1: true, 0.099: false} {
		r := compare(pairing{"work", "peer"}, ours, peer, limits{rss: limit})
		if r.OK != ok || *r.RatioRSS != 0.1 || r.memory() != "30 (0.10)" {
			t.Errorf("rss <= %v: ok = %v, want %v (%s)", limit, r.OK, ok, r.memory())
		}
	}
}

// TestUnknownFiguresDoNotPass: what was not measured does not reach a limit.
func TestUnknownFiguresDoNotPass(t *testing.T) {
	ours, peer := runs(time.Second*4, 0, 0), runs(time.Second*8, time.Second, 0)
	for _, want := range []limits{{cpu: 1}, {rssMB: 1000}, {rss: 1}} {
		if r := compare(pairing{}, ours, peer, want); r.OK || r.RatioCPU != nil || r.RSSMB != nil {
			t.Errorf("%s: %+v", want, r)
		}
	}
}

func TestLineOfJSON(t *testing.T) {
	var out strings.Builder
	full := compare(pairing{"decode 1", "peer"}, runs(4*time.Second, time.Second, 30e6), runs(9*time.Second, 3*time.Second, 0), limits{rate: 2.2, cpu: 0.5, rssMB: 64})
	bare := compare(pairing{"latency p50", "peer"}, runs(4*time.Second, 0, 0), runs(2*time.Second, 0, 0), limits{time: 1.6})
	for _, r := range []result{full, bare} {
		if err := writeLine(&out, r); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"work":"decode 1","peer":"peer","ratio_rate":2.25,"ratio_cpu":0.333,"rss_mb":30,"want":"rate >= 2.2, cpu <= 0.5, rss <= 64 MB","ok":true}
{"work":"latency p50","peer":"peer","ratio_rate":0.5,"ratio_cpu":null,"rss_mb":null,"want":"time <= 1.6","ok":false}
`
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []result{
		compare(pairing{"decode 1M rows", "pg_recvlogical"}, runs(4*time.Second, time.Second, 30e6), runs(9*time.Second, 3*time.Second, 0), limits{rate: 2.2}),
		compare(pairing{"latency p50", "round trip"}, []sample{{wall: 1234 * time.Microsecond}}, []sample{{wall: 500 * time.Microsecond}}, limits{time: 1.6}),
		compare(pairing{"latency p95", "native"}, []sample{{wall: time.Second}}, []sample{{wall: time.Second}}, limits{}),
	})
	want := `work            peer            entrain  peer's   rate  cpu   rss MB  want         ok
decode 1M rows  pg_recvlogical  4.00 s   9.00 s   2.25  0.33  30      rate >= 2.2  ok
latency p50     round trip      1.23 ms  0.50 ms  0.41  -     -       time <= 1.6  MISSED
latency p95     native          1.00 s   1.00 s   1.00  -     -       -            -
`
	if err != nil || out.String() != want {
		t.Errorf("error %v, got\n%s\nwant\n%s", err, out.String(), want)
	}
}

func TestMissed(t *testing.T) {
	good, bad := result{Work: "a", Peer: "p", OK: true}, result{Work: "b", Peer: "q"}
	if err := missed([]result{good}); err != nil {
		t.Errorf("missed = %v, want nothing", err)
	}
	err := missed([]result{good, bad})
	if !errors.Is(err, errMissed) || !strings.Contains(err.Error(), "b against q") || strings.Contains(err.Error(), "a against") {
		t.Errorf("missed = %v", err)
	}
	if exitCode(err) != exitMissed || exitCode(errUsage) != exitUsage || exitCode(errDiffer) != exitFailed {
		t.Error("exit codes do not tell the errors apart")
	}
}
