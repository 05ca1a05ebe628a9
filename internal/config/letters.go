package config

import "errors"

// checkLetters checks what types alone cannot say of dead letters and retries.
func (d *document) checkLetters(root *node) error {
	if l := d.DeadLetter; l != nil {
		switch {
		case l.Unit == "":
			l.Unit = "transaction"
		case l.Unit != "transaction" && l.Unit != "event":
			return root.find("dead_letter", "unit").errorf("expected transaction or event")
		}
		switch {
		case l.Table != "" && l.File != "":
			return root.find("dead_letter", "table").errorf("the letters are kept in one place: a file or a table")
		case l.Topic != "" && l.Table+l.File != "":
			return root.find("dead_letter", "topic").errorf("the letters are kept in one place: a topic, a file or a table")
		case l.Table != "" && l.Table != letterTable:
			return root.find("dead_letter", "table").errorf("expected %s, the table that entrain makes", letterTable)
		case l.AlertThreshold < 0:
			return root.find("dead_letter", "alert_threshold").errorf("expected a number, such as 50")
		}
	}
	switch {
	case d.Reconciliation == nil:
	case d.Reconciliation.Topic == "":
		return root.find("reconciliation", "topic").errorf("expected the name of a topic; without the section what comes too late stays in entrain.reconciliation")
	case d.DeadLetter != nil && d.DeadLetter.Topic == d.Reconciliation.Topic:
		return root.find("reconciliation", "topic").errorf("the topic has the dead letters: expected another one")
	}
	r := &d.Retry
	if root.get("retry") == nil {
		r.MaxAttempts = 1
		return nil
	}
	if r.MaxAttempts == 0 && root.find("retry", "max_attempts") == root.find("retry") {
		r.MaxAttempts = 1
	}
	switch {
	case r.MaxAttempts < 1:
		return root.find("retry", "max_attempts").errorf("expected 1 or more")
	case r.BackoffBaseMS < 0:
		return root.find("retry", "backoff_base_ms").errorf("expected milliseconds, such as 1000")
	case r.BackoffMaxMS < r.BackoffBaseMS && r.BackoffMaxMS != 0:
		return root.find("retry", "backoff_max_ms").errorf("expected at least backoff_base_ms, %d", r.BackoffBaseMS)
	case r.BackoffMaxMS < 0:
		return root.find("retry", "backoff_max_ms").errorf("expected milliseconds, such as 30000")
	case r.AttemptTimeoutMS < 0:
		return root.find("retry", "attempt_timeout_ms").errorf("expected milliseconds, such as 60000")
	}
	return r.CircuitBreaker.check(root)
}

// check completes and checks the section; none is well, too.
func (c *CircuitBreaker) check(root *node) error {
	if c == nil {
		return nil
	}
	at := root.find("retry", "circuit_breaker")
	if at.get("failures") == nil {
		c.Failures = 5
	}
	if at.get("open_ms") == nil {
		c.OpenMS = 30000
	}
	switch {
	case c.Failures < 1:
		return at.find("failures").errorf("expected 1 or more, such as 5")
	case c.OpenMS < 1:
		return at.find("open_ms").errorf("expected milliseconds, such as 30000")
	}
	return nil
}

// Place gives an error about one value of the file, which the keys lead to, its place
// there.
func (f *File) Place(err error, keys ...string) error {
	var placed *Error
	if err == nil || errors.As(err, &placed) {
		return err
	}
	at := f.root.find(keys...).errorf("%s", err)
	at.Err = err
	return at
}
