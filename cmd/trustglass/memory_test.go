package main

import (
	"runtime/debug"
	"testing"
)

const mib = 1 << 20

func TestWorthGivingBack(t *testing.T) {
	quiet := pace{sinceBrisk: restLooks}
	for _, tc := range []struct {
		reason string
		pace   pace
		now    memory
		want   bool
	}{
		{"quiet and tight", quiet, memory{live: 60 * mib, held: 63 * mib}, false},
		{"quiet after a burst", quiet, memory{live: 20 * mib, held: 60 * mib}, true},
		{"in the middle of a burst", pace{}, memory{live: 20 * mib, held: 60 * mib}, false},
		{"a tenth of a large heap", quiet, memory{live: 100 * mib, held: 109 * mib}, false},
	} {
		if got := tc.pace.worthGivingBack(tc.now); got != tc.want {
			t.Errorf("%s: %t", tc.reason, got)
		}
	}
}

// The heap may grow much while the daemon works hard, and little once it has not for a while, or while large caches are looked through.
func TestPace(t *testing.T) {
	var p pace
	step := func(allocated uint64, quiet bool, percent int) {
		t.Helper()
		if p = p.after(allocated); p.quiet() != quiet || p.percent(24*mib) != percent {
			t.Errorf("quiet %t, %d %%; want %t, %d %%", p.quiet(), p.percent(24*mib), quiet, percent)
		}
	}
	for range restLooks - 1 {
		step(0, false, 100)
	}
	step(brisk-1, true, gcPercentEasy)
	step(0, true, gcPercentEasy)
	step(brisk, false, gcPercentEasy) // it follows what others do
	step(hard, false, 100)
	for range restLooks - 1 {
		step(brisk, false, 100)
	}
	step(brisk, false, gcPercentEasy)
	p = pace{looking: true}
	for range 3 {
		step(hard, false, gcPercentEasy)
	}
	for range restLooks - 1 {
		step(0, false, gcPercentEasy)
	}
	step(0, true, gcPercentEasy)
	step(hard, false, 100) // looked through, once and for all
}

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 300, 8 * mib: 300, 24 * mib: 100, 48 * mib: 50, 200 * mib: 50} {
		if got := percentFor(live); got != want {
			t.Errorf("with %d MiB in use the heap may grow by %d %%, want %d", live/mib, got, want)
		}
	}
}

// A name that the runtime does not know would make readMemory panic here and not in production.
func TestReadMemory(t *testing.T) {
	garbage := make([]byte, 64<<20)
	before := readMemory()
	garbage[0] = 1
	garbage = nil
	debug.FreeOSMemory()
	after := readMemory()
	if before.held < 64<<20 || after.held > before.held-32<<20 || after.live == 0 || after.allocated < 64<<20 {
		t.Errorf("64 MiB were given back, and it reads %+v before and %+v after", before, after)
	}
	_ = garbage
}
