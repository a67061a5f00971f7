package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is how much a large heap may grow between two collections, unless GOGC says otherwise: half of Go's default. The daemon
	// spends little of its time allocating, and its memory is mostly what it keeps.
	gcPercent = 50
	// room is how much a small heap may grow: the percentage alone would have a burst spend a sixth of its processor time collecting.
	room = 24 << 20
	// gcPercentEasy holds while the daemon does not work hard, and a collection is seldom due. It holds too while all that large caches
	// were filled with is looked through: what is kept of that lies among what is not, and the gaps that are left stay for good.
	gcPercentEasy = 25
	// large is from how many bytes on caches are large.
	large = 32 << 20

	// lookInterval is how often memory is looked at.
	lookInterval = time.Second
	// brisk is how much is allocated between two looks by a daemon that is not quiet, and hard by one that issues as fast as it can.
	// Between the two it follows what others do.
	brisk, hard = 2 << 20, 16 << 20
	// restLooks is for how many looks there was less before the daemon counts as quiet, or as not working hard any more.
	restLooks = 5
	// slack is how much unused memory is not worth a collection.
	slack = 4 << 20
)

// memory is what the runtime says of its heap, in bytes.
type memory struct {
	allocated uint64 // ever
	live      uint64 // found in use by the last collection
	held      uint64 // objects, in use or not, and free memory that the operating system has not got back
}

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return memory{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), held: s[2].Value.Uint64() + s[3].Value.Uint64()}
}

// pace is how much has been happening.
type pace struct {
	sinceBrisk, sinceHard int  // how many looks ago, up to restLooks
	looking               bool // large caches are being looked through for the first time
}

// after returns the pace after a look that found so many bytes allocated since the last one.
func (p pace) after(allocated uint64) pace {
	p.sinceBrisk, p.sinceHard = min(p.sinceBrisk+1, restLooks), min(p.sinceHard+1, restLooks)
	if allocated >= brisk {
		p.sinceBrisk = 0
	}
	if allocated >= hard {
		p.sinceHard = 0
	}
	p.looking = p.looking && !p.quiet()
	return p
}

func (p pace) quiet() bool { return p.sinceBrisk >= restLooks }

// percent returns how much the heap may grow between two collections, in percent of what is live.
func (p pace) percent(live uint64) int {
	if p.looking || p.sinceHard >= restLooks {
		return gcPercentEasy
	}
	return percentFor(live)
}

// worthGivingBack tells whether a quiet process holds much that it does not need: the rest of a burst, which without new work no
// collection would ever clear away.
func (p pace) worthGivingBack(now memory) bool {
	return p.quiet() && now.held > now.live+max(slack, now.live/10)
}

// percentFor returns by how much the heap of a daemon that works hard may grow, in percent of what is live.
func percentFor(live uint64) int {
	return max(gcPercent, int(100*room/max(live, 8<<20)))
}

// setGCPercent sets how much the heap may grow, unless the environment does.
func setGCPercent(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// giveBack returns memory to the operating system whenever a burst, or the filling of the caches, is over; until ctx ends. It starts
// when the caches are full.
func giveBack(ctx context.Context) error {
	runtime.GC() // what is live is known after a collection only, and the last may have been when the caches were half full
	before := readMemory()
	p := pace{sinceHard: restLooks, looking: before.live >= large}
	set := p.percent(before.live)
	setGCPercent(set)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readMemory()
		p = p.after(now.allocated - before.allocated)
		if percent := p.percent(now.live); percent < set || percent > set+set/4 {
			setGCPercent(percent)
			set = percent
		}
		if p.worthGivingBack(now) {
			debug.FreeOSMemory()
			now = readMemory()
		}
		before = now
	}
}
