package reflector

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	secrets  = schema.GroupResource{Resource: "secrets"}
	noQuota  = apierrors.NewForbidden(secrets, "s", errors.New("exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"))
	typeDiff = apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "s", nil)
)

func TestTally(t *testing.T) {
	done := []result{
		{Action: Create{"a"}, Wrote: true},
		{Action: Create{"b"}, Void: true},
		{Action: Create{"c"}, Err: noQuota},
		{Action: Update{}, Wrote: true},
		{Action: Delete{}, Wrote: true},
		{Action: Delete{}, Err: errStale},
		{Action: Keep{Synced: true}},
		{Action: Keep{}},
		{Action: Refuse{Reason: Conflict}},
		{Action: Refuse{Reason: NotPermitted}},
		{Action: Refuse{Reason: Declined}},
		{Action: Refuse{Reason: InvalidPattern}},
	}
	if diff := cmp.Diff(counts{synced: 3, conflict: 1, denied: 2, failed: 2}, tally(done)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := summary(tally(done), done); got != "reflected to 3 of 8 namespaces, removed from 1" {
		t.Error(got)
	}
}

func TestNotices(t *testing.T) {
	r := &Reconciler{Kind: KindSecret}
	done := []result{
		{Action: Refuse{Reason: Conflict, At: at("b", "s")}},
		{Action: Refuse{Reason: Conflict, At: at("a", "s")}},
		{Action: Refuse{Reason: NotPermitted, At: at("c", "p"), UID: "m"}},
		{Action: Refuse{Reason: Declined, At: at("d", "s")}},
		{Action: Create{"e"}, Err: fmt.Errorf("mirroring to e/s: %w", noQuota)},
		{Action: Create{"f"}, Err: errStale},
	}
	var got []string
	for _, n := range r.notices(State{Key: home, Source: pushing()}, done) {
		got = append(got, fmt.Sprintf("%s %s %s", n.reason, n.at, n.message[:min(len(n.message), 40)]))
	}
	want := map[string]bool{
		"Conflict home/s not mirrored to a, b: a Secret named s t":     true,
		"NotPermitted home/s mirrors in c ask for this Secret and are": true,
		"NotPermitted c/p Secret home/s does not permit mirrors in":    true,
		"MirrorFailed home/s mirroring to e failed: Forbidden: exceed": true,
	}
	have := map[string]bool{}
	for _, n := range got {
		have[n] = true
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPIReason(t *testing.T) {
	for _, tc := range []struct {
		reason string
		err    error
		want   string
	}{
		{"a quota is named, its figures would make every attempt news", noQuota, "Forbidden: exceeded quota: q"},
		{"an object that can't take the data", typeDiff, "Invalid; the object there can't take this data (another type, or immutable): delete it or give it the source's type"},
		{"no answer", errors.New("dial tcp: hunter2"), "the API server did not answer; it is tried again"},
		{"too busy", apierrors.NewTooManyRequests("x", 1), "TooManyRequests; it is tried again"},
		{"a long denial is cut", apierrors.NewForbidden(secrets, "s", errors.New(strings.Repeat("x", 999))), "Forbidden: " + strings.Repeat("x", 200)},
	} {
		if got := apiReason(fmt.Errorf("mirroring to a/s: %w", tc.err)); got != tc.want {
			t.Errorf("%s: %s", tc.reason, got)
		}
	}
}

func TestErrorsAreSorted(t *testing.T) {
	terminating := apierrors.NewForbidden(secrets, "s", errors.New("x"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for _, tc := range []struct {
		reason               string
		err                  error
		race, terminal, gone bool
	}{
		{"a mirror that has changed", apierrors.NewConflict(secrets, "s", nil), true, false, false},
		{"an object that is there already", apierrors.NewAlreadyExists(secrets, "s"), true, false, false},
		{"seen by a read", fmt.Errorf("x: %w", errStale), true, false, false},
		{"another type", typeDiff, false, true, false},
		{"a quota", noQuota, false, false, false},
		{"a namespace on its way out", terminating, false, false, true},
		{"a namespace that is gone", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "a"), false, false, true},
		{"another namespace", apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "b"), false, false, false},
		{"an object that is gone", apierrors.NewNotFound(secrets, "a"), false, false, false},
		{"success", nil, false, false, false},
	} {
		if got := lostRace(tc.err); got != tc.race {
			t.Errorf("%s: lostRace = %t", tc.reason, got)
		}
		if got := terminal(tc.err); got != tc.terminal {
			t.Errorf("%s: terminal = %t", tc.reason, got)
		}
		if got := namespaceGone(tc.err, at("a", "s")); got != tc.gone {
			t.Errorf("%s: namespaceGone = %t", tc.reason, got)
		}
	}
}

func TestEnumerate(t *testing.T) {
	names := strings.Split("j i h g f e d c b a a", " ")
	if got := enumerate(names); got != "a, b, c, d, e, f, g, h and 2 more" {
		t.Error(got)
	}
}

func TestRegisterMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	if err := RegisterMetrics(reg); err != nil {
		t.Fatal(err)
	}
	if err := RegisterMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}
