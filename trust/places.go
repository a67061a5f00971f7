package trust

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// freeRepairs of one target are made at once. Each one after that waits, twice as long as the last: from firstPause up to
	// maxPause. So two clients that undo each other's writes do it now and then, and not as fast as they can.
	freeRepairs = 5
	firstPause  = time.Second
	// firstRetry is how long after a first failed write the next one is made; it doubles too, up to maxPause.
	firstRetry = 200 * time.Millisecond
	maxPause   = 5 * time.Minute
	// peace is how long a target has to stay as it was written until its repairs are forgotten.
	peace = 10 * time.Minute
)

// doubled returns first after no doubling, twice that after one, and so on up to maxPause.
func doubled(first time.Duration, times int) time.Duration {
	return min(first<<min(times, 20), maxPause) // 20 times firstRetry is days
}

// state of a target, as metrics count it.
type state string

const (
	stateSynced    state = "synced"
	stateConflict  state = "conflict"
	stateFailed    state = "failed"
	stateContested state = "contested"
)

// pass is what targets are held against. While it stays the same, only namespaces with news need a look.
type pass struct {
	uid        types.UID
	generation int64
	want       Desired // zero: no target
}

// place is what is remembered of a namespace in which something is amiss, or was of late.
type place struct {
	state   state     // empty: nothing is amiss
	err     error     // why the last write failed
	tries   int       // failed writes in a row
	again   time.Time // when to look there without an event; zero for never
	repairs repairs
}

// repairs counts the writes that put back one target, though the Bundle was the same.
type repairs struct {
	n      int
	last   time.Time
	writer string // another field manager that had written last; empty if unknown
}

// until returns when the next repair may be made; zero for at once.
func (r repairs) until() time.Time {
	if r.n < freeRepairs {
		return time.Time{}
	}
	return r.last.Add(doubled(firstPause, r.n-freeRepairs))
}

// pause returns until when no target is written there; zero if one may be.
func (p place) pause() time.Time {
	if p.state == stateFailed {
		return p.again
	}
	return p.repairs.until()
}

// after returns what is remembered of a namespace after an action there, and whether a target is there, or is to be. found is what
// was there before. repair tells that a write of the same content had been there.
func (p place) after(res result, repair bool, found Found, now time.Time) (_ place, target bool) {
	_, taken := res.Action.(Clean)
	switch {
	case res.gone(), res.Err == nil && taken:
		return place{}, false
	case res.stale():
		p.again = now
		return p, !taken
	case res.Err != nil:
		p.state, p.err, p.again = stateFailed, res.Err, now.Add(doubled(firstRetry, p.tries))
		p.tries++
		return p, !taken
	}
	writer := cmp.Or(found.Writer, p.repairs.writer)
	if p.state == stateContested { // once told, it stays the same: somebody who sets a label now is not the one
		writer = cmp.Or(p.repairs.writer, found.Writer)
	}
	next := place{repairs: p.repairs}
	switch a := res.Action.(type) {
	case Hold:
		if p.state == stateFailed {
			return p, true
		}
		next.state, next.again, next.repairs.writer = stateContested, a.Until, writer
		return next, true
	case Apply:
		if repair {
			next.repairs = repairs{n: p.repairs.n + 1, last: now, writer: writer}
		}
	}
	if now.Sub(next.repairs.last) >= peace {
		next.repairs = repairs{}
	}
	if next.repairs.n > 0 {
		next.again = next.repairs.last.Add(peace)
		if p.state == stateContested {
			next.state = stateContested
		}
	}
	if _, refused := res.Action.(Refuse); refused {
		next.state = stateConflict
	}
	return next, true
}

// places is how the targets of one Bundle are, by namespace.
type places struct {
	targets map[string]bool // where one is, or is to be
	notable map[string]place
}

// due returns where it is time to look again, and when it will be time for the next; zero for never.
func (p places) due(now time.Time) (namespaces []string, next time.Time) {
	for ns, pl := range p.notable {
		switch {
		case pl.again.IsZero():
		case !pl.again.After(now):
			namespaces = append(namespaces, ns)
		case next.IsZero() || pl.again.Before(next):
			next = pl.again
		}
	}
	return namespaces, next
}

// update remembers what a reconciliation has found and done in the namespaces that it looked at.
func (p *places) update(o observed, done []result) {
	before := *p
	if o.Everywhere {
		*p = places{targets: make(map[string]bool, len(done)), notable: map[string]place{}}
	} else {
		before = p.cut(o.Looked)
	}
	for _, res := range done {
		ns := res.namespace()
		was := before.notable[ns]
		repair := o.Again && before.targets[ns] && (was.state == "" || was.state == stateContested)
		pl, target := was.after(res, repair, o.State.Found[ns], o.Now)
		if target {
			p.targets[ns] = true
		}
		if pl.state != "" || !pl.again.IsZero() {
			p.notable[ns] = pl
		}
	}
	for _, ns := range o.Behind {
		pl := p.notable[ns]
		if pl.again.IsZero() {
			pl.again = o.Now.Add(settle)
		}
		p.notable[ns] = pl
	}
}

// cut takes out what is remembered of some namespaces.
func (p *places) cut(namespaces []string) places {
	out := places{targets: map[string]bool{}, notable: map[string]place{}}
	for _, ns := range namespaces {
		if p.targets[ns] {
			out.targets[ns] = true
			delete(p.targets, ns)
		}
		if pl, ok := p.notable[ns]; ok {
			out.notable[ns] = pl
			delete(p.notable, ns)
		}
	}
	return out
}

// count returns how many targets are in each state.
func (p places) count() map[state]int {
	n := map[state]int{stateSynced: len(p.targets), stateConflict: 0, stateFailed: 0, stateContested: 0}
	for ns, pl := range p.notable {
		if pl.state == "" {
			continue
		}
		n[pl.state]++
		if p.targets[ns] {
			n[stateSynced]--
		}
	}
	return n
}

// problems are the targets that are not as they should be, in the order of their namespaces.
type problems struct {
	Failed    []failure
	Conflicts []string
	Contested []string
	Writers   []string // the field managers that contest them, as far as known
}

type failure struct {
	Namespace string
	Err       error
}

func (p places) problems() problems {
	var out problems
	writers := map[string]bool{}
	for _, ns := range slices.Sorted(maps.Keys(p.notable)) {
		switch pl := p.notable[ns]; pl.state {
		case stateFailed:
			out.Failed = append(out.Failed, failure{Namespace: ns, Err: pl.err})
		case stateConflict:
			out.Conflicts = append(out.Conflicts, ns)
		case stateContested:
			out.Contested = append(out.Contested, ns)
			if pl.repairs.writer != "" {
				writers[pl.repairs.writer] = true
			}
		}
	}
	out.Writers = slices.Sorted(maps.Keys(writers))
	return out
}
