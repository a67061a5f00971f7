package trust

import (
	"testing"
	"time"
)

func TestRecheck(t *testing.T) {
	for _, tc := range []struct {
		reason  string
		until   time.Duration // from start; 0 for never
		again   time.Duration
		refused bool
		want    time.Duration
	}{
		{reason: "nothing to wait for"},
		{reason: "after the last second", until: time.Minute, want: time.Minute + time.Second},
		{reason: "a clock may be set", until: 1000 * time.Hour, want: 10 * time.Minute},
		{reason: "the time has come", until: -time.Hour, want: time.Second},
		{reason: "a namespace to look at again", again: time.Minute, want: time.Minute},
		{reason: "a namespace comes first", until: time.Hour, again: time.Minute, want: time.Minute},
		{reason: "a certificate comes first", until: time.Minute, again: time.Hour, want: time.Minute + time.Second},
		{reason: "a refused Bundle waits for an event", again: time.Minute, refused: true},
	} {
		o := observed{Now: start, memo: &memo{}}
		if tc.until != 0 {
			o.Pool.Until = start.Add(tc.until)
		}
		if tc.again != 0 {
			o.memo.places.notable = map[string]place{"n": {again: start.Add(tc.again)}}
		}
		if tc.refused {
			o.Refusal = &Refusal{}
		}
		if got := o.recheck(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
}
