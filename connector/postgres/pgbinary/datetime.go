package pgbinary

import (
	"bytes"
	"encoding/binary"
	"math"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 60 * 60 * microsPerSecond
	// The server counts days from 2000-01-01, which is this many after
	// 0000-03-01 of the proleptic Gregorian calendar.
	epochDays = 730425
	// Years that the types can have, 1 BC being 0; the server's own bounds
	// are a little wider, and what lies outside is left to it.
	minYear, maxDateYear, maxStampYear = -4712, 5874896, 294276
)

var universal = []byte("+00")

// date is the number of days since 2000-01-01.
func date(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "infinity":
		return binary.BigEndian.AppendUint32(dst, math.MaxInt32), true
	case "-infinity":
		return binary.BigEndian.AppendUint32(dst, 1<<31), true
	}
	text, era := cutEra(text)
	year, days, ok := daysOf(text, era)
	if !ok || year > maxDateYear {
		return dst, false
	}
	return binary.BigEndian.AppendUint32(dst, uint32(days)), true
}

// clock is a time of day in microseconds.
func clock(dst, text []byte) ([]byte, bool) {
	micros, ok := microsOf(text)
	if !ok {
		return dst, false
	}
	return binary.BigEndian.AppendUint64(dst, uint64(micros)), true
}

// timestamp is the number of microseconds since 2000-01-01 00:00:00.
func timestamp(dst, text []byte) ([]byte, bool) { return stamp(dst, text, nil) }

// timestamptz is a timestamp in UTC.
func timestamptz(dst, text []byte) ([]byte, bool) { return stamp(dst, text, universal) }

// stamp reads "YYYY-MM-DD hh:mm:ss.ffffff", the zone and perhaps " BC".
func stamp(dst, text, zone []byte) ([]byte, bool) {
	switch string(text) {
	case "infinity":
		return binary.BigEndian.AppendUint64(dst, math.MaxInt64), true
	case "-infinity":
		return binary.BigEndian.AppendUint64(dst, 1<<63), true
	}
	text, era := cutEra(text)
	text, zoned := bytes.CutSuffix(text, zone)
	day, time, spaced := bytes.Cut(text, []byte{' '})
	year, days, ok := daysOf(day, era)
	micros, timed := microsOf(time)
	if !zoned || !spaced || !ok || !timed || year > maxStampYear || micros >= microsPerDay {
		return dst, false
	}
	return binary.BigEndian.AppendUint64(dst, uint64(days*microsPerDay+micros)), true
}

// era is how years are counted.
type era uint8

const (
	anno era = iota
	beforeChrist
)

var beforeChristMark = []byte(" BC")

func cutEra(text []byte) ([]byte, era) {
	if rest, bc := bytes.CutSuffix(text, beforeChristMark); bc {
		return rest, beforeChrist
	}
	return text, anno
}

// daysOf reads a date of four or more digits for the year.
func daysOf(text []byte, e era) (year, days int64, ok bool) {
	n := len(text) - len("-MM-DD")
	if n < 4 || n > 7 || text[n] != '-' || text[n+3] != '-' {
		return 0, 0, false
	}
	year, okYear := number(text[:n])
	month, okMonth := number(text[n+1 : n+3])
	day, okDay := number(text[n+4:])
	if !okYear || year == 0 {
		return 0, 0, false
	}
	if e == beforeChrist {
		year = 1 - year
	}
	if !okMonth || !okDay || year < minYear ||
		month < 1 || month > 12 || day < 1 || day > monthDays(year, month) {
		return 0, 0, false
	}
	return year, daysSinceEpoch(year, month, day), true
}

func monthDays(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSinceEpoch counts years from March, so that the day that may be missing
// is a year's last.
func daysSinceEpoch(year, month, day int64) int64 {
	month -= 3
	if month < 0 {
		month += 12
		year--
	}
	const era = 400 // years after which the calendar repeats
	cycle := year / era
	if year < 0 {
		cycle = (year - era + 1) / era
	}
	year -= cycle * era
	return cycle*146097 + year*365 + year/4 - year/100 + (153*month+2)/5 + day - 1 - epochDays
}

// microsOf reads "hh:mm:ss" and perhaps a fraction, up to 24:00:00.
func microsOf(text []byte) (int64, bool) {
	if len(text) < 8 || text[2] != ':' || text[5] != ':' {
		return 0, false
	}
	hour, okHour := number(text[:2])
	minute, okMinute := number(text[3:5])
	second, okSecond := number(text[6:8])
	fraction, okFraction := fractionOf(text[8:])
	total := ((hour*60+minute)*60+second)*microsPerSecond + fraction
	ok := okHour && okMinute && okSecond && okFraction && minute < 60 && second < 60 && total <= microsPerDay
	return total, ok
}

// fractionOf reads nothing, or a point and up to six digits, as microseconds.
func fractionOf(text []byte) (int64, bool) {
	if len(text) == 0 {
		return 0, true
	}
	v, ok := number(text[1:])
	if text[0] != '.' || !ok || len(text) > 7 {
		return 0, false
	}
	for range 7 - len(text) {
		v *= 10
	}
	return v, true
}
