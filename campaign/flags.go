package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain/internal/campaign"
	"github.com/entrainsync/entrain/internal/pgserver"
)

// newestMajor is the newest version of PostgreSQL that is supported.
const newestMajor = 18

// defaultMajor is that of campaigns which can run on it.
const defaultMajor = 15

// errUsage marks mistakes of the command line. What is wrong stands before it.
var errUsage = errors.New("usage: go run ./campaign list|all|record|proof|NAME [flags]; --help says more, list which campaigns there are")

// wrong is a mistake of the command line.
func wrong(format string, args ...any) error {
	return fmt.Errorf("%s\n%w", fmt.Sprintf(format, args...), errUsage)
}

// settings are what the command line says.
type settings struct {
	campaign.Options
	name     string
	campaign campaign.Case // if it is a campaign's name
	folder   string
	budget   time.Duration
	commit   string
	given    map[string]string // the flags that were given
}

// minutes is a flag in minutes.
type minutes struct{ d *time.Duration }

// String implements flag.Value.
func (m minutes) String() string {
	if m.d == nil {
		return ""
	}
	return strconv.FormatFloat(m.d.Minutes(), 'f', -1, 64)
}

// Set implements flag.Value.
func (m minutes) Set(text string) (err error) {
	*m.d, err = time.ParseDuration(text + "m")
	return err
}

// flagsOf are all flags, which write to s.
func flagsOf(s *settings) *flag.FlagSet {
	flags := flag.NewFlagSet("campaign", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Uint64Var(&s.Seed, "seed", rand.Uint64(), "`N`, where random choices come from; one by chance if it is not given")
	flags.IntVar(&s.Major, "pg", defaultMajor, fmt.Sprintf("major version `N` of PostgreSQL, %d to %d; a campaign that needs a newer one takes its oldest", pgserver.OldestMajor, newestMajor))
	flags.IntVar(&s.Faults, "faults", 0, "`N` faults instead of the campaign's own number; the changes may then be as few as they are")
	flags.Int64Var(&s.Changes, "changes", 0, "at least `N` changes instead of the campaign's own number: fewer are a finding")
	flags.Var(minutes{&s.Length}, "minutes", "`M` minutes of faults, for campaigns that are measured by time")
	flags.Var(minutes{&s.budget}, "budget", "`M` minutes for all together: what would not end within them is not begun")
	flags.StringVar(&s.folder, "out", s.folder, "`DIR` of the reports")
	return flags
}

// help is what --help says.
func help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nThe flags; one that has no effect on what is to be done is refused:\n", errUsage)
	flags := flagsOf(&settings{folder: reportsFolder, budget: wholeDay})
	flags.VisitAll(func(f *flag.Flag) {
		what, text := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  --%-12s %s\n", f.Name+" "+what, text)
	})
	return b.String()
}

// wholeDay is the budget if none is given.
const wholeDay = 24 * time.Hour

func parse(name string, args []string) (settings, error) {
	s := settings{name: name, folder: reportsFolder, budget: wholeDay, commit: commit(), given: map[string]string{}}
	if !slices.Contains([]string{"list", "all", "record", "proof"}, name) {
		c, found := campaign.Find(name)
		if !found {
			return s, wrong("there is no campaign %q", name)
		}
		s.campaign = c
	}
	flags := flagsOf(&s)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return s, err
	} else if err != nil {
		return s, wrong("%v", err)
	}
	if flags.NArg() > 0 {
		return s, wrong("%q is too much", flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) { s.given[f.Name] = f.Value.String() })
	return s, s.check()
}

// check refuses what is out of range or has no effect.
func (s settings) check() error {
	for _, name := range slices.Sorted(maps.Keys(s.given)) {
		if !s.takes(name) {
			return wrong("--%s has no effect on %s", name, s.name)
		}
	}
	for name, n := range map[string]int64{"faults": int64(s.Faults), "changes": s.Changes, "minutes": int64(s.Length), "budget": int64(s.budget)} {
		if _, given := s.given[name]; given && n <= 0 {
			return wrong("--%s has to be more than 0", name)
		}
	}
	oldest := max(pgserver.OldestMajor, s.campaign.Oldest)
	if _, given := s.given["pg"]; given && (s.Major < oldest || s.Major > newestMajor) {
		return wrong("--pg %d: %s runs on PostgreSQL %d to %d", s.Major, s.name, oldest, newestMajor)
	}
	return nil
}

// takes reports whether a flag has an effect on what is to be done.
func (s settings) takes(name string) bool {
	switch s.name {
	case "list":
		return false
	case "record", "proof":
		return name == "out"
	case "all":
		return true
	}
	return name == "out" || s.campaign.Takes(campaign.Option(name))
}

// options are those of a campaign: its own, and the given ones that it takes.
func (s settings) options(c campaign.Case) campaign.Options {
	o := c.Full
	o.Seed, o.Major = s.Seed, max(s.Major, c.Oldest)
	if s.Faults > 0 && c.Takes(campaign.Faults) {
		o.Faults = s.Faults
		if !c.Sized { // with fewer it does not come to what it has to
			o.Changes = 0
		}
	}
	if s.Changes > 0 && c.Takes(campaign.Changes) {
		o.Changes = s.Changes
	}
	if s.Length > 0 && c.Takes(campaign.Minutes) {
		o.Length = s.Length
	}
	return o
}

// asked are the flags that make a campaign another one, as they are typed; empty for the
// whole one.
func (s settings) asked(c campaign.Case) (text string) {
	for _, o := range []campaign.Option{campaign.Changes, campaign.Faults, campaign.Minutes} {
		if n, given := s.given[string(o)]; given && c.Takes(o) {
			text += " --" + string(o) + " " + n
		}
	}
	if bug := os.Getenv("ENTRAIN_MUTANT"); bug != "" && c.Name == "mutants" {
		text += " with ENTRAIN_MUTANT=" + strconv.Quote(bug)
	}
	return text
}

// estimate is about how long a campaign takes with what is given: what goes by faults or
// by time is as much shorter or longer as they are fewer or more.
func (s settings) estimate(c campaign.Case) time.Duration {
	rest, o := time.Duration(c.Minutes)*time.Minute-c.Full.Length, s.options(c)
	if c.Full.Faults > 0 {
		rest = max(time.Minute, rest*time.Duration(o.Faults)/time.Duration(c.Full.Faults))
	}
	return rest + o.Length
}
