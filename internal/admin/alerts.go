package admin

import "github.com/entrainsync/entrain/pipeline"

// Limits are the thresholds that a person set; 0 for none.
type Limits struct {
	// LagCritical is in seconds.
	LagCritical float64
	// DuplicateRateWarning is a share, 0 to 1.
	DuplicateRateWarning float64
	// DeadletterCritical is a number of dead letters.
	DeadletterCritical float64
}

// Alert is a threshold, and how far what it is about is.
type Alert struct {
	// Name is its key in the file: lag_critical.
	Name string `json:"name"`
	// Limit is the threshold, Value what there is now, the worst of all stages.
	Limit float64 `json:"limit"`
	Value float64 `json:"value"`
	// Over: the value has reached the threshold.
	Over bool `json:"over"`
}

// Alerts are those of a report that have a threshold.
func (l Limits) Alerts(r Report) []Alert {
	var list []Alert
	add := func(name string, limit, value float64) {
		if limit > 0 {
			list = append(list, Alert{Name: name, Limit: limit, Value: value, Over: value >= limit})
		}
	}
	lag, doubles := 0.0, 0.0
	for _, st := range r.stages() {
		lag, doubles = max(lag, st.LagSeconds), max(doubles, st.DuplicateRate)
	}
	add("lag_critical", l.LagCritical, lag)
	add("duplicate_rate_warning", l.DuplicateRateWarning, doubles)
	add("deadletter_critical", l.DeadletterCritical, float64(r.DeadLetters()))
	return list
}

// DeadLetters counts those of all stages.
func (r Report) DeadLetters() int {
	n := 0
	for _, st := range r.stages() {
		n += st.DeadLetters
	}
	return n
}

// ContractBreaches counts events that broke their contracts, by table, in all stages:
// behind a stream an event is one for each sink that parked it. Nil if there is none.
func (r Report) ContractBreaches() map[string]int64 {
	var all map[string]int64
	for _, st := range r.stages() {
		for table, n := range st.ContractBreaches {
			if all == nil {
				all = map[string]int64{}
			}
			all[table] += n
		}
	}
	return all
}

// stages returns the status of each stage once.
func (r Report) stages() []*pipeline.Status {
	var list []*pipeline.Status
	if !r.DeliversOnly { // else it is that of a sink
		list = append(list, &r.Status)
	}
	for i := range r.Sinks {
		list = append(list, &r.Sinks[i].Status)
	}
	return list
}
