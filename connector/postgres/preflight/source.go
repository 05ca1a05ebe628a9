package preflight

import (
	"context"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
)

// sourceChecks are all examinations of a source, in the order of the report,
// which is that of the fixes: a table gets its identity before it is published.
var sourceChecks = []check[sourceFacts]{
	{code: "server_version", judge: ofServer(judgeVersion)},
	{code: "connect_right", judge: nothing[sourceFacts]},
	{code: "pooler", judge: judgeSourcePooler},
	{code: "replication_connection", judge: judgeReplicationConnection},
	{code: "clock_skew", judge: ofServer(judgeClock)},
	{code: "server_encoding", judge: judgeSourceEncoding},
	{code: "wal_level", judge: judgeWALLevel},
	{code: "output_plugin_libraries", judge: judgePluginLibraries},
	{code: "replication_right", judge: judgeReplicationRight},
	{code: "free_slots", judge: judgeFreeSlots},
	{code: "free_senders", judge: judgeFreeSenders},
	{code: "standby_source", judge: judgeStandby},
	{code: "wal_sender_timeout", judge: judgeSenderTimeout},
	{code: "slot_retention", judge: judgeRetention, applies: follows},
	{code: "slot_idle_timeout", judge: judgeIdleTimeout, applies: follows},
	{code: "decoding_memory", judge: judgeDecodingMemory, applies: follows},
	{code: "slot_missing", judge: judgeSlotMissing, applies: follows},
	{code: "slot_lost", judge: judgeSlotLost, applies: follows},
	{code: "slot_foreign", judge: judgeSlotForeign, applies: follows},
	{code: "slot_active", judge: judgeSlotActive, applies: follows},
	{code: "slot_lag", judge: judgeSlotLag, applies: follows},
	{code: "no_tables", judge: judgeNoTables},
	{code: "unlogged_table", judge: judgeUnlogged},
	{code: "replica_identity", judge: judgeIdentity, applies: follows},
	{code: "replica_identity_nothing", judge: judgeIdentityNothing, applies: follows},
	{code: "partition_identity", judge: judgePartitionIdentity, applies: follows},
	{code: "generated_identity", judge: judgeGeneratedIdentity, applies: follows},
	{code: "filter_identity", judge: judgeFilterIdentity, applies: follows},
	{code: "column_list_identity", judge: judgeListIdentity, applies: follows},
	{code: "publication_missing", judge: judgePublicationMissing},
	{code: "publication_tables", judge: judgePublicationTables},
	{code: "publication_actions", judge: judgePublicationActions, applies: follows},
	{code: "column_list_conflict", judge: judgeListConflict},
	{code: "view_copied_once", judge: judgeViews, applies: follows},
	{code: "not_copied", judge: judgeNotCopied},
	{code: "keyless_table", judge: judgeKeyless, applies: follows},
	{code: "key_index_missing", judge: judgeNoChunks, applies: follows},
	{code: "unchanged_values", judge: judgeUnchanged, applies: follows},
	{code: "select_right", judge: judgeSelectRight},
	{code: "source_row_security", judge: judgeSourceRowSecurity},
}

// SourceCodes lists the codes of a source's findings.
func SourceCodes() []string { return codesOf(sourceChecks) }

// ofServer makes a judge of either end one of the source.
func ofServer(judge func(*server) []entrain.Finding) func(*sourceFacts) []entrain.Finding {
	return func(f *sourceFacts) []entrain.Finding { return judge(&f.server) }
}

// follows reports that changes are to be captured.
func follows(f *sourceFacts) bool { return !f.cfg.Standalone }

// nothing is for what a session that exists has proved.
func nothing[F any](*F) []entrain.Finding { return nil }

// Examine reports on a source, whose session ask uses.
func (cfg Source) Examine(ctx context.Context, ask Ask) (entrain.Report, error) {
	f, err := cfg.gather(ctx, ask)
	if err != nil {
		return entrain.Report{}, err
	}
	report := f.report(cfg.Session)
	report.Findings = judgeAll(sourceChecks, f, f.where)
	report.Keys = map[*entrain.Table][]string{}
	for _, t := range f.carried {
		shape := t.shape(f)
		report.Tables = append(report.Tables, shape)
		report.Keys[shape] = t.inIndex()
		if f.copies(t) {
			report.Copies = append(report.Copies, entrain.TableCopy{Schema: t.schema, Name: t.name, Table: shape, Defined: true, Extensions: t.extensions})
		}
	}
	for _, t := range f.views {
		if f.copies(t) {
			shape := t.shape(f)
			report.Tables = append(report.Tables, shape)
			report.Copies = append(report.Copies, entrain.TableCopy{Schema: t.schema, Name: t.name, Table: shape, Defined: true, Once: true, Extensions: t.extensions})
		}
	}
	report.Sequences, report.CopyOnly = f.sequences, f.cfg.Standalone
	return report, nil
}

// inIndex are the columns that identify rows, in the order of their index.
func (t *table) inIndex() []string {
	var columns []column
	for _, c := range t.columns {
		if c.keyAt > 0 {
			columns = append(columns, c)
		}
	}
	slices.SortFunc(columns, func(a, b column) int { return int(a.keyAt - b.keyAt) })
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return names
}

// shape is the table as the log will describe it, but for the modifiers that
// domains give their values.
func (t *table) shape(f *sourceFacts) *entrain.Table {
	shape := &entrain.Table{Schema: t.schema, Name: t.name, FullIdentity: t.form == "f" || t.isView()}
	for _, c := range t.columns {
		if t.sends(c, f) {
			shape.Columns = append(shape.Columns, entrain.Column{
				Name: c.name, Type: c.typ, Modifier: c.modifier, Kind: f.cfg.Kind(c.typ), Key: c.key,
			})
		}
	}
	shape.Version = shape.Fingerprint()
	return shape
}

// publishesGenerated is the first version that can publish generated columns.
const publishesGenerated = 180000

// sends reports whether rows of the table will have the column: it is in a list
// of the publications or, where there are no lists, is not generated. A
// publication that we make has what the server stores. Before version 18
// generated columns may be in such a list, but are not sent.
func (t *table) sends(c column, f *sourceFacts) bool {
	if c.generated != "" && f.version < publishesGenerated {
		return false
	}
	if t.published && f.version >= 150000 {
		return slices.ContainsFunc(t.lists, func(list []string) bool { return slices.Contains(list, c.name) })
	}
	return c.generated == "" || c.generated == "s" && !t.published && f.version >= publishesGenerated
}

func join(parts []string) string { return strings.Join(parts, ",") }
