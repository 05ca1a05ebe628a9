package capture

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// update is a status update as the server sees it.
type update struct {
	at  lsn
	ask byte
}

// feedbackPeer runs a feedback in a synctest bubble and returns its server's
// end. Each update is passed to got.
func feedbackPeer(t *testing.T, f *feedback) <-chan update {
	t.Helper()
	server, client := net.Pipe()
	f.ws = &walStream{conn: client}
	f.failed = func(error) {}
	got := make(chan update, 1000)
	go func() {
		defer close(got)
		for {
			msg := make([]byte, statusSize)
			if _, err := io.ReadFull(server, msg); err != nil {
				return
			}
			got <- update{lsn(binary.BigEndian.Uint64(msg[6:])), msg[statusSize-1]}
		}
	}()
	t.Cleanup(func() { client.Close() })
	go f.run()
	return got
}

func drain(got <-chan update) []update {
	var all []update
	for {
		synctest.Wait()
		select {
		case u := <-got:
			all = append(all, u)
		default:
			return all
		}
	}
}

// TestFeedbackIsOnTime: P7. Updates that ask for an answer go out every
// interval whatever else happens, and the position never goes back.
func TestFeedbackIsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeedback(nil, 100, time.Second)
		got := feedbackPeer(t, f)
		<-time.After(3500 * time.Millisecond)
		if all := drain(got); !slices.Equal(all, []update{{100, 1}, {100, 1}, {100, 1}}) {
			t.Errorf("idle for 3.5 intervals: %v", all)
		}
		f.confirm(200)
		f.confirm(150)
		<-time.After(spacing)
		if all := drain(got); len(all) == 0 || slices.Max(ats(all)) != 200 || slices.Min(ats(all)) != 200 {
			t.Errorf("after confirming 200, then 150: %v", all)
		}
		f.end()
		f.end()
		<-time.After(10 * time.Second)
		if all := drain(got); len(all) != 0 {
			t.Errorf("after the end: %v", all)
		}
	})
}

func ats(all []update) []lsn {
	var at []lsn
	for _, u := range all {
		at = append(at, u.at)
	}
	return at
}

// TestFeedbackSpacesUpdates: a busy sink does not make an update for each of
// its commits, but the last one gets through; where the server's commits wait
// for us, each does.
func TestFeedbackSpacesUpdates(t *testing.T) {
	for _, eager := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFeedback(nil, 0, time.Minute)
			f.eager = eager
			got := feedbackPeer(t, f)
			const n = 1000
			for i := range n {
				f.confirm(lsn(i + 1))
				<-time.After(100 * time.Microsecond)
			}
			<-time.After(spacing)
			all := drain(got)
			if len(all) == 0 || all[len(all)-1].at != n {
				t.Fatalf("eager %t: the last update of %d is not %d", eager, len(all), n)
			}
			if most := int(100*time.Millisecond/spacing) + 2; !eager && len(all) > most || eager && len(all) != n {
				t.Errorf("eager %t: %d updates for %d confirmations in 100 ms", eager, len(all), n)
			}
			f.end()
		})
	}
}

// TestFeedbackAnswers: a poke, which follows a server's question, is answered
// at once.
func TestFeedbackAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeedback(nil, 7, time.Hour)
		got := feedbackPeer(t, f)
		f.poke()
		if all := drain(got); !slices.Equal(all, []update{{7, 0}}) {
			t.Errorf("answers %v", all)
		}
		f.end()
	})
}

// TestFeedbackTellsFailure: a connection that cannot be written to is told
// once, and the end does not wait for it.
func TestFeedbackTellsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		server.Close()
		failures := make(chan error, 10)
		f := newFeedback(&walStream{conn: client}, 7, time.Second)
		f.failed = func(err error) { failures <- err }
		go f.run()
		<-time.After(time.Minute)
		f.end()
		if len(failures) != 1 || !errors.Is(<-failures, io.ErrClosedPipe) {
			t.Error("the failure was not told once")
		}
	})
}
