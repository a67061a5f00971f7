package main

import (
	"runtime/debug"
	"testing"
)

func TestWorthGivingBack(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		reason      string
		before, now memory
		want        bool
	}{
		{"idle and tight", memory{allocated: 500 * mib}, memory{501 * mib, 60 * mib, 63 * mib}, false},
		{"idle after a burst", memory{allocated: 500 * mib}, memory{501 * mib, 20 * mib, 60 * mib}, true},
		{"in the middle of a burst", memory{allocated: 500 * mib}, memory{600 * mib, 20 * mib, 60 * mib}, false},
		{"a tenth of a large heap", memory{allocated: 500 * mib}, memory{501 * mib, 100 * mib, 109 * mib}, false},
	} {
		if got := worthGivingBack(tc.before, tc.now); got != tc.want {
			t.Errorf("%s: %t", tc.reason, got)
		}
	}
}

func TestPercentFor(t *testing.T) {
	const mib = 1 << 20
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
