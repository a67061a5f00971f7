package inject

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	soon, late, past := start.AddDate(0, 1, 0), start.AddDate(1, 0, 0), start.AddDate(0, -1, 0)
	a, b, old := testCA(t, "a", soon), testCA(t, "b", late), testCA(t, "old", past)
	two := func(first, second string) []Slot {
		return []Slot{{Webhook: "x", Bundle: []byte(first)}, {Webhook: "y", Bundle: []byte(second)}}
	}
	broken := refuse(reasonSourceNotFound, "no such thing")
	var many []Slot
	for range 2000 {
		many = append(many, Slot{Webhook: "x"})
	}
	for _, tc := range []struct {
		reason string
		state  State
		want   Decision
	}{
		{"without a CA nothing changes", State{Refusal: broken, Slots: two(a, "")}, Refuse{broken}},
		{"at first the bundle is the CA", State{CA: parsed(t, b), Slots: two("", "")}, Inject{two(b, b), late}},
		{"a placeholder counts as nothing", State{CA: parsed(t, b), Slots: two("\n", "\n")}, Inject{two(b, b), late}},
		{"what cannot be read is replaced", State{CA: parsed(t, b), Slots: two("garbage", "garbage")}, Inject{two(b, b), late}},
		{"what can be read of the rest is kept", State{CA: parsed(t, b), Slots: two(a+testKey(t), a)}, Inject{two(a+b, a+b), soon}},
		{"what is right stays", State{CA: parsed(t, b), Slots: two(a+b, a+b)}, Keep{soon}},
		{"and what is right but written in another way", State{CA: parsed(t, b), Slots: two("# CA\n"+b, strings.TrimSpace(b))}, Keep{late}},
		{"a new CA joins", State{CA: parsed(t, b), Slots: two(a, a)}, Inject{two(a+b, a+b), soon}},
		{"the webhook that lacks it is brought up to date, the others are written as they are", State{CA: parsed(t, b), Slots: two(b, "")}, Inject{two(b, b), late}},
		{"each webhook has its own past", State{CA: parsed(t, b), Slots: two(a, b)}, Inject{two(a+b, b), soon}},
		{"expired certificates go", State{CA: parsed(t, b), Slots: two(old+b, b)}, Inject{two(b, b), late}},
		{"duplicates go", State{CA: parsed(t, b), Slots: two(b+b, b)}, Inject{two(b, b), late}},
		{"an expired certificate of the source is left out", State{CA: parsed(t, old, b), Slots: two("", "")}, Inject{two(b, b), late}},
		{
			"an expired CA removes nothing",
			State{CA: parsed(t, old), Source: "ca.crt of Secret ns/s", Slots: two(old, a)},
			Refuse{refuse(reasonSourceInvalid, "every certificate in ca.crt of Secret ns/s has expired; renew it")},
		},
		{"without a place there is nothing to do", State{CA: parsed(t, b)}, Keep{}},
		{
			"what does not fit is refused",
			State{CA: parsed(t, b), Source: "ca.crt of Secret ns/s", Slots: many},
			Refuse{refuse(reasonSourceInvalid, "ca.crt of Secret ns/s has %d bytes of certificates, and each of the target's 2000 webhooks has room for 393; leave only the CA's own certificates in it", len(b))},
		},
	} {
		tc.state.Now = start
		if diff := cmp.Diff(tc.want, plan(tc.state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// The bundles of a target are bounded however often its CA changes.
func TestPlanIsBounded(t *testing.T) {
	var text strings.Builder
	for text.Len() < 900<<10 {
		text.WriteString(testCA(t, strings.Repeat("x", 64), start.AddDate(1, 0, 0)))
	}
	ca := testCA(t, "new", start.AddDate(1, 0, 0))
	todo, ok := plan(State{CA: parsed(t, ca), Slots: []Slot{{Bundle: []byte(text.String())}}, Now: start}).(Inject)
	if !ok {
		t.Fatal("not injected")
	}
	if n := len(todo.Slots[0].Bundle); n > maxTargetBytes || n < maxTargetBytes/2 || !strings.HasSuffix(string(todo.Slots[0].Bundle), ca) {
		t.Errorf("wrote %d bytes", n)
	}
}
