package connector_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain/connector"
)

func TestByteSizeReads(t *testing.T) {
	for text, want := range map[string]connector.ByteSize{
		"0": 0, "1": 1, "512kB": 512 << 10, "64MB": 64 << 20, "1GB": 1 << 30,
		"2TB": 2 << 40, "3 mb": 3 << 20, " 7B ": 7, "9223372036854775807": 1<<63 - 1,
	} {
		var got connector.ByteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestByteSizeRefuses(t *testing.T) {
	for _, text := range []string{"", "MB", "-1", "1.5GB", "64 XB", "1 G B", "0x10", "8388608TB", "9223372036854775808", "1MB2"} {
		size := connector.ByteSize(42)
		if err := size.UnmarshalText([]byte(text)); err == nil || size != 42 {
			t.Errorf("%q was read as %d, %v; want an error and no change", text, size, err)
		}
	}
}

func TestByteSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := connector.ByteSize(rapid.Int64Min(0).Draw(t, "size"))
		if rapid.Bool().Draw(t, "round") {
			want = want >> 42 << rapid.SampledFrom([]int{0, 10, 20, 30, 40}).Draw(t, "shift")
		}
		text, _ := want.MarshalText()
		var got connector.ByteSize
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%d → %s → %d, %v", want, text, got, err)
		}
	})
}
