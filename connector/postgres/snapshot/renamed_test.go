package snapshot

import (
	"testing"

	"github.com/entrainsync/entrain"
)

// TestIndexOfRenamedTable: the server writes an index with the table's name of now.
// That it is another one than a moment before passes.
func TestIndexOfRenamedTable(t *testing.T) {
	d := &defined{table: &table{}, def: &entrain.Definition{}}
	for def, retryable := range map[string]bool{
		"CREATE UNIQUE INDEX item_pkey ON public.third USING btree (id)": true,
		"CREATE UNIQUE INDEX item_pkey ON public.item USING btree (id)":  false,
	} {
		err := d.index([]string{"", "CREATE UNIQUE INDEX ", "item_pkey", " ON public.item", "public.item", def, "[]"})
		if (err != nil) != retryable || entrain.IsRetryable(err) != retryable {
			t.Errorf("%s: %v", def, err)
		}
	}
}
