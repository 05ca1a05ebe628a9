package campaign

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Case is a campaign that can be run by name.
type Case struct {
	// Name is what a person types.
	Name string
	// IDs are the rows of the list of cases that it shows.
	IDs []string
	// About says in a line what is done and what has to hold.
	About string
	// Full is its length: what it is when nobody asks for less.
	Full Options
	// Minutes is about how long that takes on two processors.
	Minutes int
	// Oldest is the first version of PostgreSQL that can do it; 0 for all.
	Oldest int
	// Uses are the options that have an effect on it.
	Uses []Option
	// Sized: the number of changes is how many it makes, however many the faults are, and
	// not only what it has to come to.
	Sized bool

	run func(t testing.TB, r *Trial)
}

// Option is the name of one of [Options], as a flag has it.
type Option string

// The options.
const (
	Seed    Option = "seed"
	Major   Option = "pg"
	Faults  Option = "faults"
	Changes Option = "changes"
	Minutes Option = "minutes"
)

var (
	chosen  = []Option{Seed, Major, Faults}
	counted = []Option{Seed, Major, Faults, Changes}
	timed   = []Option{Seed, Major, Changes, Minutes}
	whole   = []Option{Seed, Major, Faults, Changes, Minutes}
)

// Takes reports whether an option has an effect on the campaign.
func (c Case) Takes(o Option) bool { return slices.Contains(c.Uses, o) }

// Cases are all campaigns, in the order in which they are best run.
func Cases() []Case {
	all := []Case{
		{
			Name: "kill", IDs: []string{"CR-01"}, Minutes: 40, Full: Options{Faults: 1000, Changes: 1_000_000}, Uses: counted,
			About: "the program is killed at random while servers crash and sessions are cut",
			run:   func(t testing.TB, r *Trial) { killCampaign(t, r, inOrder) },
		},
		{
			Name: "kill-parallel", IDs: []string{"CR-01"}, Minutes: 15, Full: Options{Faults: 300, Changes: 300_000}, Uses: counted,
			About: "the program, whose sink applies transactions side by side, is killed at random while servers crash and sessions are cut",
			run:   func(t testing.TB, r *Trial) { killCampaign(t, r, aside) },
		},
		{
			Name: "kill-embedded", IDs: []string{"CR-01"}, Minutes: 20, Full: Options{Faults: 300, Changes: 300_000}, Uses: counted,
			About: "the program, with the embedded stream into two databases and a file, is killed at random while servers crash and sessions are cut",
			run:   fanCampaign,
		},
		{
			Name: "workers", IDs: []string{"ST-03", "CR-01"}, Minutes: 30, Full: Options{Faults: 200}, Uses: counted,
			About: "through Kafka, six partitions: capture and three workers are killed, stopped and cut off",
			run:   workersCampaign,
		},
		{
			Name: "workers-ordered", IDs: []string{"ST-03", "CO-13"}, Minutes: 20, Full: Options{Faults: 100}, Uses: counted,
			About: "through Kafka, one partition, where transactions stay whole: capture and workers are killed, stopped and cut off",
			run:   orderedWorkersCampaign,
		},
		{
			Name: "broker", IDs: []string{"ST-04"}, Minutes: 20, Full: Options{Faults: 100}, Uses: counted,
			About: "the Kafka broker is killed and started again",
			run:   brokerCampaign,
		},
	}
	return append(append(all, serverCases()...), faultCases()...)
}

// serverCases are the campaigns of servers that go, of first copies, and of bugs that
// are planted.
func serverCases() []Case {
	return []Case{
		{
			Name: "postmaster", IDs: []string{"CR-02"}, Minutes: 25, Full: Options{Faults: 100, Changes: 200_000}, Uses: counted,
			About: "source and target server are killed a hundred times each",
			run:   postmasterCampaign,
		},
		{
			Name: "flood", IDs: []string{"CR-03"}, Minutes: 25, Full: Options{Faults: 10, Changes: 10_000_000}, Sized: true, Uses: counted,
			About: "ten million changes, one transaction of a million, some kills",
			run:   floodCampaign,
		},
		{
			Name: "promotion", IDs: []string{"PG-26"}, Minutes: 15, Full: Options{Faults: 20}, Oldest: 17, Uses: counted,
			About: "the primary is killed under load and its standby promoted, on new servers each time",
			run:   promotionCampaign,
		},
		{
			Name: "copy", IDs: []string{"PG-29"}, Minutes: 20, Full: Options{Faults: 300}, Uses: chosen,
			About: "existing rows are copied while 16 writers change them and the program is killed behind each part",
			run:   copyCampaign,
		},
		{
			Name: "simulation", IDs: []string{"CR-08"}, Minutes: 10,
			About: "the engine against simulated ends: delays, errors, lost answers, crashes, twenty million steps",
			run:   simulatedCampaign,
		},
		{
			Name: "mutants", IDs: mutantIDs(), Minutes: 10, Uses: chosen,
			About: "bugs are planted in the data path, one by one, and must be caught by the checkers",
			run:   mutantsCampaign,
		},
		{
			Name: "failpoints", IDs: []string{"CO-01"}, Minutes: 10, Uses: chosen,
			About: "at every durable boundary the program panics, fails, sleeps for 5 s or returns early, directly and through the embedded stream",
			run:   failpointsCampaign,
		},
	}
}

// Find returns the campaign of that name.
func Find(name string) (Case, bool) {
	for _, c := range Cases() {
		if c.Name == name {
			return c, true
		}
	}
	return Case{}, false
}

// Run runs a campaign and returns its report, which lacks the commit. What it is doing
// is written to log. Only one campaign runs at a time: they share the throw-away
// servers of the process, which Remove ends. When ctx ends, the campaign fails soon,
// and its report says nothing.
func (c Case) Run(ctx context.Context, o Options, log Log) *Report {
	began := time.Now()
	run, trial := newStandalone(ctx, c.Name, log), &Trial{began: began, Options: o}
	run.do(func() { c.run(run, trial) })
	return trial.report(c, run, began)
}

// mutantIDs are the rows of the campaign of planted bugs: each bug is one.
func mutantIDs() []string {
	ids := []string{"CR-07"}
	for i := range plantedBugs {
		ids = append(ids, fmt.Sprintf("bug %d", i+1))
	}
	return ids
}

// plantedBugs is how many rows of bugs the list of cases has.
const plantedBugs = 18
