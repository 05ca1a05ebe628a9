package pipeline

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// LeftLetters is a place where dead letters may be from a time when they were kept
// there, and are not any more.
type LeftLetters struct {
	// Store reads them.
	Store LetterStore
	// Where names the place for people, Section is what the file has to say to have
	// letters kept there.
	Where, Section string
	// Forget is the command after which the place is asked no more; empty unless letters
	// were kept there for sure. Only then a place that cannot be read is a stop, too:
	// elsewhere what may not be read was not kept by us.
	Forget string
	// Empty, if set, is called once the place was seen to have none.
	Empty func() error
}

// Check returns a [entrain.Stop] if letters are there still: what comes behind them
// would overtake them. An error that is retryable says nothing of that.
func (l *LeftLetters) Check(ctx context.Context) error {
	letters, err := l.Store.Letters(ctx)
	switch {
	case entrain.IsRetryable(err):
		return fmt.Errorf("look for dead letters that were left in %s: %w", l.Where, err)
	case err != nil && l.Forget != "":
		return &entrain.Stop{
			Code: "dead_letters_left",
			What: fmt.Sprintf("dead letters were kept in %s before dead_letter was changed in FILE, and nobody knows whether some are left: %v", l.Where, err),
			Why:  "later changes of their rows would come before them, and the letters, replayed one day, would put old values in the place of newer ones",
			Next: fmt.Sprintf("put %s back into FILE and have the place answer: entrain run FILE; or, if nobody needs what is there: %s; entrain run FILE", l.Section, l.Forget),
			Err:  err,
		}
	case err != nil || len(letters) == 0:
		return nil
	}
	parking.Arrange(letters)
	return &entrain.Stop{
		Code: "dead_letters_left",
		What: fmt.Sprintf("%s in %s since before dead_letter was changed in FILE, the first is %s", areKept(len(letters)), l.Where, letters[0].Event.ID()),
		Why:  "later changes of their rows would come before them, and the letters, replayed one day, would put old values in the place of newer ones",
		Next: fmt.Sprintf("put %s back into FILE; entrain run FILE; then, in another terminal: entrain dlq replay FILE --all, or, if nobody needs them: entrain dlq drop FILE --all; "+
			"then change FILE", l.Section),
	}
}

func areKept(n int) string {
	if n == 1 {
		return "1 dead letter is kept"
	}
	return fmt.Sprintf("%d dead letters are kept", n)
}

// noneLeft sees once that no letters are where none are kept any more.
func (d *desk) noneLeft(ctx context.Context) error {
	for ; d.looked < len(d.p.opt.LeftLetters); d.looked++ {
		left := &d.p.opt.LeftLetters[d.looked]
		err := left.Check(ctx)
		if err == nil && left.Empty != nil {
			err = left.Empty()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
