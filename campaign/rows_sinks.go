package main

var sinkRows = []row{
	{
		id: "CO-01", title: "the path breaks at every boundary, at every visit: the contract holds",
		tests: "pipeline.TestEveryFailpoint pipeline.TestTransformKeepsTheBalance pipeline.TestSiftedThroughFaults pipeline.TestSnapshotHistories pipeline.TestTableHistories packed.TestEngine fanout.TestEverySinkGetsAll campaign.TestFailpoints campaign.TestBoundaryPairs",
		short: "a panic, a delay of 5 s and an early return by the campaign and its sample; the other tests have errors, at every visit",
	},
	{
		id: "CO-03", title: "what the target answers that a new try may mend (deadlocks, 40001, restarts, read-only, locks): order holds, nothing is skipped",
		tests: "campaign.TestCO03SinkRetryable apply.TestSinkReadOnlyTarget apply.TestSinkDeadlock apply.TestSinkLostConnection apply.TestWorkersInTurn entrain.TestSinkThatHangs entrain.TestLettersOfATargetThatCannot",
	},
	{
		id: "CO-04", title: "ten readers poll the total while the program is killed and its sessions are cut: nobody sees a part of a transaction",
		tests: "campaign.TestCO04LedgerAtomicity campaign.TestWatcherSeesATornTransfer",
	},
	{
		id: "CO-06", title: "a bad row holds up its key (and its transaction, if that is wanted) only; mended, it is replayed in order",
		tests: "campaign.TestDeadLetters pipeline.TestDeadLetters pipeline.TestLettersComeInOrder pipeline.TestSiftedExactly parking.TestNothingIsLost entrain.TestLettersOfEqualKeys",
	},
	{
		id: "CO-08", title: "the place of the dead letters is away or full: all waits, nothing is dropped",
		tests: "pipeline.TestDeadLetters entrain.TestLettersOfATargetThatCannot kafka.TestLettersStops kafka.TestLettersKilled letters.TestFileThatCannotBeRead",
		short: "away and refusing; not a disk that is full",
	},
	{
		id: "CO-09", title: "references: parents and children, cycles, a table's own rows, deferred ones; however batches are cut",
		tests: "campaign.TestCO09ForeignKeys apply.TestSinkForeignKeys apply.TestSinkSelfReferenceAndCycle apply.TestSinkDeferredToTheEnd apply.TestSinkRandomHistories applyplan.TestPlansEqualSerialExecution",
	},
	{
		id: "CO-10", title: "rows swap values that must be unique; keys are deleted and inserted again; however batches are cut",
		tests: "campaign.TestCO10UniqueSwap apply.TestSinkUniqueSwap apply.TestAsideRandomHistories applyplan.TestStepsDownEqualSerialExecution",
	},
	{
		id: "CO-11", title: "the target drifts (columns missing, narrower, renamed, NOT NULL): named, nothing of the transaction is seen, goes on behind the repair",
		tests: "campaign.TestCO11SinkDrift apply.TestAlterStops apply.TestSinkSchemaChanges apply.TestSinkNothingIsCutShort",
	},
	{
		id: "CO-13", title: "two processes: the second one waits or takes over, the first one writes nothing more",
		tests: "campaign.TestStandbyCapture capture.TestLease apply.TestSinkFence apply.TestLoadFenced kafka.TestZombie nats.TestZombie redis.TestOtherProcess packed.TestFencedByAnotherProcess fanout.TestFencedDeliveryEnds",
		short: "the lease is in the source's and the sinks' servers; there is no store of leases that could be parted from them",
	},
	{
		id: "CO-14", title: "clocks jump: no lease is lost by that, nothing is taken for a double",
		tests: "campaign.TestCO14Clocks fanout.TestWindowsOfAClockThatIsSet fanout.TestWindowBehindAClockSetBack kafka.TestRecallOfAClockThatIsSetBack kafka.TestNotBefore blockconn.TestDeadlinesAreMonotonic packed.TestRetention pipeline.TestLagOfClocks window.TestScheduleNext window.TestScheduleGoesOn",
		short: "the clocks of both PostgreSQL servers are made to jump; the program's own times are listed in docs/clocks.md and tested as values; not the clocks of brokers and of Redis",
	},
	{
		id: "CO-15", title: "a delivery is set back to any retained position: the same rows afterwards",
		tests: "campaign.TestDeliverySetBack apply.TestSinkSetBack apply.TestGateReplays entrain.TestReplayStretch entrain.TestReplayIntoRows",
		short: "to the beginning and two random places, 22 in the wide run",
	},
	{
		id: "CO-16", title: "a teardown that is killed in any of its steps leaves nothing once the next one has ended",
		tests: "campaign.TestTeardownKilled campaign.TestTeardownOfTables campaign.TestFanTeardown kafka.TestTeardownLog nats.TestTeardownServer redis.TestTeardown",
		short: "kills are at random times, of a pipeline with an embedded stream; topics and groups are removed without kills",
	},
	{
		id: "CO-17", title: "captured = applied + left out as known + filtered + parked, exactly",
		tests: "campaign.TestFanMetrics pipeline.TestDelivers pipeline.TestTransformKeepsTheBalance pipeline.TestDedupPart pipeline.TestContractDeadLetter parking.TestNothingIsLost",
		short: "the counters of a process begin anew with it, so that campaigns with kills compare the rows and the oracle's count instead",
	},
	{
		id: "CO-18", title: "1,000 orders (pause, resume, seek, delete) at the same time are linearizable",
		missing: "there is no admin HTTP API; orders over the process's socket are tested one by one, their histories are not checked for this",
	},
}

var campaignRows = []row{
	{id: "CR-01", title: "1,000 kills over a million changes", tests: "campaign.TestKill60 campaign.TestKillAside campaign.TestFanKills campaign.TestFileSinkSurvivesKills"},
	{id: "CR-02", title: "the source's and the target's server are killed 100 times each"},
	{id: "CR-03", title: "ten million changes, one transaction of a million"},
	{
		id: "CR-04", title: "an hour of all faults together, one every 5 to 15 seconds; then everything is there within a minute",
		tests: "campaign.TestSoak campaign.TestNetwork campaign.TestPacketLoss campaign.TestDisks campaign.TestSyncs campaign.TestKilledForMemory",
		short: "tests are seconds long, the campaign soak is the hour; lost packets, failing syncs and the kernel's kills are campaigns of their own",
	},
	{
		id: "CR-07", title: "bugs that are planted into the data path are caught, each within ten minutes",
		tests: "campaign.TestMutantsAreCaught campaign.TestCheckersCatchPlantedFaults entraintest.TestSinkMutants entraintest.TestSourceMutants entraintest.TestStreamMutants backfill.TestBugs",
		short: "see the planted bugs below, one by one",
	},
	{
		id: "CR-08", title: "a seed that fails fails again, 10 times of 10, in a simulation of the engine",
		tests: "simulation.TestSameSeedSameRun simulation.TestPlantedBugs simulation.TestPromises simulation.TestAlone",
		short: "copies of rows, changes of shape and classes are not simulated, nor two live processes at once",
	},
}

const oneWay = "changes are carried one way only"

var bothWaysRows = []row{
	{id: "BI-01", title: "no change comes back to where it was made", missing: oneWay},
	{id: "BI-02", title: "conflicts of every type end equal on all sides, and are named", missing: oneWay},
	{id: "BI-05", title: "two sides that were parted for ten minutes are equal within a minute", missing: oneWay},
}

var securityRows = []row{
	{
		id: "SE-01", title: "hostile names break out of nothing: SQL, paths, topics, metrics, advice",
		tests: "campaign.TestSE01IdentifierInjection campaign.TestPG16IdentifierZoo apply.TestSinkIdentifiers apply.TestAdviceWithOddNames entrain.TestAdviceStaysInItsLine nats.TestTokens encoding.TestNamesComeBack",
		short: "a list of names, not fuzzing; there is no HTML",
	},
	{
		id: "SE-02", title: "credentials are in nothing that the program writes, in any spelling",
		tests: "campaign.TestSE02SecretCanary campaign.TestCanariesAreFound entrain.TestCanaries entrain.TestInitWritesNoCredential capture.TestURLErrorsKeepSecrets dial.TestURLErrors registry.TestLogsIn campaign.TestSE02EveryCredential campaign.TestSecretsAreNamedSo",
		short: "core dumps are not searched; the page of metrics only for the credentials of TestSE02SecretCanary",
	},
	{
		id: "SE-04", title: "TLS and logins: wrong hosts, expired or unknown certificates, plain text and weak methods are refused; both change in mid-run",
		tests: "campaign.TestSE04TLS campaign.TestSE04Rotation capture.TestTLS capture.TestPasswords capture.TestWeakAuthentication capture.TestCertificateChanges dial.TestPasswordsAreGuarded dial.TestURLNeedsTLS " +
			"kafka.TestSecured nats.TestWaysIn redis.TestWaysIn",
	},
	{
		id: "SE-05", title: "the documented rights are enough; one that is taken away is named",
		tests: "campaign.TestSE05LeastPrivilege campaign.TestSE05LoginTakenAway campaign.TestSE05BaseBackup apply.TestSinkLeastPrivilege preflight.TestEveryFixRemovesItsFinding kafka.TestOwnBroker nats.TestCheckRights redis.TestRights",
		short: "the whole suite has only these rights in the wide run; BASE_BACKUP cannot be refused to a role that replicates, physical replication can",
	},
	{
		id: "SE-06", title: "URLs that come from outside reach nothing inside",
		tests: "registry.TestRedirects registry.TestRedirectsInCircles registry.TestAddresses registry.TestSchemasAreNotFetched nats.TestServersThatAreToldOf admin.TestOrdersHaveNoAddress throwaway.TestServersLeadToNoFile",
		short: "brokers that Kafka's metadata names are followed, as its clients have to; there are no webhooks",
	},
	{id: "SE-07", title: "signatures of webhooks", missing: "there are no webhooks"},
	{id: "SE-08", title: "every route for every role", missing: "there is no admin HTTP API; the process's socket is its owner's, GET /metrics has no secrets"},
	{
		id: "SE-10", title: "bombs (depth, digits, lengths) are parked or refused in bounded memory",
		tests: "contract.TestBombs letters.TestBombs versiongate.TestKeyBombs capture.TestWalStreamHostileLengths capture.FuzzWalStream pgoutput.FuzzParse frame.FuzzDecode store.FuzzOpen kafka.TestUnpack kafka.TestUnpackBombs kafka.TestBombs registry.TestAnswersEnd",
		short: "no run of the whole program has 256 MiB only; Avro is written, never read",
	},
	{
		id: "SE-12", title: "a record of orders that was edited, cut or swapped is found out",
		missing: "audit.jsonl of edited dead letters has no chain and no signature",
	},
	{
		id: "SE-13", title: "dependencies, secrets and builds: scanners are clean, the parts list is that of the binary, two builds are equal",
		tests: "sbom.TestListIsTheBuilds",
		short: "the scanners and the comparison of two builds are make supply, which is not part of the tests",
	},
}

var boundRows = []row{
	{
		id: "PF-01", title: "one transaction of ten million rows in bounded memory",
		tests: "campaign.TestPF01HugeTxn capture.TestHugeTransaction kafka.TestRunOfALargeTransaction",
		short: "ten million in the wide run, else a million; the process's peak is measured, no cgroup bounds it",
	},
	{
		id: "PF-03", title: "a sink that hangs costs no memory, no session, and drains afterwards",
		tests: "campaign.TestPF03StalledSink campaign.TestPF03Stalled campaign.TestFanStalledSink fanout.TestStalledSinkHoldsNobodyUp",
		short: "tests are seconds long, the campaign stalled is the hour and the 500 connections",
	},
	{
		id: "PF-04", title: "a slot that keeps back too much log: warned of, kept by one policy, given up by the other",
		tests: "capture.TestSlotGuard capture.TestGuardLevels capture.TestSlotGuardCrash capture.TestSlotGuardStandby pipeline.TestGuardWhileTheSinkIsAway",
		short: "a few megabytes of log; no disk of 64 MB is filled",
	},
	{
		id: "PF-05", title: "idle tables beside a busy database: the slot lets go of the log",
		tests: "capture.TestIdleHeartbeat capture.TestHeartbeat capture.TestIdlePosition",
		short: "checkpoints are ordered, and the test waits up to a minute",
	},
	{
		id: "PF-06", title: "5,000 tables, 1,000 columns, 500 partitions in bounded memory",
		tests: "campaign.TestPF06ManyTables preflight.TestManyTables",
		short: "5,000 tables in the wide run, else 1,000; the time of the start is logged, not asserted",
	},
}
