// Package verify compares the rows of a source with those of the sink that it
// feeds while changes go on flowing. It moves digests, no rows, and knows no
// connector: only what [entrain.Digester] offers. docs/verify.md has the method.
//
// What decides is pure: [Judge] over what several rounds saw of a key, and the
// merge of two sorted lists. [Run] asks the two ends and waits between rounds.
package verify
