package corpus

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The functions here print values as PostgreSQL does with the settings of sources. They
// are written from its documentation and share nothing with what they test.

// floatText prints the shortest digits that mean the number, of bits 32 or 64.
func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0 && math.Signbit(f):
		return "-0"
	case f == 0:
		return "0"
	}
	exact := 15 // digits in front of the point without an exponent
	if bits == 32 {
		exact = 6
	}
	scientific := strconv.FormatFloat(f, 'e', -1, bits)
	_, exponent, _ := strings.Cut(scientific, "e")
	if n, err := strconv.Atoi(exponent); err == nil && n >= -4 && n < exact {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return scientific
}

// dateText prints the day that lies so many days after 1970-01-01.
func dateText(days int64) string {
	day, era := yearsText(time.Unix(0, 0).UTC().AddDate(0, 0, int(days)))
	return day + era
}

func yearsText(at time.Time) (day, era string) {
	year := at.Year()
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, at.Month(), at.Day()), era
}

// momentText prints a timestamp, with its zone behind it.
func momentText(at time.Time, zone string) string {
	at = at.UTC()
	day, era := yearsText(at)
	return day + " " + at.Format("15:04:05.999999") + zone + era
}

// clockText prints the time of day after so many microseconds.
func clockText(micros int64) string {
	text := fmt.Sprintf("%02d:%02d:%02d", micros/3_600_000_000, micros/60_000_000%60, micros/1_000_000%60)
	if fraction := micros % 1_000_000; fraction != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%06d", fraction), "0")
	}
	return text
}

// momentOf reads the times of ISO 8601, also of years that are negative or have more than
// four digits: -4713-11-24T00:00:00Z, +10000-01-01Z.
func momentOf(text string) (at time.Time, err error) {
	year, rest := text[:4], text[4:]
	if text[0] == '+' || text[0] == '-' {
		end := 1 + strings.IndexByte(text[1:], '-')
		year, rest = text[:end], text[end:]
	}
	n, err := strconv.Atoi(year)
	if err != nil {
		return at, err
	}
	format := "2006-01-02T15:04:05.999999Z07:00"
	if !strings.Contains(rest, "T") {
		format = "2006-01-02Z07:00"
	}
	// 400 years are the same again; 2000 is a leap year as the year 0 is.
	cycles := int(math.Floor(float64(n) / 400))
	at, err = time.Parse(format, fmt.Sprintf("%04d", 2000+n-400*cycles)+rest)
	return at.AddDate(400*cycles-2000, 0, 0), err
}

// arrayOf reads an array's text: nested lists of texts and nil for NULL. Bounds are not
// kept.
func arrayOf(text string, delimiter byte) (list []any, err error) {
	if text[0] == '[' {
		_, text, _ = strings.Cut(text, "=")
	}
	list, rest, err := elementsOf(text, delimiter)
	if err == nil && rest != "" {
		err = fmt.Errorf("%q behind an array", rest)
	}
	return list, err
}

func elementsOf(text string, delimiter byte) (list []any, rest string, err error) {
	list = []any{}
	if !strings.HasPrefix(text, "{") {
		return nil, text, fmt.Errorf("no array: %q", text)
	}
	text = text[1:]
	for !strings.HasPrefix(text, "}") {
		var element any
		if element, text, err = elementOf(text, delimiter); err != nil {
			return nil, text, err
		}
		list = append(list, element)
		if text != "" && text[0] == delimiter {
			text = text[1:]
		}
	}
	return list, text[1:], nil
}

func elementOf(text string, delimiter byte) (element any, rest string, err error) {
	switch {
	case text == "":
		return nil, text, fmt.Errorf("an array without an end")
	case text[0] == '{':
		return elementsOf(text, delimiter)
	case text[0] != '"':
		end := strings.IndexAny(text, string(delimiter)+"}")
		if end < 0 {
			return nil, text, fmt.Errorf("an array without an end: %q", text)
		}
		if text[:end] == "NULL" {
			return nil, text[end:], nil
		}
		return text[:end], text[end:], nil
	}
	var out strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return out.String(), text[i+1:], nil
		case '\\':
			i++
		}
		if i < len(text) {
			out.WriteByte(text[i])
		}
	}
	return nil, text, fmt.Errorf("an element without an end: %q", text)
}

// TestTexts: the printers above print what the documentation of PostgreSQL shows.
func TestTexts(t *testing.T) {
	for _, c := range [][2]string{
		{floatText(1e15, 64), "1e+15"}, {floatText(123456789012345, 64), "123456789012345"}, {floatText(1e6, 32), "1e+06"},
		{floatText(0.0001, 64), "0.0001"}, {floatText(0.00001, 64), "1e-05"}, {floatText(math.Copysign(0, -1), 64), "-0"},
		{dateText(-1), "1969-12-31"}, {dateText(-719163), "0001-12-31 BC"}, {dateText(2932897), "10000-01-01"},
		{clockText(86_400_000_000), "24:00:00"}, {clockText(1), "00:00:00.000001"},
		{momentText(time.Unix(-1, 500_000_000), "+00"), "1969-12-31 23:59:59.5+00"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s, want %s", c[0], c[1])
		}
	}
	for text, want := range map[string]string{
		"-4713-11-24T00:00:00Z": "4714-11-24 00:00:00 BC", "0000-02-29T12:00:00.5Z": "0001-02-29 12:00:00.5 BC",
		"+10000-01-01T00:00:00Z": "10000-01-01 00:00:00", "2026-02-28Z": "2026-02-28 00:00:00", "+294276-12-31T23:59:59.999999Z": "294276-12-31 23:59:59.999999",
	} {
		if at, err := momentOf(text); err != nil || momentText(at, "") != want {
			t.Errorf("%s is %v, %v", text, at, err)
		}
	}
	list, err := arrayOf(`[0:1][2:3]={{a,NULL},{"NULL","q\"\\"}}`, ',')
	if got := fmt.Sprintf("%q", list); err != nil || got != `[["a" <nil>] ["NULL" "q\"\\"]]` {
		t.Errorf("%s, %v", got, err)
	}
	for _, wrong := range []string{"{", "{a", `{"a`, "{}x", "a"} {
		if list, err := arrayOf(wrong, ','); err == nil {
			t.Errorf("%s is %v", wrong, list)
		}
	}
}
