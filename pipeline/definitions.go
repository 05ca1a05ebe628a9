package pipeline

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// Definitions are the tables that the source captures, as the pipeline's rules have
// them, for a sink that is to have the rows of all of them by an [OrderRefresh] each.
// If any of them cannot be had so now, it is a *[entrain.Stop] that says which; one
// whose refresh is held can. It may be called while Run works, from any goroutine.
func (p *Pipeline) Definitions(ctx context.Context) ([]entrain.ChunkTable, error) {
	if p.initial.runs() {
		return nil, stopInitial(Order{Do: OrderRefresh})
	}
	states, err := p.Tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, st := range states {
		if st.State != TableStreaming && !(st.Refresh && st.Held) {
			return nil, stopUnfilled(st.Table, "it is "+string(st.State))
		}
	}
	listed, err := p.listTables(ctx)
	if err != nil {
		return nil, err
	}
	var all []entrain.ChunkTable
	for i := range listed {
		t := listed[i]
		if t.Refused != "" {
			return nil, stopUnfilled(t.Table.String(), t.Refused)
		}
		to, err := p.tables.shapeFor(t.Table)
		if err != nil {
			return nil, err
		}
		if to != t.Table {
			t.Table, t.Definition = to, nil
		}
		all = append(all, t)
	}
	return all, nil
}

func stopUnfilled(table, why string) error {
	return &entrain.Stop{
		Code: "sink_unfilled",
		What: fmt.Sprintf("the rows of table %s cannot be delivered once more now, and a sink that begins would lack them", table),
		Why:  why,
		Next: "wait until entrain table list FILE shows that it streams, or resume it; where it never can be read so, " +
			"give the sink a pipeline of its own, in another file with another name",
	}
}
