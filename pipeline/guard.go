package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// guard lets a source look after what it keeps at its server while there is no
// session, until unguard. Both are for the goroutine of Run.
func (p *Pipeline) guard(ctx context.Context) {
	guarder, ok := p.opt.Source.(entrain.Guarder)
	if !ok || p.unguarded != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		guarder.Guard(ctx)
	}()
	p.unguarded = func() {
		cancel()
		<-done
	}
}

// unguard ends what guard began and waits for it.
func (p *Pipeline) unguard() {
	if p.unguarded != nil {
		p.unguarded()
		p.unguarded = nil
	}
}

// shareNotes gives the source a place for its notes, where the store has one that
// other processes see.
func (p *Pipeline) shareNotes() {
	noter, has := p.opt.Source.(entrain.Noter)
	notes, keeps := p.opt.Store.(entrain.Notes)
	if has && keeps {
		noter.KeepNotes(notes)
	}
}
