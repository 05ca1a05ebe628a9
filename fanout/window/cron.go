package window

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Schedule is the moments of a cron expression of five fields. It is immutable.
type Schedule struct {
	minutes, hours, days, months, weekdays uint64 // bits by number
	either                                 bool   // days or weekdays, not both
	zone                                   *time.Location
}

// field is what a field of an expression may say.
type field struct {
	name     string
	from, to int
	words    []string // for the numbers from from on
}

var fields = []field{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of the week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// ParseSchedule reads minute, hour, day of the month, month and day of the week (0 and
// 7 are Sunday; names of three letters are taken, too): each *, a number, a range a-b,
// either with a step /n, or several with commas. If both days are restricted, one of
// them is enough, as in cron. An expression that no day ever fits is an error.
func ParseSchedule(text string, zone *time.Location) (*Schedule, error) {
	parts := strings.Fields(text)
	if len(parts) != len(fields) {
		return nil, fmt.Errorf("expected five fields, minute, hour, day of the month, month and day of the week, such as 30 2 * * *; found %d", len(parts))
	}
	var bits [5]uint64
	for i, f := range fields {
		var err error
		if bits[i], err = f.parse(parts[i]); err != nil {
			return nil, fmt.Errorf("%s %q: %w", f.name, parts[i], err)
		}
	}
	if bits[4]&(1<<7) != 0 {
		bits[4] |= 1
	}
	s := &Schedule{bits[0], bits[1], bits[2], bits[3], bits[4], !strings.HasPrefix(parts[2], "*") && !strings.HasPrefix(parts[4], "*"), zone}
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("no day of any year fits")
	}
	return s, nil
}

func (f field) parse(text string) (bits uint64, err error) {
	for _, one := range strings.Split(text, ",") {
		span, step, stepped := strings.Cut(one, "/")
		from, to := f.from, f.to
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			if from, err = f.number(first); err != nil {
				return 0, err
			}
			if ranged {
				to, err = f.number(last)
			} else if !stepped {
				to = from
			}
		}
		by := 1
		if stepped && err == nil {
			by, err = strconv.Atoi(step)
		}
		if err != nil || by < 1 || from > to {
			return 0, fmt.Errorf("expected %d to %d, a range such as %d-%d, or steps such as */5", f.from, f.to, f.from, f.to)
		}
		for n := from; n <= to; n += by {
			bits |= 1 << n
		}
	}
	return bits, nil
}

func (f field) number(text string) (int, error) {
	for i, word := range f.words {
		if strings.EqualFold(text, word) {
			return f.from + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < f.from || n > f.to {
		return 0, fmt.Errorf("expected a number from %d to %d", f.from, f.to)
	}
	return n, nil
}

// searchDays is how far the next moment is looked for: a 29th of February on a certain
// day of the week may be 40 years away.
const searchDays = 41 * 366

// Next returns the first moment behind t; zero if there is none in 40 years. A time
// that the clocks skip is as much later as they are put forward, one that they show
// twice is the first of the two.
func (s *Schedule) Next(t time.Time) time.Time {
	t = t.In(s.zone)
	year, month, day := t.Date()
	for d := range searchDays {
		date := time.Date(year, month, day+d, 0, 0, 0, 0, time.UTC)
		if !s.fits(date) {
			continue
		}
		for at := range 24 * 60 {
			if s.hours&(1<<(at/60)) == 0 || s.minutes&(1<<(at%60)) == 0 {
				continue
			}
			if m := s.shown(date.Add(time.Duration(at) * time.Minute)); m.After(t) {
				return m
			}
		}
	}
	return time.Time{}
}

// fits reports whether there are moments on a day.
func (s *Schedule) fits(date time.Time) bool {
	day, weekday := s.days&(1<<date.Day()) != 0, s.weekdays&(1<<date.Weekday()) != 0
	if s.months&(1<<date.Month()) == 0 {
		return false
	}
	if s.either {
		return day || weekday
	}
	return day && weekday
}

// shown is the moment at which the clocks of the zone show what clock says in UTC.
func (s *Schedule) shown(clock time.Time) time.Time {
	at := func(around time.Time) time.Time {
		_, offset := around.In(s.zone).Zone()
		return clock.Add(-time.Duration(offset) * time.Second).In(s.zone)
	}
	before, after := at(clock.Add(-24*time.Hour)), at(clock.Add(24*time.Hour))
	if before.Hour() != clock.Hour() && after.Hour() == clock.Hour() {
		return after
	}
	return before
}
