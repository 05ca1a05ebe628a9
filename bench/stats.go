package main

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// sample is what one run took.
type sample struct {
	wall time.Duration
	cpu  time.Duration // user and system; 0: not known
	rss  int64         // most memory that was resident, in bytes; 0: not known
}

// contender is one way to do a work. Each call of run does all of it anew.
type contender struct {
	name string
	run  func(ctx context.Context) (sample, error)
}

// alternate lets the contenders do the work by turns, rounds times; another one
// begins each round, so that none always has what the one before it left. The
// samples are in the order of the contenders.
func alternate(ctx context.Context, h *harness, rounds int, contenders ...contender) ([][]sample, error) {
	samples := make([][]sample, len(contenders))
	for round := range rounds {
		for turn := range contenders {
			i := (round + turn) % len(contenders)
			s, err := contenders[i].run(ctx)
			if err != nil {
				return nil, err
			}
			h.say("  run %d of %d: %-32s %8s  cpu %7s  rss %s", round+1, rounds, contenders[i].name,
				seconds(s.wall), seconds(s.cpu), megabytes(s.rss))
			samples[i] = append(samples[i], s)
		}
	}
	return samples, nil
}

// median returns the middle value, the mean of the two middle ones if their
// number is even, and 0 of nothing. It leaves values as they are.
func median[T ~int64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return sorted[middle-1] + (sorted[middle]-sorted[middle-1])/2
}

// percentile returns the smallest of the sorted values that p of 100 values do
// not exceed (nearest rank), and 0 of nothing.
func percentile[T cmp.Ordered](sorted []T, p int) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// column takes one figure out of the samples.
func column[T any](samples []sample, of func(sample) T) []T {
	all := make([]T, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	return all
}

func medianWall(samples []sample) time.Duration {
	return median(column(samples, func(s sample) time.Duration { return s.wall }))
}

// medianCPU is 0 if any of the samples does not know.
func medianCPU(samples []sample) time.Duration {
	all := column(samples, func(s sample) time.Duration { return s.cpu })
	if slices.Contains(all, 0) {
		return 0
	}
	return median(all)
}

func maxRSS(samples []sample) int64 {
	if len(samples) == 0 {
		return 0
	}
	return slices.Max(column(samples, func(s sample) int64 { return s.rss }))
}
