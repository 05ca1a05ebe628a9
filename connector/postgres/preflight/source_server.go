package preflight

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

const poolerWhy = "something between this program and the server (PgBouncer, say) answers for it"

func judgeSourcePooler(f *sourceFacts) []entrain.Finding {
	if !f.pooled {
		return nil
	}
	return one(failure(f.where, poolerWhy+": replication takes a connection of its own to the server; "+
		"set source.url to the server's own host and port"))
}

func judgeReplicationConnection(f *sourceFacts) []entrain.Finding {
	if f.cfg.Replication == nil {
		return nil
	}
	return one(failure(f.where, fmt.Sprintf("the server takes ordinary sessions but not a replication session: %v; "+
		"look at pg_hba.conf and at what stands between", f.cfg.Replication)))
}

func judgeSourceEncoding(f *sourceFacts) []entrain.Finding {
	if f.encoding != "SQL_ASCII" {
		return nil
	}
	return one(warning(f.where, "the database's encoding is SQL_ASCII, so it takes any bytes; a value that is not UTF-8 cannot be carried"))
}

func judgeWALLevel(f *sourceFacts) []entrain.Finding {
	level := f.settings["wal_level"].value
	if level == "logical" {
		return nil
	}
	if f.standby {
		return one(failure(f.where, "wal_level is "+level+": logical decoding needs logical, on the primary as well as here"))
	}
	return one(failure(f.where, "wal_level is "+level+": logical decoding needs logical", f.settingAtStart("wal_level", "logical")...))
}

// listsPlugins tells the minor versions from which on servers have a list of
// the libraries that REPLICATION roles may decode with.
func listsPlugins(version int) bool {
	first := map[int]int{14: 24, 15: 19, 16: 15, 17: 11, 18: 6}
	major, minor := version/10000, version%10000
	return major > newestMajor || first[major] > 0 && minor >= first[major]
}

// judgePluginLibraries looks at a setting that not every role may see.
func judgePluginLibraries(f *sourceFacts) []entrain.Finding {
	libraries, visible := f.settings["output_plugin_libraries"]
	switch {
	case !visible && listsPlugins(f.version):
		return one(entrain.Finding{Object: f.where, Why: "role " + sqltext.Ident(f.role) + " may not see output_plugin_libraries, which names " +
			"pgoutput unless it was changed; pg_read_all_settings would let it"})
	case !visible:
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(libraries.value, ",") {
		switch name = strings.Trim(strings.TrimSpace(name), `"`); name {
		case "pgoutput", "$libdir/pgoutput", "*":
			return nil
		case "":
		default:
			names = append(names, name)
		}
	}
	quoted := make([]string, 0, len(names)+1)
	for _, name := range append(names, "pgoutput") {
		quoted = append(quoted, strings.TrimSpace(sqltext.Literal(name)))
	}
	return one(failure(f.where, "output_plugin_libraries does not name pgoutput: the server refuses to decode with it",
		f.setting("output_plugin_libraries", strings.Join(quoted, ", "))...))
}

func judgeReplicationRight(f *sourceFacts) []entrain.Finding {
	if f.replicate {
		return nil
	}
	return one(failure(f.where, "role "+sqltext.Ident(f.role)+" lacks the REPLICATION attribute, which reading the log needs",
		f.fixes(superuser, "ALTER ROLE "+sqltext.Ident(f.role)+" REPLICATION")...))
}

func judgeFreeSlots(f *sourceFacts) []entrain.Finding {
	limit := f.number("max_replication_slots", 0)
	needed, what := int64(0), "this pipeline needs one"
	if !f.slot.exists && follows(f) {
		needed++
	}
	switch {
	case !f.copying():
	case !follows(f):
		needed++
		what = "the copy needs one for the moment in which it begins, and until it ends"
	default:
		needed++
		what = fmt.Sprintf("this pipeline needs %d: its own, unless it is there, and one for the moment in which the copy of existing rows begins", needed)
	}
	if f.slotsUsed+needed <= limit {
		return nil
	}
	return one(failure(f.where, fmt.Sprintf("%d of %d replication slots are in use, and %s", f.slotsUsed, limit, what),
		f.settingAtStart("max_replication_slots", strconv.FormatInt(limit+5, 10))...))
}

func judgeFreeSenders(f *sourceFacts) []entrain.Finding {
	limit := f.number("max_wal_senders", 0)
	if f.slot.active || f.sendersUsed < limit {
		return nil
	}
	return one(failure(f.where, fmt.Sprintf("all %d walsenders are in use, and this pipeline needs one", limit),
		f.settingAtStart("max_wal_senders", strconv.FormatInt(limit+5, 10))...))
}

// decodesOnStandby is the first version that does.
const decodesOnStandby = 160000

func judgeStandby(f *sourceFacts) []entrain.Finding {
	switch {
	case !f.standby:
		return nil
	case f.version < decodesOnStandby:
		return one(failure(f.where, "the server is a standby, and before version 16 standbys do not decode: set source.url to the primary"))
	case f.settings["hot_standby_feedback"].value != "on":
		return one(failure(f.where, "the server is a standby with hot_standby_feedback off: the primary will remove catalog rows "+
			"that decoding needs, and the slot is lost", f.setting("hot_standby_feedback", "on")...))
	}
	return nil
}

// shortestSenderTimeout leaves room for a slow network and a busy machine.
const shortestSenderTimeout = 5 * time.Second

func judgeSenderTimeout(f *sourceFacts) []entrain.Finding {
	timeout := f.duration("wal_sender_timeout")
	switch {
	case timeout == 0:
		return one(warning(f.where, "wal_sender_timeout is 0: a walsender whose client is gone keeps the slot until TCP notices",
			f.setting("wal_sender_timeout", "'60s'")...))
	case timeout < shortestSenderTimeout:
		return one(warning(f.where, fmt.Sprintf("wal_sender_timeout is %s: a short pause of the network or of a machine ends the session", timeout),
			f.setting("wal_sender_timeout", "'60s'")...))
	}
	return nil
}

// leastRetention is in MB, the setting's unit.
const leastRetention = 1024

func judgeRetention(f *sourceFacts) []entrain.Finding {
	const advice = "; choose what the disk can spare"
	switch kept := f.number("max_slot_wal_keep_size", -1); {
	case kept < 0:
		return one(warning(f.where, "max_slot_wal_keep_size is unlimited: while the pipeline stands still its slot keeps the log, "+
			"until the server's disk is full"+advice, f.setting("max_slot_wal_keep_size", "'16GB'")...))
	case kept < leastRetention:
		return one(warning(f.where, fmt.Sprintf("max_slot_wal_keep_size is %s: a short pause of the pipeline can cost it the slot%s",
			f.cfg.Size(kept<<20), advice), f.setting("max_slot_wal_keep_size", "'16GB'")...))
	}
	return nil
}

const shortestIdle = 24 * time.Hour

func judgeIdleTimeout(f *sourceFacts) []entrain.Finding {
	idle := f.duration("idle_replication_slot_timeout")
	if idle == 0 || idle >= shortestIdle {
		return nil
	}
	return one(warning(f.where, fmt.Sprintf("idle_replication_slot_timeout is %s: a pipeline that stands still for longer loses its slot", idle),
		f.setting("idle_replication_slot_timeout", "0")...))
}

// amplyDecoding is enough for transactions of a million rows.
const amplyDecoding = 512 << 20

// judgeDecodingMemory advises more only where it was missed.
func judgeDecodingMemory(f *sourceFacts) []entrain.Finding {
	memory := f.cfg.DecodingWorkMem
	if memory == 0 {
		memory = f.number("logical_decoding_work_mem", 0) << 10
	}
	switch {
	case memory >= amplyDecoding:
		return nil
	case f.spilled == 0:
		return one(entrain.Finding{Object: f.where, Why: fmt.Sprintf("transactions of more than %s are spilled to the source's disk "+
			"while they are decoded; source.decoding_work_mem raises that for this pipeline", f.cfg.Size(memory))})
	}
	return one(warning(f.slotName(), fmt.Sprintf("%d transactions did not fit in %s and were spilled to the source's disk, which makes them slower",
		f.spilled, f.cfg.Size(memory)), entrain.Fix{Where: "pipeline file", Config: "source:\n  decoding_work_mem: 512MB\n"}))
}

func (f *sourceFacts) slotName() string { return "replication slot " + f.cfg.Slot }

func judgeSlotMissing(f *sourceFacts) []entrain.Finding {
	if f.slot.exists || f.cfg.CreateSlot {
		return nil
	}
	return one(failure(f.slotName(), "the slot does not exist and source.create is not set", f.fixes("as a role with REPLICATION",
		"SELECT pg_create_logical_replication_slot("+sqltext.Literal(f.cfg.Slot)+", 'pgoutput')")...))
}

func judgeSlotLost(f *sourceFacts) []entrain.Finding {
	s := f.slot
	if !s.exists || s.status != "lost" && s.reason == "" {
		return nil
	}
	reason := s.reason
	if reason == "" {
		reason = "wal_removed"
	}
	return one(failure(f.slotName(), "the server invalidated the slot ("+reason+"): the changes it stood for can no longer be read. "+
		"After it is dropped, remove the rest (entrain teardown), empty the tables at the target (TRUNCATE), where rows that were deleted "+
		"meanwhile would stay, and start again (entrain run)",
		f.fixes("as a role with REPLICATION", "SELECT pg_drop_replication_slot("+sqltext.Literal(f.cfg.Slot)+")")...))
}

func judgeSlotForeign(f *sourceFacts) []entrain.Finding {
	s := f.slot
	if !s.exists || s.plugin == "pgoutput" && s.database == f.database && !s.temporary {
		return nil
	}
	what := fmt.Sprintf("it is a slot of database %q with plug-in %q", s.database, s.plugin)
	if s.temporary {
		what = "it is temporary and goes with the session that made it"
	}
	other := f.cfg.Slot
	if len(other) > 61 {
		other = other[:61]
	}
	return one(failure(f.slotName(), what+": another slot has to be used",
		entrain.Fix{Where: "pipeline file", Config: "source:\n  slot: " + other + "_2\n"}))
}

func judgeSlotActive(f *sourceFacts) []entrain.Finding {
	s := f.slot
	if !s.active || s.application == f.cfg.Application {
		return nil
	}
	return one(failure(f.slotName(), fmt.Sprintf("process %s of the server reads from it for role %q, application %q: one slot has one reader, "+
		"so stop that one, or end its session", s.pid, s.loggedIn, s.application),
		f.fixes(superuser, "SELECT pg_terminate_backend("+s.pid+")")...))
}

func judgeSlotLag(f *sourceFacts) []entrain.Finding {
	if f.slot.held < f.cfg.MuchHeld || slices.Contains([]string{"lost", ""}, f.slot.status) {
		return nil
	}
	return one(warning(f.slotName(), fmt.Sprintf("the slot holds back %d MB of the source's log: run the pipeline, or remove the slot "+
		"if it is no longer wanted (entrain teardown)", f.slot.held>>20)))
}
