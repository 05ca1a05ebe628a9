package main

const plantedFaults = "campaign.TestCheckersCatchPlantedFaults"

var checkerRows = []row{
	{id: "checker 1", title: "an oracle that is not ours: a second slot with test_decoding tells what was committed, in order", tests: plantedFaults + " campaign.TestCompareOrder"},
	{id: "checker 2", title: "a chain of hashes a key: gaps, repeats and other orders show at the sink", tests: plantedFaults},
	{id: "checker 3", title: "a ledger whose total never changes, read all the time at the sink", tests: plantedFaults + " campaign.TestWatcherSeesATornTransfer campaign.TestCO04LedgerAtomicity"},
	{id: "checker 4", title: "a sink without unique keys that counts each change", tests: plantedFaults},
	{
		id: "checker 5", title: "the rows at a position are the model's, at any moment", tests: "entraintest.TestSinkMutants entraintest.TestRows apply.TestSinkConformance apply.TestSinkPositionRow",
		short: "by the conformance suites of sinks; campaigns compare at rest, and the ledger meanwhile",
	},
	{id: "checker 6", title: "captured = applied + left out + filtered + parked", tests: "campaign.TestFanMetrics pipeline.TestDelivers"},
	{id: "checker 7", title: "when the faults stop everything arrives", tests: "campaign.TestMutantsAreCaught campaign.TestKill60", short: "within three minutes, not one"},
	{
		id: "checker 8", title: "nothing is left: sessions, goroutines, files, memory", tests: "campaign.TestKill60 snapshot.TestReadEnds snapshot.TestNothingStays preflight.TestCheckChangesNothing",
		short: "sessions after campaigns, goroutines by goleak in the packages that have it; the slope of memory in the campaigns soak and stalled only",
	},
}

// sampleCaught plants two bugs in each run, by chance; all of them in the wide run and the
// campaign, whose report each row shows.
const sampleCaught = "campaign.TestMutantsAreCaught"

// The first twelve are those of the list of cases, the others came with the campaign.
var mutantRows = []row{
	{id: "bug 1", title: "acknowledge before the sink is durable", tests: sampleCaught + " entraintest.TestSinkMutants"},
	{id: "bug 2", title: "confirm to the source before the position is saved", tests: "pipeline.TestSavedBeforeConfirmed " + sampleCaught},
	{id: "bug 3", title: "resume by the position of a row", tests: "capture.TestCopySharedLSN entraintest.TestSourceMutants " + sampleCaught},
	{id: "bug 4", title: "skip the first change behind a reconnect", tests: sampleCaught},
	{id: "bug 5", title: "drop one change of very many", tests: sampleCaught},
	{id: "bug 6", title: "swap two changes of a key", tests: sampleCaught},
	{id: "bug 7", title: "take changes for doubles by a window of time", tests: "dedup.TestApart redis.TestDeduplication " + sampleCaught},
	{id: "bug 8", title: "commit the position outside of the transaction", tests: sampleCaught},
	{id: "bug 9", title: "delete and insert where a key changes", tests: sampleCaught},
	{id: "bug 10", title: "an unchanged large value as NULL", tests: sampleCaught + " backfill.TestBugs"},
	{id: "bug 11", title: "apply at PREPARE", tests: sampleCaught, short: "planted on the wire, since the program does not use two-phase decoding"},
	{id: "bug 12", title: "replay dead letters past the version gate", tests: "apply.TestGateReplays entrain.TestReplayIntoRows versiongate.TestBugs " + sampleCaught},
	{id: "bug 13", title: "skip truncates", tests: sampleCaught},
	{id: "bug 14", title: "commit in the middle of a transaction", tests: sampleCaught + " entraintest.TestSinkMutants"},
	{id: "bug 15", title: "write a batch twice", tests: sampleCaught},
	{id: "bug 16", title: "an idle position is confirmed before it is saved", tests: sampleCaught},
	{id: "bug 17", title: "what a view sees is decided by positions of the log", tests: "backfill.TestBugs " + sampleCaught},
	{id: "bug 18", title: "a change that was delivered and is not yet visible in the view is forgotten", tests: "backfill.TestBugs " + sampleCaught},
}

// plantedIn are the names that the bugs of a row have in the campaign's report.
var plantedIn = map[string][]string{
	"bug 1":  {"acknowledge before the sink is durable"},
	"bug 2":  {"feedback before the position is saved"},
	"bug 3":  {"resume by row"},
	"bug 4":  {"skip the first change after a reconnect"},
	"bug 5":  {"drop one in 5000", "drop one in 1000000"},
	"bug 6":  {"swap two changes of one key"},
	"bug 7":  {"deduplication that forgets after two minutes"},
	"bug 8":  {"position outside of the transaction"},
	"bug 9":  {"delete and insert on key change"},
	"bug 10": {"unchanged TOAST as NULL"},
	"bug 11": {"apply at PREPARE"},
	"bug 12": {"replay past the version gate", "replay past the version gate, its core"},
	"bug 13": {"skip truncates"},
	"bug 14": {"commit in the middle of a transaction"},
	"bug 15": {"write a batch twice"},
	"bug 16": {"idle position confirmed before it is saved"},
	"bug 17": {"visibility decided by LSN"},
	"bug 18": {"delivered but invisible ignored"},
}
