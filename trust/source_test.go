package trust

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestTake(t *testing.T) {
	ref := sourceRef{Kind: "Secret", Name: "s"}
	obj := &payload{Values: map[string][]byte{"b": []byte("2"), "a": []byte("1")}}
	for _, tc := range []struct {
		reason  string
		obj     *payload
		picks   []pick
		want    []string
		refused string
	}{
		{reason: "a key", obj: obj, picks: []pick{{Key: "a", Named: true}}, want: []string{"1"}},
		{reason: "all keys, in order", obj: obj, picks: []pick{{All: true}}, want: []string{"1", "2"}},
		{reason: "a key asked for twice is taken once", obj: obj, picks: []pick{{Key: "a"}, {All: true}}, want: []string{"1", "2"}},
		{reason: "a missing key", obj: obj, picks: []pick{{Key: "c", Named: true}}, refused: reasonSourceNotFound},
		{reason: "a missing key of a selected object", obj: obj, picks: []pick{{Key: "c"}}, refused: reasonSourceNotFound},
		{reason: "a missing object", picks: []pick{{Key: "a", Named: true}}, refused: reasonSourceNotFound},
		{reason: "a selected object that has gone meanwhile", picks: []pick{{Key: "a"}}},
		{reason: "all keys of a TLS Secret include its private key", obj: &payload{TLS: true, Values: obj.Values}, picks: []pick{{All: true}}, refused: reasonSourceBuildError},
		{reason: "another key of its own target", obj: &payload{Output: []string{"b"}, Values: obj.Values}, picks: []pick{{Key: "a"}}, want: []string{"1"}},
		{reason: "a key that it wrote under an earlier spec", obj: &payload{Output: []string{"a", "c"}, Values: obj.Values}, picks: []pick{{All: true}}, want: []string{"2"}},
		{reason: "its own key", obj: &payload{Output: []string{"b"}, Values: obj.Values}, picks: []pick{{Key: "b"}}},
		{reason: "all keys but its own", obj: &payload{Output: []string{"b"}, Values: obj.Values}, picks: []pick{{All: true}}, want: []string{"1"}},
		{reason: "a selected key that its own target does not have", obj: &payload{Output: []string{"b"}, Values: obj.Values}, picks: []pick{{Key: "c"}}},
		{reason: "a named key that its own target does not have", obj: &payload{Output: []string{"b"}, Values: obj.Values}, picks: []pick{{Key: "c", Named: true}}, refused: reasonSourceNotFound},
		{reason: "one key of a TLS Secret", obj: &payload{TLS: true, Values: obj.Values}, picks: []pick{{Key: "a"}}, want: []string{"1"}},
	} {
		inputs, refusal := take(ref, "trust", tc.obj, tc.picks)
		var got []string
		for _, in := range inputs {
			got = append(got, string(in.PEM))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || reasonOf(refusal) != tc.refused {
			t.Errorf("%s: refused %v, want %q; inputs (-want +got):\n%s", tc.reason, refusal, tc.refused, diff)
		}
	}
}

func TestUses(t *testing.T) {
	b := &trustapi.Bundle{Spec: trustapi.BundleSpec{Sources: []trustapi.BundleSource{
		{InLine: "x"},
		{ConfigMap: &trustapi.SourceObjectKeySelector{Name: "named", Key: "k"}},
		{Secret: &trustapi.SourceObjectKeySelector{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"ca": "yes"}}, Key: "k"}},
	}}}
	for _, tc := range []struct {
		reason string
		ref    sourceRef
		labels labels.Set
		want   bool
	}{
		{reason: "named", ref: sourceRef{"ConfigMap", "named"}, want: true},
		{reason: "a Secret of that name", ref: sourceRef{"Secret", "named"}},
		{reason: "another name", ref: sourceRef{"ConfigMap", "other"}},
		{reason: "selected", ref: sourceRef{"Secret", "other"}, labels: labels.Set{"ca": "yes"}, want: true},
		{reason: "a ConfigMap with those labels", ref: sourceRef{"ConfigMap", "other"}, labels: labels.Set{"ca": "yes"}},
		{reason: "other labels", ref: sourceRef{"Secret", "other"}, labels: labels.Set{"ca": "no"}},
	} {
		if got := uses(b, tc.ref, tc.labels); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.reason, got, tc.want)
		}
	}
}

func TestOutputKeys(t *testing.T) {
	bundle := &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "u"}, Spec: trustapi.BundleSpec{
		Target: trustapi.BundleTarget{ConfigMap: &trustapi.TargetTemplate{Key: "ca.crt"}},
	}}
	owner := func(uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{UID: uid, Controller: ptr.To(true)}}
	}
	fields := []metav1.ManagedFieldsEntry{{Manager: FieldManager, FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:before.crt":{}}}`)}}
	for _, tc := range []struct {
		reason   string
		meta     metav1.ObjectMeta
		noTarget bool
		want     []string
	}{
		{reason: "its own by owner", meta: metav1.ObjectMeta{Name: "b", OwnerReferences: owner("u")}, want: []string{"ca.crt"}},
		{reason: "with the key of an earlier spec", meta: metav1.ObjectMeta{Name: "b", OwnerReferences: owner("u"), ManagedFields: fields}, want: []string{"before.crt", "ca.crt"}},
		{reason: "left by an earlier Bundle of the name", meta: metav1.ObjectMeta{Name: "b", ManagedFields: fields}, want: []string{"before.crt", "ca.crt"}},
		{reason: "given to it by the label", meta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{LabelBundle: "b"}}, want: []string{"ca.crt"}},
		{reason: "made by hand", meta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"feeds": "b"}}},
		{reason: "somebody else's", meta: metav1.ObjectMeta{Name: "b", OwnerReferences: owner("v")}},
		{reason: "another name", meta: metav1.ObjectMeta{Name: "c", OwnerReferences: owner("u")}},
		{reason: "the Bundle has no target", meta: metav1.ObjectMeta{Name: "b", OwnerReferences: owner("u")}, noTarget: true},
	} {
		b := bundle.DeepCopy()
		if tc.noTarget {
			b.Spec.Target = trustapi.BundleTarget{}
		}
		if diff := cmp.Diff(tc.want, outputKeys(b, tc.meta)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}

// A Bundle that is refused costs no live read until something changes, however many sources it has and whichever is wrong.
func TestRefusedIsNotReadAgain(t *testing.T) {
	good := testCert(t, "a", nil)
	for _, tc := range []struct {
		reason string
		bad    map[string]string // nil: it does not exist
	}{
		{reason: "missing"},
		{reason: "without the key", bad: map[string]string{"other": good}},
		{reason: "with a private key", bad: map[string]string{"k": testKey(t)}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w, reads := newWorld(t), 0
			var bad client.Object
			if tc.bad != nil {
				bad = w.source("ConfigMap", "-2", tc.bad)
			}
			for _, suffix := range []string{"-1", "-3"} { // before and after it, in the order of reading
				w.source("ConfigMap", suffix, map[string]string{"k": good})
			}
			base, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
			if err != nil {
				t.Fatal(err)
			}
			r := &Reconciler{Cache: testenv.Admin(), Client: interceptor.NewClient(base, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					reads++
					return c.Get(ctx, key, obj, opts...)
				},
			})}
			b := &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: w.name, UID: "u", Generation: 1}, Spec: trustapi.BundleSpec{Sources: []trustapi.BundleSource{
				byName(w, "ConfigMap", "-1", "k"), byName(w, "ConfigMap", "-2", "k"), byName(w, "ConfigMap", "-3", "k"),
			}}}
			var m memo
			publish := func(refused bool) (readsNow int) {
				t.Helper()
				before := reads
				_, err := r.publish(context.Background(), b, &m, start)
				var refusal *Refusal
				if errors.As(err, &refusal) != refused || err != nil && refusal == nil {
					t.Fatalf("publishing: %v", err)
				}
				return reads - before
			}
			if publish(true) == 0 {
				t.Error("nothing was read at first")
			}
			if n := publish(true); n != 0 {
				t.Errorf("%d reads though nothing has changed", n)
			}
			if bad == nil {
				w.source("ConfigMap", "-2", map[string]string{"k": good})
			} else {
				w.setData(bad, map[string]string{"k": good})
			}
			if n := publish(false); n != 3 {
				t.Errorf("%d reads after it was put right", n)
			}
			if n := publish(false); n != 0 {
				t.Errorf("%d reads though nothing has changed since", n)
			}
		})
	}
}

// A selector takes a ConfigMap of the Bundle's name that is not its target like any other; of its target only what others keep there.
func TestSourceOfItsOwnName(t *testing.T) {
	a, b, c := testCert(t, "a", nil), testCert(t, "b", nil), testCert(t, "c", nil)
	w := newWorld(t)
	namespaces := w.namespaces(1)
	home := w.source("ConfigMap", "", map[string]string{"ca.crt": a})
	w.run()
	w.bundle(func(s *trustapi.BundleSpec) {
		s.Target.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{namespaces[0], DefaultTrustNamespace}}}}
	}, trustapi.BundleSource{InLine: b}, asSource("ConfigMap", trustapi.SourceObjectKeySelector{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"feeds": w.name}}, IncludeAllKeys: ptr.To(true)}))
	w.holds(namespaces, map[string]string{"ca.crt": joined(a, b)})
	w.condition(reasonTargetFailed) // a stranger's in the trust namespace

	// Given to the Bundle, it feeds it no more with the key that the Bundle writes.
	patchLabels(t, home, map[string]any{LabelBundle: w.name})
	both := append(namespaces, DefaultTrustNamespace)
	w.holds(both, map[string]string{"ca.crt": joined(b)})
	live, err := w.target(DefaultTrustNamespace)
	if err != nil {
		t.Fatal(err)
	}
	live.Data["mine"] = c
	if err := testenv.Admin().Update(context.Background(), live); err != nil {
		t.Fatal(err)
	}
	w.holds(namespaces, map[string]string{"ca.crt": joined(b, c)})
	w.holds(both[1:], map[string]string{"ca.crt": joined(b, c), "mine": c})
	w.condition(reasonSynced)
}
