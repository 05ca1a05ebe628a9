package window

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// TestScheduleNext: the next moments of expressions, also over the changes of clocks.
func TestScheduleNext(t *testing.T) {
	for _, c := range []struct {
		cron, zone, after string
		want              []string
	}{
		{"30 2 * * *", "UTC", "2026-11-27T02:30:00Z", []string{"2026-11-28T02:30:00Z", "2026-11-29T02:30:00Z"}},
		{"30 2 * * *", "UTC", "2026-11-27T02:29:59Z", []string{"2026-11-27T02:30:00Z"}},
		{"*/15 9-10 * * mon-fri", "UTC", "2026-11-27T10:40:00Z", []string{"2026-11-27T10:45:00Z", "2026-11-30T09:00:00Z"}},
		{"0 0 1,15 * *", "UTC", "2026-12-15T00:00:00Z", []string{"2027-01-01T00:00:00Z", "2027-01-15T00:00:00Z"}},
		{"0 0 13 * fri", "UTC", "2026-11-08T00:00:00Z", []string{"2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"}},
		{"0 0 */2 * fri", "UTC", "2026-11-13T00:00:00Z", []string{"2026-11-27T00:00:00Z"}},
		{"0 0 29 feb *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"0 0 * * 7", "UTC", "2026-11-27T00:00:00Z", []string{"2026-11-29T00:00:00Z"}},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"0 22 * * *", "Asia/Kathmandu", "2026-11-27T16:15:00Z", []string{"2026-11-28T16:15:00Z"}},
		{"5/20 * * * *", "UTC", "2026-11-27T16:06:00Z", []string{"2026-11-27T16:25:00Z", "2026-11-27T16:45:00Z"}},
	} {
		s, err := ParseSchedule(c.cron, zone(t, c.zone))
		if err != nil {
			t.Fatalf("%s: %v", c.cron, err)
		}
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if at = s.Next(at); at.UTC().Format(time.RFC3339) != want {
				t.Errorf("%s in %s: %s; want %s", c.cron, c.zone, at.UTC().Format(time.RFC3339), want)
			}
		}
	}
}

// TestScheduleGoesOn: over two years of a zone with summer time, moments only grow, and
// a daily one is there every day.
func TestScheduleGoesOn(t *testing.T) {
	for _, cron := range []string{"30 2 * * *", "0 3 * * *", "15 1 * * *"} {
		s, err := ParseSchedule(cron, zone(t, "America/New_York"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
		for range 730 {
			next := s.Next(at)
			if d := next.Sub(at); d <= 0 || d > 26*time.Hour {
				t.Fatalf("%s: %s after %s", cron, next, at)
			}
			at = next
		}
		if want := time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(want.Add(-24*time.Hour)) || at.After(want.Add(24*time.Hour)) {
			t.Errorf("%s: 730 days end at %s", cron, at)
		}
	}
}

func TestScheduleRefused(t *testing.T) {
	for cron, want := range map[string]string{
		"":             "found 0",
		"30 2 * *":     "found 4",
		"60 2 * * *":   `minute "60": expected a number from 0 to 59`,
		"0 24 * * *":   "hour",
		"0 0 0 * *":    "day of the month",
		"0 0 * 13 *":   "month",
		"0 0 * * 8":    "day of the week",
		"*/0 * * * *":  "steps such as",
		"5-2 * * * *":  "a range such as",
		"0 0 30 2 *":   "no day",
		"0 0 * * blue": "expected a number from 0 to 7",
		"@daily":       "found 1",
	} {
		if _, err := ParseSchedule(cron, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", cron, err, want)
		}
	}
}
