// Package registry registers the schemas of encoded events in a schema registry
// that speaks Confluent's API, and refuses to go on when one does not fit those
// before it.
//
// A [Client] knows nothing of tables and encodings: a caller brings the schema's
// text. Before the first event of a new version is written, the registry is asked
// whether the version is compatible, by the level that the registry has for the
// subject; a version that is not is the stop schema_incompatible, with the
// registry's reasons (P5). docs/registry.md describes it for people.
package registry
