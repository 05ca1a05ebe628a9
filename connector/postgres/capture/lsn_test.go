package capture

import (
	"strings"
	"testing"
)

func TestLSNText(t *testing.T) {
	for text, want := range map[string]lsn{"0/0": 0, "16/B374D848": 0x16B374D848, "FFFFFFFF/FFFFFFFF": 1<<64 - 1, "1/A": 1<<32 | 10} {
		if got, err := parseLSN(text); err != nil || got != want || got.String() != text {
			t.Errorf("parse %q: %v (%s), %v", text, uint64(got), got, err)
		}
	}
	for _, bad := range []string{"", "/", "0", "0/", "/0", "0/0/0", "g/0", "-1/0", "100000000/0", "0/100000000", " 0/0"} {
		if got, err := parseLSN(bad); err == nil {
			t.Errorf("parse %q: %s", bad, got)
		}
	}
}

// FuzzLSN: what is read is written the same way again.
func FuzzLSN(f *testing.F) {
	f.Add("16/B374D848")
	f.Add("0/0")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseLSN(text)
		if err != nil {
			return
		}
		if again, err := parseLSN(at.String()); err != nil || again != at {
			t.Errorf("%q is read as %s and that as %s, %v", text, at, again, err)
		}
		if at.reachable() > at || at-at.reachable() > walPageHeader {
			t.Errorf("%s is reachable at %s", at, at.reachable())
		}
	})
}

// TestReachable: an idle server reports a position that lies just behind a page
// header as the page's start.
func TestReachable(t *testing.T) {
	for at, want := range map[lsn]lsn{0x4000028: 0x4000000, 0x4002018: 0x4002000, 0x4002000: 0x4002000,
		0x4002030: 0x4002030, 0x4001FF8: 0x4001FF8} {
		if got := at.reachable(); got != want {
			t.Errorf("%s is reachable at %s, want %s", at, got, want)
		}
	}
}

func TestPlaceText(t *testing.T) {
	p := place{0x16B374D848, 12}
	got, err := parsePlace(p.offset())
	if err != nil || got != p || p.offset() != "16/B374D848@12" {
		t.Errorf("%q is read as %v, %v", p.offset(), got, err)
	}
	if pos := p.position("7-1"); pos.Incarnation != "7-1" || pos.Offset != p.offset() {
		t.Errorf("position %v", pos)
	}
	for _, bad := range []string{"", "16/B374D848", "@1", "16/B374D848@", "16/B374D848@-1", "mysql-bin.000001:4"} {
		if got, err := parsePlace(bad); err == nil {
			t.Errorf("parse %q: %v", bad, got)
		}
	}
}

func TestSwitchPoint(t *testing.T) {
	history := "1\t0/5000000\tno recovery target specified\n\n3\t0/7000060\tbefore 2000-01-01\n# comment\n10\tjunk\n10\t1/A0\tagain"
	for timeline, want := range map[uint32]lsn{1: 0x5000000, 3: 0x7000060, 10: 1<<32 | 0xA0, 2: 0, 0: 0} {
		if got := switchPoint(history, timeline); got != want {
			t.Errorf("timeline %d ended at %s, want %s", timeline, got, want)
		}
	}
	if got := switchPoint(strings.Repeat("x", 100), 1); got != 0 {
		t.Errorf("garbage ends a timeline at %s", got)
	}
}
