package main

import (
	"io"

	"github.com/entrainsync/entrain/internal/metrics"
)

// nothing is a monitor that was not asked for.
type nothing struct{}

// Close implements io.Closer.
func (nothing) Close() error { return nil }

// monitor shows the metrics of what the desk answers for, if the file says where.
func (p *program) monitor(l *loaded, d *desk) (io.Closer, error) {
	if l.file.Monitoring == nil {
		return nothing{}, nil
	}
	s, err := metrics.Listen(l.file.Monitoring.Listen, d)
	if err != nil {
		return nil, err
	}
	p.log.Info("metrics are shown", "url", "http://"+s.Address()+"/metrics")
	return s, nil
}

// listen is where metrics are shown, empty for nowhere.
func (l *loaded) listen() string {
	if l.file.Monitoring == nil {
		return ""
	}
	return l.file.Monitoring.Listen
}
