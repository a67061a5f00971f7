package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// giveBackInterval is how often memory is looked at.
	giveBackInterval = 5 * time.Second
	// calm is how much may have been allocated since the last look for the daemon to count as idle.
	calm = 8 << 20
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

// worthGivingBack tells whether a process that was quiet between two looks holds much that it does not need: the rest of a burst,
// which without new work no collection would ever clear away.
func worthGivingBack(before, now memory) bool {
	return now.allocated-before.allocated < calm && now.held > now.live+max(slack, now.live/10)
}

// giveBack returns memory to the operating system whenever a burst, or the filling of the caches, is over; until ctx ends.
func giveBack(ctx context.Context) error {
	tick := time.NewTicker(giveBackInterval)
	defer tick.Stop()
	for before := readMemory(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readMemory()
		if worthGivingBack(before, now) {
			debug.FreeOSMemory()
			now = readMemory()
		}
		before = now
	}
}
