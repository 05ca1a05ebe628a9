package admin

import (
	"errors"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// failure is an error on its way to another process: what a person is told of
// it, and what decides the exit code.
type failure struct {
	Error string `json:"error"`
	// Stop is set if the error is an [entrain.Stop], Unreachable if it is an
	// [entrain.Unreachable].
	Stop        *stopAnswer        `json:"stop,omitempty"`
	Unreachable *unreachableAnswer `json:"unreachable,omitempty"`
	// Mistake as of [pipeline.Mistake].
	Mistake bool `json:"mistake,omitempty"`
	// Retryable as of [entrain.IsRetryable].
	Retryable bool `json:"retryable,omitempty"`
}

type stopAnswer struct {
	Code  string `json:"code"`
	What  string `json:"what"`
	Why   string `json:"why,omitempty"`
	Next  string `json:"next,omitempty"`
	Data  bool   `json:"data,omitempty"`
	Cause string `json:"cause,omitempty"`
}

type unreachableAnswer struct {
	Why  string `json:"why,omitempty"`
	Next string `json:"next,omitempty"`
}

// pack makes a failure of an error.
func pack(err error) failure {
	f := failure{Error: err.Error(), Retryable: entrain.IsRetryable(err)}
	var stop *entrain.Stop
	var unreachable *entrain.Unreachable
	var mistake *pipeline.Mistake
	switch {
	case errors.As(err, &mistake):
		f.Mistake = true
	case errors.As(err, &stop):
		f.Stop = &stopAnswer{Code: stop.Code, What: stop.What, Why: stop.Why, Next: stop.Next, Data: stop.Data}
		if stop.Err != nil {
			f.Stop.Cause = stop.Err.Error()
		}
	case errors.As(err, &unreachable):
		f.Unreachable = &unreachableAnswer{Why: unreachable.Why, Next: unreachable.Next}
	}
	return f
}

// unpack is the error again, as far as it travelled.
func (f failure) unpack() error {
	if s := f.Stop; s != nil {
		stop := &entrain.Stop{Code: s.Code, What: s.What, Why: s.Why, Next: s.Next, Data: s.Data}
		if s.Cause != "" {
			stop.Err = errors.New(s.Cause)
		}
		return stop
	}
	if f.Mistake {
		return &pipeline.Mistake{Text: f.Error}
	}
	err := errors.New(f.Error)
	if f.Retryable {
		err = entrain.Retryable(err)
	}
	if u := f.Unreachable; u != nil {
		return &entrain.Unreachable{Why: u.Why, Next: u.Next, Err: err}
	}
	return err
}
