package webhook

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// A leaf is replaced in its time, without a write and without anybody noticing. The clock starts in the past, so that the API server,
// whose clock is the real one, finds all that is made valid.
func TestLeafRotation(t *testing.T) {
	l := newLab(t)
	l.options.Lifetimes = Lifetimes{CA: 3000 * time.Hour, Leaf: 1500 * time.Hour}
	l.clock.jump(-1400 * time.Hour)
	l.install()
	s, _ := l.start()
	l.eventuallyAdmitted()
	stopAsking, failures := l.askAllTheTime()
	first, before := s.keeper.state.Load(), testenv.Writes(t)
	l.clock.jump(999 * time.Hour)
	if l.looked(s).leaf != first.leaf {
		t.Error("a leaf is replaced before its time")
	}
	l.clock.jump(2 * time.Hour)
	l.until(s, "a new leaf", func(now *serving) bool { return now.leaf != first.leaf })
	stopAsking()
	if len(*failures) > 0 {
		t.Errorf("%d admissions failed, the first: %v", len(*failures), (*failures)[0])
	}
	if got := written(t, before); len(got) > 0 {
		t.Errorf("a new leaf costs the writes %v", got)
	}
}

// A CA is replaced in two steps, without anybody noticing.
func TestCARotation(t *testing.T) {
	l := newLab(t)
	l.options.Lifetimes = Lifetimes{CA: 3000 * time.Hour, Leaf: 3000 * time.Hour, Overlap: time.Hour}
	l.clock.jump(-2100 * time.Hour)
	l.install()
	s, _ := l.start()
	l.eventuallyAdmitted()
	stopAsking, failures := l.askAllTheTime()
	first, before := s.keeper.state.Load(), testenv.Writes(t)

	l.clock.jump(2001 * time.Hour)
	testenv.Eventually(t, "both CAs to be trusted", func() error {
		wake(s)
		for _, obj := range configurations(t, l.address) {
			if n := len(ownCAs(bundleOf(t, obj))); n != 2 {
				return fmt.Errorf("%d CAs", n)
			}
		}
		return nil
	})
	testenv.Eventually(t, "the note that they are", func() error {
		if parseAuthority(caSecret(t)).held.IsZero() {
			return errors.New("not yet")
		}
		return nil
	})
	l.clock.jump(59 * time.Minute)
	if now := l.looked(s); !signedBy(now.leaf.Leaf, first.ca) {
		t.Error("the next CA signs before its time")
	}
	l.clock.jump(time.Minute)
	second := l.until(s, "a leaf of the next CA", func(now *serving) bool {
		return !signedBy(now.leaf.Leaf, first.ca)
	})
	stopAsking()
	if len(*failures) > 0 {
		t.Errorf("%d admissions failed, the first: %v", len(*failures), (*failures)[0])
	}
	want := map[string]int{"update secrets": 3, "apply validatingwebhookconfigurations": 1, "apply mutatingwebhookconfigurations": 1}
	if diff := cmp.Diff(want, written(t, before)); diff != "" {
		t.Errorf("a new CA writes (-want +got):\n%s", diff)
	}
	if a := parseAuthority(caSecret(t)); a.next != nil || len(a.retired) != 1 || string(a.current.Certs[0].SubjectKeyId) != string(second.leaf.Leaf.AuthorityKeyId) {
		t.Errorf("the Secret after the change: next %v, %d retired", a.next != nil, len(a.retired))
	}
}

// until waits for a server's state, and for new connections to show it.
func (l *lab) until(s *Server, what string, is func(*serving) bool) (state *serving) {
	l.t.Helper()
	testenv.Eventually(l.t, what, func() error {
		wake(s)
		if state = s.keeper.state.Load(); !is(state) {
			return errors.New("not yet")
		}
		return l.shown(s, state)
	})
	if err := l.admitted(); err != nil {
		l.t.Errorf("with %s: %v", what, err)
	}
	return state
}

// askAllTheTime has the API server ask the webhook until it is told to stop; then failures are complete.
func (l *lab) askAllTheTime() (stop func(), failures *[]error) {
	failures = &[]error{}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := l.admitted(); err != nil {
				*failures = append(*failures, err)
			}
		}
	})
	return sync.OnceFunc(func() { close(done); wg.Wait() }), failures
}
