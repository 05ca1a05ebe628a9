package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []time.Duration
		want   time.Duration
	}{
		{nil, 0}, {[]time.Duration{7}, 7}, {[]time.Duration{9, 1}, 5},
		{[]time.Duration{5, 1, 900}, 5}, {[]time.Duration{4, 1, 2, 3}, 2},
	} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", before, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("median changed %v to %v", before, c.values)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, c := range []struct {
		sorted  []int
		p, want int
	}{
		{nil, 50, 0}, {[]int{7}, 0, 7}, {[]int{7}, 99, 7}, {[]int{1, 2}, 50, 1}, {[]int{1, 2}, 51, 2},
		{hundred, 50, 50}, {hundred, 95, 95}, {hundred, 99, 99}, {hundred, 100, 100},
	} {
		if got := percentile(c.sorted, c.p); got != c.want {
			t.Errorf("percentile %d of %d values = %d, want %d", c.p, len(c.sorted), got, c.want)
		}
	}
}

func TestAlternateTakesTurns(t *testing.T) {
	var order strings.Builder
	named := func(name string, wall time.Duration) contender {
		return contender{name, func(context.Context) (sample, error) {
			order.WriteString(name)
			return sample{wall: wall}, nil
		}}
	}
	h := &harness{talk: io.Discard}
	samples, err := alternate(t.Context(), h, 3, named("a", 1), named("b", 2))
	if err != nil || order.String() != "abbaab" {
		t.Fatalf("order %s, error %v, want abbaab", &order, err)
	}
	for i, s := range samples {
		if len(s) != 3 || medianWall(s) != time.Duration(i+1) {
			t.Errorf("samples of contender %d: %v", i, s)
		}
	}
}

func TestAlternateStopsAtAnError(t *testing.T) {
	broken, runs := errors.New("broken"), 0
	c := contender{"c", func(context.Context) (sample, error) {
		runs++
		return sample{}, broken
	}}
	if _, err := alternate(t.Context(), &harness{talk: io.Discard}, 3, c); !errors.Is(err, broken) || runs != 1 {
		t.Errorf("error %v after %d runs, want the first run's", err, runs)
	}
}

func TestUnknownCPUStaysUnknown(t *testing.T) {
	if got := medianCPU([]sample{{cpu: 3}, {cpu: 0}, {cpu: 5}}); got != 0 {
		t.Errorf("medianCPU = %v though one run does not know", got)
	}
	if got := medianCPU([]sample{{cpu: 3}, {cpu: 4}, {cpu: 5}}); got != 4 {
		t.Errorf("medianCPU = %v, want 4", got)
	}
}
