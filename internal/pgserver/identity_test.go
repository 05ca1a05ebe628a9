package pgserver

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

func TestSetControlID(t *testing.T) {
	const crcAt = 288
	control := make([]byte, 8192)
	for i := range crcAt {
		control[i] = byte(i * 7)
	}
	binary.NativeEndian.PutUint32(control[crcAt:], crc32.Checksum(control[:crcAt], castagnoli))
	before := bytes.Clone(control)
	if err := setControlID(control, 0x0123456789abcdef); err != nil {
		t.Fatal(err)
	}
	if got := binary.NativeEndian.Uint64(control); got != 0x0123456789abcdef {
		t.Errorf("identifier %x", got)
	}
	if binary.NativeEndian.Uint32(control[crcAt:]) != crc32.Checksum(control[:crcAt], castagnoli) {
		t.Error("checksum is not that of the new content")
	}
	if !bytes.Equal(control[8:crcAt], before[8:crcAt]) || !bytes.Equal(control[crcAt+4:], before[crcAt+4:]) {
		t.Error("more than the identifier and the checksum changed")
	}
	control[100]++
	if err := setControlID(control, 1); err == nil {
		t.Error("a control file with a wrong checksum was accepted")
	}
	if err := setControlID(nil, 1); err == nil {
		t.Error("an empty control file was accepted")
	}
}

func TestSetSegmentID(t *testing.T) {
	segment := make([]byte, 64)
	if err := setSegmentID(segment, 1); err == nil {
		t.Error("a segment without a long header was accepted")
	}
	binary.NativeEndian.PutUint16(segment[pageInfo:], longPageHeader)
	if err := setSegmentID(segment, 77); err != nil {
		t.Fatal(err)
	}
	if got := binary.NativeEndian.Uint64(segment[pageHeader:]); got != 77 {
		t.Errorf("identifier %d, want 77", got)
	}
	if err := setSegmentID(segment[:10], 1); err == nil {
		t.Error("a torn segment was accepted")
	}
}

func TestSaysReady(t *testing.T) {
	const file = "42\n/data\n1700000000\n15432\n/tmp\n127.0.0.1\n  123  456\n"
	for text, want := range map[string]bool{
		file + "ready   \n": true, file + "standby \n": true, file + "starting\n": false,
		file + "stopping\n": false, file: false, "": false, "42": false,
		"43" + file[2:] + "ready   \n": false, // an earlier postmaster's
	} {
		if got := saysReady(text, 42); got != want {
			t.Errorf("saysReady(%q) = %v, want %v", text, got, want)
		}
	}
}
