package main

var captureRows = []row{
	{
		id: "PG-01", title: "each replica identity (default, full, index, nothing) with each operation, switched while changes flow",
		tests: "capture.TestCapture/replica-identity capture.TestCapture/keyless-full capture.TestStopNoReplicaIdentity apply.TestSinkIdentityOutsideTheKey apply.TestSinkKeylessTables",
	},
	{
		id: "PG-02", title: "rows of a COPY share a position: a session that ends behind any read of them loses and doubles none",
		tests: "capture.TestCopySharedLSN capture.TestCapture/copy",
		short: "sessions end behind every read, not behind every row",
	},
	{
		id: "PG-05", title: "values of 10 MB that an update leaves alone stay (text, bytea, jsonb, arrays; identity default and full)",
		tests: "capture.TestCapture/toast apply.TestSinkPartialInsert apply.TestSoftDeletedValues campaign.TestMutantsAreCaught",
	},
	{
		id: "PG-07", title: "TRUNCATE of several tables, with CASCADE and RESTART IDENTITY, is one operation",
		tests: "capture.TestCapture/truncate apply.TestSinkTruncate",
	},
	{
		id: "PG-08", title: "rows that leave, enter and stay in a row filter; filters of several publications together",
		tests: "capture.TestCapture/row-filter capture.TestCapture/row-filter-full capture.TestCapture/publications capture.TestRoutes capture.TestStopInsertIncomplete snapshot.TestRowFilters",
	},
	{
		id: "PG-09", title: "lists of columns and publications that change while changes flow: the right columns, or a stop by name",
		tests: "capture.TestCapture/column-list capture.TestStopColumnListConflict capture.TestTableUnpublished capture.TestStopPublicationGone snapshot.TestListConflict",
	},
	{
		id: "PG-10", title: "generated columns, stored and virtual, published and not",
		tests: "capture.TestCapture/generated capture.TestCapture/generated-virtual capture.TestRoutes capture.TestStopGeneratedIdentity capture.TestVirtualIdentity preflight.TestGeneratedColumn",
	},
	{
		id: "PG-11", title: "partitions: by the root and by leaves, rows that move, ATTACH and DETACH, new ones, leaves of another order of columns",
		tests: "capture.TestCapture/partitions capture.TestCapture/partitions-attach capture.TestCapture/partitions-by-leaf capture.TestCapture/partition-alone " +
			"capture.TestRoutes capture.TestStopPartitionIdentity capture.TestPartitionMadeLater snapshot.TestChunkPartitions",
	},
	{
		id: "PG-12", title: "a transaction that adds and drops columns between its rows: each event has its own shape",
		tests: "capture.TestCapture/ddl-in-transaction apply.TestAlter apply.TestAlterInParts entrain.TestSchemaChanges",
	},
	{
		id: "PG-13", title: "enums, domains and composites that are changed, or dropped and made anew, while changes flow",
		tests: "capture.TestCapture/types-changed apply.TestSinkCopyNoticesNewTypes",
	},
	{
		id: "PG-14", title: "rewrites (ALTER TYPE, CLUSTER, VACUUM FULL, columns with defaults) make no row appear or vanish",
		tests: "capture.TestCapture/rewrites snapshot.TestRewrites",
	},
	{
		id: "PG-15", title: "tables and schemas that are renamed while another one takes the name, in one transaction",
		tests: "capture.TestCapture/renames capture.TestSchemaRenamed capture.TestStopTableNameTaken entrain.TestRenamedTable snapshot.TestIndexOfRenamedTable",
	},
	{
		id: "PG-16", title: "names with quotes, dots, wildcards, line feeds, emoji, 63 bytes, reserved words, twins in case: from capture to sinks",
		tests: "campaign.TestPG16IdentifierZoo capture.TestCapture/nasty-names",
		short: "there is no dashboard; what is shown is status, metrics and stops",
	},
	{
		id: "PG-18", title: "savepoints that are rolled back, with changes of shape in them: nothing of them is seen, no stale shape stays",
		tests: "capture.TestCapture/savepoints capture.TestCapture/ddl-aborted",
		short: "open transactions are not streamed (protocol 1): the server spools them",
	},
	{
		id: "PG-19", title: "transactions that overlap, one aborted, one prepared: the order is that of the commits",
		tests: "capture.TestPreparedTransactions campaign.TestKill60",
		short: "open transactions are not streamed (protocol 1), so that large ones are interleaved in the server only",
	},
	{
		id: "PG-21", title: "a sink that takes nothing for ten times the server's time-out does not cost the session",
		tests: "capture.TestKeepaliveUnderBackpressure campaign.TestPF03StalledSink",
	},
	{
		id: "PG-22", title: "a huge transaction and a rewrite that are not published: no time-out, the slot moves on",
		tests: "capture.TestHugeUnpublishedTransaction",
		short: "5 million rows in the wide run, else 400,000",
	},
	{
		id: "PG-23", title: "a slot that the server has invalidated (log removed, idle, rows removed, wal_level) is a stop by name, never made anew in silence",
		tests: "capture.TestStopSlotLostWAL capture.TestStopSlotLostIdle capture.TestStopStandbyConflict capture.TestStopWalLevel campaign.TestWhenNeeded",
	},
	{
		id: "PG-25", title: "a server that is killed forgets how far the slot was: what it sends again has no second effect",
		tests: "capture.TestSlotRewind",
		short: "3,000 transactions come again, not 150,000 changes",
	},
	{
		id: "PG-26", title: "the standby is promoted under load and goes on by a fail-over slot",
		tests: "campaign.TestPG26Promotion capture.TestFailover capture.TestSyncedSlotIsNotRead capture.TestPromotion",
	},
	{
		id: "PG-28", title: "making a slot waits for open transactions: bounded, can be cancelled, leaves no slot",
		tests: "capture.TestSlotCreationBehindOpenTransaction capture.TestExportBehindOpenTransaction",
	},
	{
		id: "PG-29", title: "existing rows are copied under 16 writers, with kills behind each part: the sink equals the source",
		tests: "campaign.TestPG29SnapshotHandoff campaign.TestPG29IntoFile campaign.TestPG29TablesBesideTheStream campaign.TestFanCopyKills snapshot.TestHandoff pipeline.TestSnapshotHistories backfill.TestHistories",
	},
	{
		id: "PG-31", title: "extreme values, other encodings, positions above 2^32, transaction ids that wrap, high timelines: exact, or refused by name",
		tests: "capture.TestEveryType capture.TestCapture/types capture.TestFarPositions capture.TestEncodings capture.TestNoEncoding capture.TestCopiedEncodings capture.TestNoEncodingIntoUTF8 " +
			"capture.TestStopTextUntranslatable apply.TestSinkValues apply.TestFormsOfOtherEncodings pgbinary.TestFormsEqualTheServers corpus.TestCorpus corpus.TestCorpusThroughKafka corpus.TestEveryTypeIsHere corpus.TestDocumentsTellTheLosses",
	},
	{
		id: "PG-33", title: "capture by polling: equal times at a page's edge, late commits, clocks that go back",
		missing: "there is no capture by polling",
	},
}

const noMySQL = "there is no capture of MySQL or MariaDB"

var mysqlRows = []row{
	{id: "MY-01", title: "a position between the events of a transaction: a restart reads the transaction anew", missing: noMySQL},
	{id: "MY-02", title: "kills inside of an event with 1,000 rows", missing: noMySQL},
	{id: "MY-04", title: "a purged log is a stop by name", missing: noMySQL},
	{id: "MY-05", title: "row images of every kind, unsigned numbers, bits, zero dates, character sets", missing: noMySQL},
	{id: "MY-06", title: "a compressed transaction of 4 GB in bounded memory", missing: noMySQL},
	{id: "MY-07", title: "implicit commits, tables that are swapped, savepoints, XA, a server id twice", missing: noMySQL},
}

var streamRows = []row{
	{
		id: "ST-01", title: "answers to appends are lost: each change is there once, in order",
		tests: "packed.TestConformance packed.TestEngine packed.TestTornAnywhere pipeline.TestUnknownOutcome kafka.TestKilled kafka.TestOwnBroker nats.TestKill redis.TestKill",
		short: "answers are lost at chosen moments and by kills, not at a rate of 5 % on the network",
	},
	{
		id: "ST-03", title: "delivering processes join, leave and hang: the order of each key holds, nothing has an effect twice",
		tests: "campaign.TestWorkers campaign.TestWorkersKeepTransactions kafka.TestAssign kafka.TestZombie",
	},
	{
		id: "ST-04", title: "the broker is killed again and again: nothing that was acknowledged is lost",
		tests: "campaign.TestBrokerKill kafka.TestOwnBroker kafka.TestLettersKilled redis.TestKillServer campaign.TestFanRedis campaign.TestFanNATS",
		short: "one broker: no leader moves to another one",
	},
	{
		id: "ST-05", title: "a message that is too large is parked with key, size and position, and the others flow",
		tests: "entrain.TestTooLargeIsParked kafka.TestTooLarge nats.TestTooLarge",
	},
	{
		id: "ST-07", title: "power is lost: what was not synced is gone",
		tests: "nats.TestKill store.TestTruncated store.TestScribbledPages file.TestTailOfACrash redis.TestLostTail redis.TestLostAll",
		short: "pages that were not synced are not dropped (which takes a file system of its own): processes are killed, files cut and scribbled on, a Redis server loses its tail",
	},
	{
		id: "ST-09", title: "a consumer behind the earliest message: a stop by name, and a way on that works",
		tests: "campaign.TestFanLaterSink kafka.TestLogStops kafka.TestOverrunWhileReading fanout.TestPausedIsOverrun packed.TestBegin entrain.TestReplayWhatIsGone",
	},
	{
		id: "ST-10", title: "a topic is made anew, or gets more partitions: the order of keys holds, or a stop by name",
		tests: "campaign.TestTopicGrows campaign.TestTopicGone kafka.TestTopicGrew kafka.TestTopicMadeAnew kafka.TestTopicMoved entrain.TestStreamTopicChanges",
	},
}
