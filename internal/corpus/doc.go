// Package corpus has values at the edges of every type that a column can have, and
// tests that carry them from real servers to every sink and format and read them
// back: what comes out is the text that the source's server prints, or the form that
// the documents tell. testdata has the values, a line each; rules_test.go has every
// form that is another one.
package corpus
