package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// limitFiles lets no file of this process grow beyond so many bytes, as a full disk
// does; the function that it returns ends that.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	set(syscall.Rlimit{Cur: size, Max: was.Max})
	lift = func() { set(was) }
	t.Cleanup(lift)
	return lift
}

// TestDiskFailsAndIsMended: a server of which a disk has refused a write never
// writes again and does not answer; another one takes its place, and nothing that was
// acknowledged is gone. It is not parallel: the limit is the process's.
func TestDiskFailsAndIsMended(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second) // less than appendTimeout
	defer cancel()
	b := newFolder(t).backend(Config{})
	open := func() *packed.Sequence {
		s, err := b.Open(ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	message := bytes.Repeat([]byte("x"), 512<<10)
	s := open()
	var last uint64
	write := func() (err error) {
		var at uint64
		if _, at, err = s.Tail.Append(ctx, last, [][]byte{message}); err == nil {
			last = at
		}
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	lift := limitFiles(t, 1<<20)
	var err error
	for range 4 {
		if err = write(); err != nil {
			break
		}
	}
	lift()
	if !entrain.IsRetryable(err) || errors.Is(err, packed.ErrFull) || ctx.Err() != nil {
		t.Fatalf("a disk that fails: %v", err)
	}
	s = open()
	end, err := s.Tail.Last(ctx)
	if err != nil || end.Number < last || !bytes.Equal(end.Data, message) {
		t.Fatalf("message %d was acknowledged, and %d is the last one: %v", last, end.Number, err)
	}
	last = end.Number
	if err := write(); err != nil {
		t.Errorf("the disk writes again, the stream does not: %v", err)
	}
}

// TestDiskFull: with little room left nothing is appended, with next to none nothing is
// written at all: a server that meets the end of the disk is lost.
func TestDiskFull(t *testing.T) {
	b := newFolder(t).backend(Config{})
	free := int64(leastSpace)
	b.room = func(least int64) error {
		if free < least {
			return packed.ErrFull
		}
		return nil
	}
	s, err := b.Open(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := func() (results [4]error) {
		at, err := s.Tail.Last(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _, results[0] = s.Tail.Append(t.Context(), at.Number, [][]byte{[]byte("m")})
		results[1] = s.State.Store(t.Context(), "v", []byte("v"))
		results[2] = s.State.Store(t.Context(), "v", nil)
		results[3] = s.History.Trim(t.Context(), 0)
		return results
	}
	if got := all(); got != [4]error{} {
		t.Errorf("with room: %v", got)
	}
	free--
	if got := all(); got != [4]error{packed.ErrFull} {
		t.Errorf("with the reserve: %v", got)
	}
	free = leastBeside - 1
	if full := packed.ErrFull; all() != [4]error{full, full, full, full} {
		t.Errorf("without it: %v", all())
	}
}

// TestRoomNamesTheDisk: too little room is told with the folder, what is left and what is
// to stay.
func TestRoomNamesTheDisk(t *testing.T) {
	e := newFolder(t).e
	err := e.room(1 << 62)
	if !errors.Is(err, packed.ErrDiskFull) || !strings.Contains(err.Error(), "the disk of "+e.dir+" has ") ||
		!strings.Contains(err.Error(), fmt.Sprintf("of which %d MB are to stay free", 1<<42)) {
		t.Errorf("%v", err)
	}
}
