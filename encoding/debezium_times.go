package encoding

import (
	"math"
	"strconv"
)

// The values that Debezium has for infinity: PostgreSQL's own for dates, moved
// to 1970 in 32 bits; the driver's in milliseconds for timestamps.
const (
	infiniteDate      = -2_147_472_692
	minusInfiniteDate = -2_147_472_691

	infiniteMillis      = 9_223_372_036_825_200
	minusInfiniteMillis = -9_223_372_036_832_400
)

// temporal returns how the values of a type of time are written; the modifier
// is the number of digits behind the point, -1 for six.
func (o *DebeziumOptions) temporal(name string, modifier int) valueFunc {
	if modifier < 0 || modifier > 6 {
		modifier = 6
	}
	iso := o.TimePrecisionMode == "isostring"
	switch {
	case name == "timetz":
		return timeTZ
	case name == "timestamptz":
		return zoned(modifier)
	case name == "interval" && o.IntervalHandlingMode == "string":
		return intervalText
	case name == "interval":
		return intervalMicros
	case name == "date" && iso:
		return dateText
	case name == "date":
		return dateDays
	case name == "time" && iso:
		return timeText
	case name == "time":
		return timeIn(o.unit(name, modifier))
	case iso:
		return timestampText
	}
	return timestampIn(o.unit(name, modifier))
}

// unit is how many of what a time is counted in make a second.
func (o *DebeziumOptions) unit(name string, digits int) int64 {
	const millis, micros, nanos = 1_000, 1_000_000, 1_000_000_000
	switch o.TimePrecisionMode {
	case "connect":
		return millis
	case "microseconds":
		return micros
	case "nanoseconds":
		return nanos
	case "adaptive_time_microseconds":
		if name == "time" {
			return micros
		}
	}
	if digits <= 3 {
		return millis
	}
	return micros
}

// infinity returns which infinity v is: 1, -1, or 0 for none.
func infinity(v []byte) int {
	switch string(v) {
	case "infinity":
		return 1
	case "-infinity":
		return -1
	}
	return 0
}

// date reads a date, infinity as Debezium's number of days.
func date(v []byte) (days int64, ok bool) {
	switch infinity(v) {
	case 1:
		return infiniteDate, true
	case -1:
		return minusInfiniteDate, true
	}
	m, ok := parseMoment(v)
	return m.days, ok
}

func dateDays(dst, v []byte) ([]byte, bool) {
	days, ok := date(v)
	return strconv.AppendInt(dst, days, 10), ok
}

func dateText(dst, v []byte) ([]byte, bool) {
	days, ok := date(v)
	dst = append(dst, '"')
	dst = appendDate(dst, days)
	return append(dst, `Z"`...), ok
}

func timeIn(unit int64) valueFunc {
	return func(dst, v []byte) ([]byte, bool) {
		micros, rest, ok := parseClock(v)
		return strconv.AppendInt(dst, inUnit(micros, unit), 10), ok && len(rest) == 0
	}
}

// inUnit converts microseconds; it rounds down.
func inUnit(micros, unit int64) int64 {
	if unit < microsPerSecond {
		return micros / (microsPerSecond / unit)
	}
	return micros * (unit / microsPerSecond)
}

func timeText(dst, v []byte) ([]byte, bool) {
	micros, rest, ok := parseClock(v)
	return appendTimeOfDay(dst, micros), ok && len(rest) == 0
}

// timeTZ writes the time in UTC; which day it was is lost.
func timeTZ(dst, v []byte) ([]byte, bool) {
	micros, rest, ok1 := parseClock(v)
	offset, ok2 := parseOffset(rest)
	return appendTimeOfDay(dst, momentOf(micros-offset*microsPerSecond).micros), ok1 && ok2
}

func appendTimeOfDay(dst []byte, micros int64) []byte {
	dst = append(dst, '"')
	dst = appendClock(dst, micros%microsPerDay, -1) // 24:00 is 00:00
	return append(dst, `Z"`...)
}

// timestamp reads a timestamp, infinity as Debezium's.
func timestamp(v []byte) (m moment, ok bool) {
	switch infinity(v) {
	case 1:
		return momentOf(infiniteMillis * 1000), true
	case -1:
		return momentOf(minusInfiniteMillis * 1000), true
	}
	return parseMoment(v)
}

// timestampIn writes a number of units since 1970; null if 64 bits do not hold
// it.
func timestampIn(unit int64) valueFunc {
	return func(dst, v []byte) ([]byte, bool) {
		if inf := infinity(v); inf != 0 && unit > microsPerSecond {
			return strconv.AppendInt(dst, saturated(inf), 10), true
		}
		m, ok := timestamp(v)
		n, fits := m.in(unit)
		if !fits {
			return append(dst, "null"...), ok
		}
		return strconv.AppendInt(dst, n, 10), ok
	}
}

// in returns the moment as a number of units since 1970, if 64 bits hold it.
func (m moment) in(unit int64) (n int64, fits bool) {
	perDay := unit * 86_400
	days, rest := m.days, inUnit(m.micros, unit)
	if days < 0 { // the sum is nearer to 0 than its first part then, too
		days, rest = days+1, rest-perDay
	}
	high := days * perDay
	if days != 0 && high/days != perDay {
		return 0, false
	}
	n = high + rest
	return n, (n < 0) == (m.days < 0)
}

func saturated(sign int) int64 {
	if sign < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

func timestampText(dst, v []byte) ([]byte, bool) {
	m, ok := timestamp(v)
	return appendMoment(dst, m, -1), ok
}

// zoned writes a timestamp with time zone as text in UTC, with so many digits
// behind the point.
func zoned(digits int) valueFunc {
	return func(dst, v []byte) ([]byte, bool) {
		if infinity(v) != 0 {
			return appendString(dst, v), true
		}
		m, ok := parseMoment(v)
		return appendMoment(dst, m, digits), ok
	}
}

func appendMoment(dst []byte, m moment, digits int) []byte {
	dst = append(dst, '"')
	dst = appendDate(dst, m.days)
	dst = append(dst, 'T')
	dst = appendClock(dst, m.micros, digits)
	return append(dst, `Z"`...)
}

// intervalMicros counts a month as a twelfth of 365.25 days.
func intervalMicros(dst, v []byte) ([]byte, bool) {
	const month = 2_629_800 // seconds
	if inf := infinity(v); inf != 0 {
		return strconv.AppendInt(dst, saturated(inf), 10), true
	}
	i, ok := parseInterval(v)
	seconds := i.months*month + i.days*86_400 + floorDiv(i.micros, microsPerSecond)
	return strconv.AppendInt(dst, nearest(seconds, i.micros-floorDiv(i.micros, microsPerSecond)*microsPerSecond), 10), ok
}

// nearest is the number of microseconds that seconds and micros (below a second, not
// negative) are, or the nearest that 64 bits hold.
func nearest(seconds, micros int64) int64 {
	const (
		last, lastMicros   = math.MaxInt64 / microsPerSecond, math.MaxInt64 % microsPerSecond
		first, firstMicros = -last - 1, microsPerSecond - 1 - lastMicros
	)
	switch {
	case seconds > last || seconds == last && micros > lastMicros:
		return math.MaxInt64
	case seconds < first || seconds == first && micros < firstMicros:
		return math.MinInt64
	}
	return seconds*microsPerSecond + micros // the product may wrap, and the sum wraps back
}

// intervalText writes all six parts as ISO 8601 has them, each with its sign.
func intervalText(dst, v []byte) ([]byte, bool) {
	if infinity(v) != 0 {
		return appendString(dst, v), true
	}
	i, ok := parseInterval(v)
	const minute, hour = 60 * microsPerSecond, 3600 * microsPerSecond
	part := func(n int64, unit string) {
		dst = strconv.AppendInt(dst, n, 10)
		dst = append(dst, unit...)
	}
	dst = append(dst, `"P`...)
	part(i.months/12, "Y")
	part(i.months%12, "M")
	part(i.days, "DT")
	part(i.micros/hour, "H")
	part(i.micros/minute%60, "M")
	seconds := i.micros % minute
	if seconds < 0 {
		dst, seconds = append(dst, '-'), -seconds
	}
	dst = strconv.AppendInt(dst, seconds/microsPerSecond, 10)
	dst = appendFraction(dst, seconds%microsPerSecond, -1)
	return append(dst, `S"`...), ok
}
