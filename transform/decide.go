package transform

import "github.com/entrainsync/entrain"

// decide returns what becomes of an event in the source's shape; its Op is 0 if
// it is filtered.
func (p *plan) decide(c *chunk, e *entrain.Event) (entrain.Event, error) {
	out := *e
	if p.when != nil {
		v, err := p.when.change(e)
		switch {
		case err != nil:
			return out, failed(e, "when", err)
		case v == unknown:
			return out, unlogged(e, "when", p.when.missing())
		case v == no:
			out.Op = 0
			return out, nil
		}
	}
	if p.where == nil {
		return out, nil
	}
	var is, was verdict
	var err error
	if e.Op != entrain.OpDelete {
		if is, err = p.where.row(e.After, knownAsLogged); err != nil {
			return out, failed(e, "where", err)
		}
		if is == unknown {
			return out, unlogged(e, "where", p.where.missing())
		}
	}
	if e.Op != entrain.OpInsert && e.Op != entrain.OpRead {
		if was, err = p.where.row(oldImage(e)); err != nil {
			return out, failed(e, "where", err)
		}
	}
	if was == unknown {
		return p.replace(c, e, is)
	}
	return p.cross(c, e, is, was)
}

// cross returns the event that takes a row from where it was, inside the
// filter or outside, to where it is.
func (p *plan) cross(c *chunk, e *entrain.Event, is, was verdict) (entrain.Event, error) {
	out := *e
	switch {
	case is == no && was == no:
		out.Op = 0
	case is == yes && was == no:
		if !p.complete(e.After) {
			return out, partial(e)
		}
		if out.Op != entrain.OpRead {
			out.Op = entrain.OpInsert
		}
		out.Before = nil
	case is == no && was == yes:
		out.Op, out.After = entrain.OpDelete, nil
		if e.Before == nil {
			out.Before = c.identity(p, e.After)
		}
	}
	return out, nil
}

// replace is cross for a row of which nobody knows where it was. What it
// returns is right for both cases at a sink that replaces rows.
func (p *plan) replace(c *chunk, e *entrain.Event, is verdict) (entrain.Event, error) {
	switch {
	case p.rule.OldUnknown != OldReplace:
		return entrain.Event{}, unlogged(e, "where", p.where.missing())
	case is == yes && e.Before != nil:
		return entrain.Event{}, partial(e) // two rows: the old key's and the new one's
	case is == yes:
		return p.cross(c, e, yes, no)
	}
	return p.cross(c, e, no, yes)
}
