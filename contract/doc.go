// Package contract has what the owner of a table promises to those who read it: its
// columns, their types and rules, and how they may change. It compares a promise with
// a table as it is, one promise with the next, and judges events while they flow. It
// is pure: who calls it reads the files and decides what becomes of a breach
// (docs/contracts.md, docs/adr/0014).
package contract
