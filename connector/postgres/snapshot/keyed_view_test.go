package snapshot

import (
	"reflect"
	"testing"

	"github.com/entrainsync/entrain"
)

func TestParseView(t *testing.T) {
	for text, want := range map[string]entrain.View{
		"10:10:":                           {Min: 10, Max: 10},
		"10:20:10,14":                      {Min: 10, Max: 20, Open: []uint64{10, 14}},
		"4294967290:4294967300:4294967290": {Min: 4294967290, Max: 4294967300, Open: []uint64{4294967290}},
	} {
		if got, err := parseView(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "10:20", "20:10:", "x:20:", "10:x:", "10:20:x", "10:20:11,", "10:20:11:12", "-1:20:"} {
		if got, err := parseView(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestReachable(t *testing.T) {
	usual := walPages{page: 8192, segment: 16 << 20}
	for _, c := range []struct {
		log    walPages
		at, to uint64
	}{
		{usual, 0x4000028, 0x4000000}, // the start of a segment has the long header
		{usual, 0x4000018, 0x4000018},
		{usual, 0x4002018, 0x4002000},
		{usual, 0x4002028, 0x4002028}, // a record that began before may end there
		{usual, 0x4002000, 0x4002000},
		{usual, 0x4002020, 0x4002020},
		{walPages{page: 32768, segment: 1 << 20}, 0x4100028, 0x4100000},
		{walPages{page: 32768, segment: 1 << 20}, 0x4102018, 0x4102018},
	} {
		if got := c.log.reachable(c.at); got != c.to {
			t.Errorf("%X of %+v: %X, want %X", c.at, c.log, got, c.to)
		}
	}
}

func TestParseLSN(t *testing.T) {
	if got, err := parseLSN("16/B374D848"); err != nil || got != 0x16B374D848 {
		t.Errorf("%X, %v", got, err)
	}
	for _, text := range []string{"", "16", "16/", "x/1", "1/123456789"} {
		if _, err := parseLSN(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
