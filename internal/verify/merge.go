package verify

import (
	"cmp"
	"iter"

	"github.com/entrainsync/entrain"
)

// candidate is a key whose rows differed when both ends were listed.
type candidate struct {
	of    *pair
	key   string
	show  string
	first State // at the sink
	looks []Look
}

func stateOf(d entrain.Digest) State { return State{d.Rows, d.Sum, d.Version} }

// merge walks through two lists that are sorted by hash and key, and yields the
// keys that differ. It holds one entry of each at a time.
func merge(source, sink iter.Seq2[entrain.Digest, error], yield func(show string, source, sink entrain.Digest) bool) error {
	nextA, stopA := iter.Pull2(source)
	defer stopA()
	nextB, stopB := iter.Pull2(sink)
	defer stopB()
	a, errA, okA := nextA()
	b, errB, okB := nextB()
	for okA || okB {
		if err := cmp.Or(errA, errB); err != nil {
			return err
		}
		order := order(a, b)
		switch {
		case !okA:
			order = 1
		case !okB:
			order = -1
		}
		goOn := true
		switch {
		case order < 0:
			goOn = yield(a.Show, a, entrain.Digest{})
		case order > 0:
			goOn = yield(b.Show, entrain.Digest{}, b)
		case !stateOf(a).same(stateOf(b)):
			goOn = yield(a.Show, a, b)
		}
		if !goOn {
			return nil
		}
		if order <= 0 {
			a, errA, okA = nextA()
		}
		if order >= 0 {
			b, errB, okB = nextB()
		}
	}
	return nil
}

func order(a, b entrain.Digest) int {
	return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Key, b.Key))
}
