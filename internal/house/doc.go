// Package house holds the house rules as tests over the whole module: how long
// and how deep code may get, what must be documented, who may import whom. It
// has no code of its own; every rule comes with samples that break it, since a
// checker that never failed proves nothing.
package house
