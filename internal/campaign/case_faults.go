package campaign

import (
	"testing"
	"time"
)

// faultCases are the campaigns of single kinds of fault, and that of all of them.
func faultCases() []Case {
	return append(networkCases(), []Case{
		{
			Name: "disk-full", IDs: []string{"CR-04"}, Minutes: 12, Full: Options{Faults: 100}, Uses: counted,
			About: "the disks of the embedded stream and of a file are full again and again, with that of the state; one counts if the program met it",
			run:   diskCampaign,
		},
		{
			Name: "fsync", IDs: []string{"CR-04"}, Minutes: 15, Full: Options{Faults: 200}, Uses: counted,
			About: "writes and syncs of the state, of the stream and of a file fail, or the program is killed at one of them; a process counts once, however many of its calls fail",
			run:   syncCampaign,
		},
		{
			Name: "oom", IDs: []string{"CR-04"}, Minutes: 8, Full: Options{Faults: 100}, Uses: counted,
			About: "the kernel kills the program for want of memory",
			run:   oomCampaign,
		},
		{
			Name: "stalled", IDs: []string{"PF-03"}, Minutes: 75, Full: Options{Faults: 500, Length: time.Hour}, Uses: whole,
			About: "the target stands still for long, then the sessions are cut hundreds of times: nothing grows, and it drains",
			run:   stalledCampaign,
		},
		{
			Name: "clocks", IDs: []string{"CO-14"}, Minutes: 8, Full: Options{Faults: 100}, Uses: counted,
			About: "the clocks of both servers jump by hours and years, forward and back",
			run:   clockCampaign,
		},
		{
			Name: "soak", IDs: []string{"CR-04"}, Minutes: 65, Full: Options{Length: time.Hour}, Uses: timed,
			About: "every few seconds one fault of all kinds; within a minute it streams again, and nothing leaks",
			run:   func(t testing.TB, r *Trial) { soakCampaign(t, r, single) },
		},
		{
			Name: "soak-embedded", IDs: []string{"CR-04"}, Minutes: 65, Full: Options{Length: time.Hour}, Uses: timed,
			About: "through the embedded stream into two databases and a file, every few seconds one fault of all kinds; within a minute it streams again, and nothing leaks",
			run:   func(t testing.TB, r *Trial) { soakCampaign(t, r, fanned) },
		},
	}...)
}

// networkCases are those of the network.
func networkCases() []Case {
	return []Case{
		{
			Name: "network", IDs: []string{"CR-04"}, Minutes: 20, Full: Options{Faults: 300}, Uses: counted,
			About: "the connections to the servers are slow, reset, half closed and silent",
			run:   func(t testing.TB, r *Trial) { networkCampaign(t, r, single) },
		},
		{
			Name: "network-embedded", IDs: []string{"CR-04"}, Minutes: 10, Full: Options{Faults: 150}, Uses: counted,
			About: "the connections to the servers are slow, reset, half closed and silent, for a program with the embedded stream into two databases and a file",
			run:   func(t testing.TB, r *Trial) { networkCampaign(t, r, fanned) },
		},
		{
			Name: "network-kafka", IDs: []string{"CR-04", "ST-04"}, Minutes: 12, Full: Options{Faults: 150}, Uses: counted,
			About: "the connections to the servers and to the Kafka broker between capture and workers are slow, reset, half closed and silent",
			run:   func(t testing.TB, r *Trial) { networkCampaign(t, r, spread) },
		},
		{
			Name: "packet-loss", IDs: []string{"CR-04"}, Minutes: 12, Full: Options{Faults: 150}, Uses: counted,
			About: "packets between the program and its servers get lost by chance",
			run:   lossCampaign,
		},
	}
}
