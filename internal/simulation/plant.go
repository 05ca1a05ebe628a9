package simulation

// Plant is a bug that the simulated ends have on purpose.
type Plant uint8

// The bugs. Each breaks a promise that the checkers have to miss.
const (
	PlantNone Plant = iota
	// PlantAckBeforeDurable: the sink reports as durable what a crash loses.
	PlantAckBeforeDurable
	// PlantFeedbackBeforeSaved: the source is told when the sink has something, before
	// the position is saved.
	PlantFeedbackBeforeSaved
	// PlantSkipAfterReconnect: the first change after the source was opened anew is
	// left out.
	PlantSkipAfterReconnect
	// PlantDropRarely: one change of ten thousand is left out.
	PlantDropRarely
	// PlantSwapKey: two changes of one key are swapped now and then.
	PlantSwapKey
	// PlantWriteTwice: a sink that keeps the position writes a batch once more when the
	// answer to its commit was lost.
	PlantWriteTwice
	// PlantPositionApart: a sink commits the position in a transaction of its own,
	// behind the data.
	PlantPositionApart
	// PlantForgetKeys: the store of keys forgets some.
	PlantForgetKeys
	// PlantNoFence: a sink takes writes of sessions whose position another one has
	// taken over.
	PlantNoFence
	// PlantPartsVisible: a sink that keeps the position commits parts of transactions.
	PlantPartsVisible
	// PlantSaveLater: the store reports a position as saved that a crash loses.
	PlantSaveLater
	// PlantMarkForgotten: a sink that goes back to a mark does not.
	PlantMarkForgotten
	// PlantStreamForgets: the stream reports messages as durable that a crash loses.
	PlantStreamForgets
	// PlantStreamUnfenced: the stream takes messages behind others than the writer knew.
	PlantStreamUnfenced
	// PlantTrimAhead: the stream removes more than it is asked to.
	PlantTrimAhead
	// PlantMissedWake: a reader of the stream is not woken by a new message now and
	// then, until it is opened anew.
	PlantMissedWake
	// PlantReuseMemory: the source reuses the memory of a batch that is not free yet.
	PlantReuseMemory
	// PlantGivesUp: a failure of the source that a new session mends is told as one that
	// none does.
	PlantGivesUp
	// PlantLetterLost: the store of dead letters loses one now and then.
	PlantLetterLost
	plants
)

var plantNames = [...]string{
	"none", "ack before durable", "feedback before saved", "skip after reconnect", "drop rarely", "swap key",
	"write twice", "position apart", "forget keys", "no fence", "parts visible", "save later", "mark forgotten",
	"stream forgets", "stream unfenced", "trim ahead", "missed wake", "reuse memory", "gives up", "letter lost",
}

// Plants are all bugs that there are.
func Plants() []Plant {
	var all []Plant
	for p := PlantNone + 1; p < plants; p++ {
		all = append(all, p)
	}
	return all
}

// String is the bug's name.
func (p Plant) String() string { return plantNames[min(p, plants-1)] }
