package preflight

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// What no server here can be brought to is judged on facts. None of it has a
// fix (P5, P7).
func TestJudgedByFacts(t *testing.T) {
	const gb = 1 << 30
	for _, c := range []struct {
		name   string
		judge  func(f *sourceFacts) []entrain.Finding
		facts  sourceFacts
		status entrain.FindingStatus
		why    string
	}{
		{"13", ofServer(judgeVersion), sourceFacts{server: server{version: 130022}}, entrain.FindingError, "upgrade"},
		{"14", ofServer(judgeVersion), sourceFacts{server: server{version: 140000}}, entrain.FindingOK, ""},
		{"18", ofServer(judgeVersion), sourceFacts{server: server{version: 180099}}, entrain.FindingOK, ""},
		{"19", ofServer(judgeVersion), sourceFacts{server: server{version: 190000}}, entrain.FindingWarning, "newer"},
		{"clock ahead", ofServer(judgeClock), sourceFacts{server: server{skew: 1500 * time.Millisecond}}, entrain.FindingWarning, "1.5s ahead of"},
		{"clock behind", ofServer(judgeClock), sourceFacts{server: server{skew: -time.Hour}}, entrain.FindingWarning, "1h0m0s behind"},
		{"clock near", ofServer(judgeClock), sourceFacts{server: server{skew: time.Second}}, entrain.FindingOK, ""},
		{"much held", judgeSlotLag, sourceFacts{cfg: Source{MuchHeld: gb}, slot: slot{exists: true, status: "extended", held: 2 * gb}},
			entrain.FindingWarning, "2048 MB"},
		{"little held", judgeSlotLag, sourceFacts{cfg: Source{MuchHeld: gb}, slot: slot{exists: true, status: "reserved", held: gb - 1}},
			entrain.FindingOK, ""},
		{"no slot", judgeSlotLag, sourceFacts{}, entrain.FindingOK, ""},
		{"no replication session", judgeReplicationConnection, sourceFacts{cfg: Source{Replication: errors.New("no pg_hba.conf entry")}},
			entrain.FindingError, "no pg_hba.conf entry"},
		{"old standby", judgeStandby, sourceFacts{server: server{standby: true, version: 150019}}, entrain.FindingError, "before version 16"},
		{"hidden list", judgePluginLibraries, sourceFacts{server: server{version: 150019}}, entrain.FindingOK, "may not see"},
		{"no list", judgePluginLibraries, sourceFacts{server: server{version: 150018}}, entrain.FindingOK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := c.judge(&c.facts)
			if c.why == "" {
				if len(found) > 0 {
					t.Fatalf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Status != c.status || !strings.Contains(found[0].Why, c.why) || len(found[0].Fix) > 0 {
				t.Errorf("found %+v, want one %s with %q and no fix", found, c.status, c.why)
			}
		})
	}
}

func TestSkewIsOutsideOfTheQuestion(t *testing.T) {
	began := time.Unix(1000, 0)
	ended := began.Add(time.Second)
	for at, want := range map[time.Duration]time.Duration{-time.Minute: -time.Minute, 0: 0, time.Second: 0, 3 * time.Second: 2 * time.Second} {
		if got := skewOf(began.Add(at), began, ended); got != want {
			t.Errorf("clock %s from the beginning: %s, want %s", at, got, want)
		}
	}
}

func TestFitOf(t *testing.T) {
	numeric := func(precision, scale int32) valueType { return valueType{"numeric", precision<<16 | scale&0x7ff + 4} }
	of := func(name string) valueType { return valueType{name, -1} }
	for _, c := range []struct {
		from, to valueType
		want     fit
	}{
		{of("int4"), of("int4"), fits}, {of("int2"), of("int8"), fits}, {of("int8"), of("int2"), refuses},
		{of("int4"), of("numeric"), fits}, {of("int4"), numeric(10, 0), fits}, {of("int4"), numeric(9, 0), refuses},
		{of("numeric"), of("int4"), refuses}, {of("numeric"), numeric(10, 2), alters}, {numeric(10, 2), of("numeric"), fits},
		{numeric(10, 2), numeric(12, 4), fits}, {numeric(10, 2), numeric(11, 4), refuses}, {numeric(10, 4), numeric(20, 2), alters},
		{numeric(5, 2), numeric(5, 2), fits},
		{of("text"), of("varchar"), fits}, {of("varchar"), of("text"), fits}, {of("text"), valueType{"varchar", 14}, refuses},
		{valueType{"varchar", 14}, valueType{"varchar", 15}, fits}, {valueType{"varchar", 15}, valueType{"varchar", 14}, refuses},
		{valueType{"bit", 3}, valueType{"bit", 4}, refuses}, {valueType{"bit", 3}, valueType{"varbit", 3}, fits},
		{of("timestamp"), valueType{"timestamp", 6}, fits}, {of("timestamp"), valueType{"timestamp", 3}, alters},
		{valueType{"timestamp", 2}, valueType{"timestamp", 3}, fits}, {of("timestamptz"), of("timestamp"), alters},
		{of("uuid"), of("text"), fits}, {of("text"), of("uuid"), unknown}, {of("public.mood"), of("public.mood"), fits},
		{of("public.mood"), of("other.mood"), unknown}, {of("jsonb"), of("json"), fits}, {of("json"), of("jsonb"), alters},
	} {
		if got := fitOf(c.from, c.to); got != c.want {
			t.Errorf("%s in %s: %d, want %d", c.from.people(), c.to.people(), got, c.want)
		}
	}
}
