package entrain

import "time"

// Retained is what a source's server keeps back for its reader, and what it may
// cost the server (P7).
type Retained struct {
	// Name of what keeps it back (PostgreSQL: the replication slot).
	Name string `json:"name"`
	// Bytes of log that are kept back.
	Bytes int64 `json:"bytes"`
	// Left is how many more bytes the server keeps before it gives the reader up,
	// -1 if it has no such bound.
	Left int64 `json:"left"`
	// Alarm says how bad that is.
	Alarm Alarm `json:"alarm"`
	// Status is the server's own word for it (PostgreSQL: wal_status).
	Status string `json:"status"`
	// At is when the server was asked, by our clock.
	At time.Time `json:"at"`
}

// Alarm says how bad something is; a higher one is worse.
type Alarm uint8

const (
	AlarmOK       Alarm = iota // nothing to do
	AlarmWarn                  // worth a look
	AlarmCritical              // the source, or what is captured from it, is in danger
	AlarmLost                  // the server has given the reader up
)

var alarmNames = [...]string{"ok", "warn", "critical", "lost"}

// String returns ok, warn, critical or lost.
func (a Alarm) String() string { return alarmNames[min(int(a), len(alarmNames)-1)] }

// MarshalText returns [Alarm.String].
func (a Alarm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes; another word is [AlarmLost].
func (a *Alarm) UnmarshalText(text []byte) error {
	for *a = AlarmOK; *a < AlarmLost && a.String() != string(text); *a++ {
	}
	return nil
}

// Retainer is a Source that knows what its server keeps back for it.
type Retainer interface {
	// Retained returns what was seen last; false before the first look. It may be
	// called from any goroutine.
	Retained() (Retained, bool)
}
