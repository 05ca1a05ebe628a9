//go:build failpoint

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// failpointVar says what happens where: PLACE/POINT:ACTION:NTH:TIMES. PLACE is main,
// the pipeline that reads the source, or delivery, one that reads the stream. ACTION is
// panic, error, sleep (for 5 s) or return. It happens at each NTH visit, so many TIMES
// in the life of a process, and is said on standard error each time.
const failpointVar = "ENTRAIN_FAILPOINT"

// failpointSleep is how long sleep takes.
const failpointSleep = 5 * time.Second

// armed is the failpoint that the environment names.
type armed struct {
	at, action string
	nth, left  int

	mu     sync.Mutex
	visits int
}

// failpoint returns what is called at the boundaries of a pipeline; nil if nothing is to
// happen there.
func failpoint(place string) func(pipeline.Point) error {
	text := os.Getenv(failpointVar)
	if !strings.HasPrefix(text, place+"/") {
		return nil
	}
	a, err := armedOf(text)
	if err != nil {
		return func(pipeline.Point) error { return err }
	}
	return func(p pipeline.Point) error {
		if place+"/"+string(p) != a.at || !a.due() {
			return nil
		}
		return a.act()
	}
}

func armedOf(text string) (*armed, error) {
	words := strings.Split(text, ":")
	if len(words) != 4 {
		return nil, fmt.Errorf("%s=%q: want PLACE/POINT:ACTION:NTH:TIMES", failpointVar, text)
	}
	nth, err := strconv.Atoi(words[2])
	times, err2 := strconv.Atoi(words[3])
	if err := errors.Join(err, err2); err != nil || nth < 1 {
		return nil, fmt.Errorf("%s=%q: %w", failpointVar, text, err)
	}
	return &armed{at: words[0], action: words[1], nth: nth, left: times}, nil
}

// due counts a visit and says whether it is one at which something happens.
func (a *armed) due() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.visits++
	if a.left == 0 || a.visits%a.nth != 0 {
		return false
	}
	a.left--
	return true
}

func (a *armed) act() error {
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", a.at, a.action)
	switch a.action {
	case "panic":
		panic("failpoint " + a.at)
	case "error":
		return entrain.Retryable(errors.New("failpoint " + a.at))
	case "sleep":
		time.Sleep(failpointSleep)
		return nil
	case "return":
		return pipeline.ErrReturn
	}
	return fmt.Errorf("%s: there is no action %q", failpointVar, a.action)
}
