package capture

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// wireModel says how many bytes a second come with each way of reading.
type wireModel struct {
	waiting, plain float64
	read           int // bytes a read
}

// simulate runs the pacer against a model for a while of synthetic time and
// returns the share of the time in which it waited.
func (m wireModel) simulate(p *pacer, now time.Time, length time.Duration) (float64, time.Time) {
	var waited, total time.Duration
	for end := now.Add(length); now.Before(end); {
		d := p.step(now)
		rate := m.plain
		if d > 0 {
			rate = m.waiting
		}
		took := time.Duration(float64(m.read) / rate * float64(time.Second))
		now = now.Add(took)
		total += took
		if d > 0 {
			waited += took
		}
		p.read(m.read)
	}
	return float64(waited) / float64(total), now
}

// TestPacerKeepsWhatPays: P9. Waiting stays where it brings more bytes a second
// and goes where it does not, and a change of the network is noticed.
func TestPacerKeepsWhatPays(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &pacer{}
	good := wireModel{waiting: 100 << 20, plain: 40 << 20, read: 64 << 10}
	bad := wireModel{waiting: 10 << 20, plain: 40 << 20, read: 64 << 10}
	share, now := good.simulate(p, start, time.Minute)
	if share < 0.9 {
		t.Errorf("waited %.0f %% of the time where it pays", 100*share)
	}
	_, now = bad.simulate(p, now, 15*time.Second)
	if share, now = bad.simulate(p, now, time.Minute); share > 0.1 {
		t.Errorf("waited %.0f %% of the time where it costs", 100*share)
	}
	_, now = good.simulate(p, now, 15*time.Second)
	if share, _ = good.simulate(p, now, time.Minute); share < 0.9 {
		t.Errorf("waited %.0f %% of the time after it pays again", 100*share)
	}
}

// TestPacerWaits: the wait shrinks while reads are full and grows while they
// are not, within bounds; small reads in a row bring a long one.
func TestPacerWaits(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &pacer{}
	if got := p.step(now); got != firstPause {
		t.Fatalf("the first wait is %s", got)
	}
	last := firstPause
	for range 200 {
		p.read(fullRead)
		got := p.step(now)
		if got > last || got < leastPause {
			t.Fatalf("a full read: wait %s after %s", got, last)
		}
		last = got
	}
	for range 200 {
		p.read(smallRead)
		got := p.step(now)
		if got < last || got > mostPause {
			t.Fatalf("a read that is not full: wait %s after %s", got, last)
		}
		last = got
	}
	for range smallReads {
		p.read(smallRead - 1)
	}
	if got := p.step(now); got != longPause {
		t.Errorf("after %d small reads the wait is %s", smallReads, got)
	}
	if got := p.step(now); got != mostPause {
		t.Errorf("after the long wait comes %s", got)
	}
}

// TestPacerForgets: figures of long ago do not decide.
func TestPacerForgets(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &pacer{}
	bad := wireModel{waiting: 10 << 20, plain: 40 << 20, read: 64 << 10}
	_, now := bad.simulate(p, start, 30*time.Second)
	if p.step(now.Add(3*settledPhase)) != firstPause || p.rate != [2]float64{} {
		t.Errorf("after a long pause: %+v", p)
	}
}

// TestCoalescerReads: the bytes come in order, however they are asked for and
// however the network cuts them, and those of large reads are not copied (P1).
func TestCoalescerReads(t *testing.T) {
	sent := make([]byte, 3*readBuffer+17)
	for i := range sent {
		sent[i] = byte(i ^ i>>8 ^ i>>16)
	}
	sizes := map[string][]int{
		"large": {largeRead, 2 * largeRead}, "small": {5, 8 << 10}, "both": {9, 2 * largeRead, largeRead - 1, largeRead},
	}
	for cut, cutter := range readers {
		for asked, lengths := range sizes {
			t.Run(cut+" "+asked, func(t *testing.T) {
				c := newCoalescer(&byteConn{r: cutter(bytes.NewReader(sent))})
				var got []byte
				var err error
				into := make([]byte, 2*largeRead)
				for i := 0; err == nil; i++ {
					n := 0
					p := into[:lengths[i%len(lengths)]]
					n, err = c.Read(p)
					got = append(got, p[:n]...)
				}
				if err != io.EOF || !bytes.Equal(got, sent) {
					t.Errorf("%d of %d bytes, then %v", len(got), len(sent), err)
				}
				if asked == "large" && c.buf != nil {
					t.Error("a large read went through the buffer")
				}
			})
		}
	}
}
