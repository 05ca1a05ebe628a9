package encoding

import "strconv"

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 86_400 * microsPerSecond
)

// moment is a point in time of the proleptic Gregorian calendar, or a date
// (micros is 0). Its range is larger than that of microseconds in 64 bits.
// Invariant: 0 <= micros < microsPerDay.
type moment struct {
	days   int64 // since 1970-01-01
	micros int64 // of the day
}

// momentOf returns the moment that lies this many microseconds after 1970.
func momentOf(micros int64) moment {
	days := floorDiv(micros, microsPerDay)
	return moment{days, micros - days*microsPerDay}
}

// plus moves the moment by microseconds.
func (m moment) plus(micros int64) moment {
	moved := momentOf(m.micros + micros)
	moved.days += m.days
	return moved
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// parseMoment reads PostgreSQL's text of a date or timestamp: ISO order, a
// year of four digits or more, an offset if it has one, " BC".
func parseMoment(v []byte) (m moment, ok bool) {
	bc := len(v) > 3 && string(v[len(v)-3:]) == " BC"
	if bc {
		v = v[:len(v)-3]
	}
	year, v, ok1 := number(v, '-')
	month, v, ok2 := number(v, '-')
	day, v, ok3 := number(v, 0)
	if !ok1 || !ok2 || !ok3 {
		return m, false
	}
	if bc {
		year = 1 - year
	}
	m.days = daysOf(year, month, day)
	if len(v) == 0 {
		return m, true
	}
	micros, v, ok4 := parseClock(v[1:])
	offset, ok5 := parseOffset(v)
	return m.plus(micros - offset*microsPerSecond), ok4 && ok5
}

// parseClock reads hours:minutes:seconds with up to six digits behind the
// point, and returns what follows. Hours can be any number.
func parseClock(v []byte) (micros int64, rest []byte, ok bool) {
	hours, v, ok1 := number(v, ':')
	minutes, v, ok2 := number(v, ':')
	seconds, v, ok3 := number(v, 0)
	micros = ((hours*60+minutes)*60 + seconds) * microsPerSecond
	if len(v) > 0 && v[0] == '.' {
		unit := int64(microsPerSecond)
		for v = v[1:]; len(v) > 0 && isDigit(v[0]); v = v[1:] {
			unit /= 10
			micros += int64(v[0]-'0') * unit
		}
	}
	return micros, v, ok1 && ok2 && ok3
}

// parseOffset reads what may follow a time, ±hours[:minutes[:seconds]], in
// seconds.
func parseOffset(v []byte) (seconds int64, ok bool) {
	if len(v) == 0 {
		return 0, true
	}
	sign := int64(1)
	if v[0] == '-' {
		sign = -1
	}
	if v[0] != '-' && v[0] != '+' {
		return 0, false
	}
	v = v[1:]
	for unit := int64(3600); unit > 0; unit /= 60 {
		n, rest, ok := number(v, 0)
		if !ok {
			return 0, false
		}
		seconds += sign * n * unit
		if len(rest) == 0 {
			return seconds, true
		}
		v = rest[1:]
	}
	return 0, false
}

// number reads decimal digits and the byte behind them, if that is not 0.
func number(v []byte, behind byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(v) && isDigit(v[i]) && i < 18; i++ {
		n = n*10 + int64(v[i]-'0')
	}
	if i == 0 {
		return 0, v, false
	}
	if behind == 0 {
		return n, v[i:], true
	}
	if i == len(v) || v[i] != behind {
		return 0, v, false
	}
	return n, v[i+1:], true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// daysOf returns the days from 1970-01-01 to a date; year 0 is 1 BC. Years
// begin in March in it, so that the leap day is a year's last.
func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	leaps := floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400)
	return year*365 + leaps + (month*153-457)/5 + day - 719_469
}

// dateOf is the inverse of daysOf.
func dateOf(days int64) (year, month, day int64) {
	const era = 146_097 // days of 400 years
	days += 719_468     // since 0000-03-01
	cycle := floorDiv(days, era)
	inEra := days - cycle*era
	yearOfEra := (inEra - inEra/1460 + inEra/36_524 - inEra/(era-1)) / 365
	inYear := inEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	march := (5*inYear + 2) / 153
	year, month, day = yearOfEra+cycle*400, march+3, inYear-(153*march+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}

// appendDate writes year-month-day as ISO 8601 has it for all years: four
// digits, a sign if the year is negative or has more.
func appendDate(dst []byte, days int64) []byte {
	year, month, day := dateOf(days)
	if year > 9999 {
		dst = append(dst, '+')
	}
	if year < 0 {
		dst = append(dst, '-')
		year = -year
	}
	dst = appendPadded(dst, year, 4)
	dst = append(dst, '-')
	dst = appendPadded(dst, month, 2)
	dst = append(dst, '-')
	return appendPadded(dst, day, 2)
}

// appendClock writes hours:minutes:seconds and the digits behind the point: as
// many as given, or as many as it takes if digits is negative.
func appendClock(dst []byte, micros int64, digits int) []byte {
	seconds := micros / microsPerSecond
	dst = appendPadded(dst, seconds/3600, 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, seconds/60%60, 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, seconds%60, 2)
	return appendFraction(dst, micros%microsPerSecond, digits)
}

// appendFraction writes the point and the digits behind it, see appendClock.
func appendFraction(dst []byte, micros int64, digits int) []byte {
	if digits == 0 || digits < 0 && micros == 0 {
		return dst
	}
	dst = append(dst, '.')
	dst = appendPadded(dst, micros, 6)
	if digits > 0 {
		return dst[:len(dst)-6+digits]
	}
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

func appendPadded(dst []byte, n int64, width int) []byte {
	for limit := int64(10); width > 1; width-- {
		if n < limit {
			dst = append(dst, "000000"[:width-1]...)
			break
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, n, 10)
}

// interval is PostgreSQL's: three numbers that have no fixed relation.
type interval struct{ months, days, micros int64 }

// parseInterval reads IntervalStyle postgres: "1 year 2 mons -3 days
// 04:05:06.7".
func parseInterval(v []byte) (i interval, ok bool) {
	for len(v) > 0 {
		sign := int64(1)
		if v[0] == '-' {
			sign = -1
		}
		if v[0] == '-' || v[0] == '+' {
			v = v[1:]
		}
		n, rest, ok := number(v, 0)
		if !ok || len(rest) == 0 {
			return i, false
		}
		if rest[0] == ':' {
			micros, rest, ok := parseClock(v)
			i.micros = sign * micros
			return i, ok && len(rest) == 0
		}
		if v, ok = i.add(sign*n, rest[1:]); !ok {
			return i, false
		}
	}
	return i, true
}

// add adds n of the unit that v begins with and returns what follows.
func (i *interval) add(n int64, v []byte) (rest []byte, ok bool) {
	end := 0
	for end < len(v) && v[end] != ' ' {
		end++
	}
	switch string(v[:end]) {
	case "year", "years":
		i.months += 12 * n
	case "mon", "mons":
		i.months += n
	case "day", "days":
		i.days += n
	default:
		return v, false
	}
	if end < len(v) {
		end++
	}
	return v[end:], true
}
