package main

import (
	"errors"
	"strings"
	"testing"

	core "github.com/entrainsync/entrain"
)

// state is a refusal of a server.
type state string

func (s state) Error() string    { return "refused: " + string(s) }
func (s state) SQLState() string { return string(s) }

// What waits for another partition says so; what does not stays as it is.
func TestWhatWaitsForAnotherPartition(t *testing.T) {
	stop := func(code string) error {
		return &core.Stop{Code: "row_refused", What: "a row", Why: "because", Next: "mend", Err: &core.BatchError{Failed: []core.FailedEvent{{Err: state(code)}}}}
	}
	for code, says := range map[string]string{"23503": "partition_references", "23505": "gives the value away", "23P01": "gives the value away", "23514": ""} {
		var one, several *core.Stop
		if !errors.As(division(1).explain(stop(code)), &one) || !errors.As(division(3).explain(stop(code)), &several) {
			t.Fatalf("%s is no stop", code)
		}
		if says == "" {
			if several.Why != "because" || several.Next != "mend" {
				t.Errorf("%s says %s; %s", code, several.Why, several.Next)
			}
			continue
		}
		if !strings.Contains(several.Why+several.Next, says) || !strings.HasSuffix(several.Next, "mend") {
			t.Errorf("%s says %s; %s", code, several.Why, several.Next)
		}
	}
	if err := errors.New("other"); division(3).explain(err) != err {
		t.Error("an error that is no stop was changed")
	}
}
