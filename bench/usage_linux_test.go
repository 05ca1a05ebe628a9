package main

import (
	"os"
	"testing"
	"time"
)

func TestParseTimes(t *testing.T) {
	got, err := parseTimes([]byte("4711 (odd) name) S 42 4711 4711 0 -1 4194560 1 2 3 4 150 25 300 75 20 0 1 0 12345"))
	want := times{parent: 42, self: 1750 * time.Millisecond, ended: 3750 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("parseTimes = %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 x y z 11"} {
		if got, err := parseTimes([]byte(bad)); err == nil {
			t.Errorf("parseTimes(%q) = %+v", bad, got)
		}
	}
}

func TestOwnProcessIsSeen(t *testing.T) {
	if peak := residentPeak(os.Getpid()); peak < 1<<20 {
		t.Errorf("residentPeak of this process = %d", peak)
	}
	if peak := ownResidentMax(); peak < 1<<20 {
		t.Errorf("ownResidentMax = %d", peak)
	}
	if peak := residentPeak(1 << 30); peak != 0 {
		t.Errorf("residentPeak of no process = %d", peak)
	}
	if _, err := serverCPU(os.Getpid()); err != nil {
		t.Errorf("serverCPU: %v", err)
	}
}
