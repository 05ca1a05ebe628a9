package preflight

import "github.com/entrainsync/entrain"

// isView reports that the relation has rows to copy and no changes in the log.
func (t *table) isView() bool { return t.kind == "v" || t.kind == "m" || t.kind == "f" }

// judgeViews is about what has no changes in the log. Whether there was a copy only a
// pipeline that never makes one can say here.
func judgeViews(f *sourceFacts) []entrain.Finding {
	kinds := map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table"}
	var found []entrain.Finding
	for _, t := range f.views {
		object, why := "table "+t.String(), "it is "+kinds[t.kind]+", whose changes are not in the log: "
		if f.cfg.Never {
			found = append(found, failure(object, why+"nothing would ever come of it, since snapshot.mode is never; set that to initial, or take it out of source.tables.include"))
			continue
		}
		found = append(found, warning(object, why+"the target gets the rows of the first copy, and no changes after that"))
	}
	return found
}
