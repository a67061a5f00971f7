package trust

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

func byName(w *world, kind, suffix, key string) trustapi.BundleSource {
	return asSource(kind, trustapi.SourceObjectKeySelector{Name: w.name + suffix, Key: key})
}

func asSource(kind string, ref trustapi.SourceObjectKeySelector) trustapi.BundleSource {
	if kind == "Secret" {
		return trustapi.BundleSource{Secret: &ref}
	}
	return trustapi.BundleSource{ConfigMap: &ref}
}

// All targets follow when a source is added to the Bundle, modified and removed again, for each kind of source.
func TestSources(t *testing.T) {
	a, b, c := testCert(t, "a", nil), testCert(t, "b", nil), testCert(t, "c", nil)
	for _, kind := range []string{"ConfigMap", "Secret"} {
		t.Run(kind+" by name and key", func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(2)
			src := w.source(kind, "", map[string]string{"k": b, "other": c})
			w.run()
			inLine := trustapi.BundleSource{InLine: a}
			w.bundle(nil, inLine)
			w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
			w.change(func(s *trustapi.BundleSpec) { s.Sources = append(s.Sources, byName(w, kind, "", "k")) })
			w.holds(namespaces, map[string]string{"ca.crt": joined(a, b)})
			w.saw("Normal BundleChanged Added CN=b")
			w.setData(src, map[string]string{"k": c})
			w.holds(namespaces, map[string]string{"ca.crt": joined(a, c)})
			w.saw("Normal BundleChanged Added CN=c")
			w.change(func(s *trustapi.BundleSpec) { s.Sources = []trustapi.BundleSource{inLine} })
			w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
			w.condition(reasonSynced)
		})
		t.Run(kind+" including all keys, by selector", func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(2)
			src := w.source(kind, "-1", map[string]string{"k": a})
			w.run()
			w.bundle(nil, asSource(kind, trustapi.SourceObjectKeySelector{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"feeds": w.name}}, IncludeAllKeys: ptr.To(true)}))
			w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
			w.setData(src, map[string]string{"k": a, "new": b})
			w.holds(namespaces, map[string]string{"ca.crt": joined(a, b)})
			w.setData(src, map[string]string{"k": c, "new": b})
			w.holds(namespaces, map[string]string{"ca.crt": joined(b, c)})
			w.setData(src, map[string]string{"k": c})
			w.holds(namespaces, map[string]string{"ca.crt": joined(c)})
			second := w.source(kind, "-2", map[string]string{"k": a})
			w.holds(namespaces, map[string]string{"ca.crt": joined(a, c)})
			patchLabels(t, second, map[string]any{"feeds": nil})
			w.holds(namespaces, map[string]string{"ca.crt": joined(c)})
		})
	}
	t.Run("ConfigMap with binaryData", func(t *testing.T) {
		w := newWorld(t)
		namespaces := w.namespaces(1)
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: DefaultTrustNamespace, Name: w.name + "-src"}, BinaryData: map[string][]byte{"k": []byte(a)}})
		w.run()
		w.bundle(nil, byName(w, "ConfigMap", "-src", "k"))
		w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
	})
}

// Targets follow the Bundle's target: key, metadata, none.
func TestTargetChanges(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(2)
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	w.holds(namespaces, map[string]string{"ca.crt": joined(a)})

	w.change(func(s *trustapi.BundleSpec) { s.Target.ConfigMap.Key = "other.crt" })
	w.holds(namespaces, map[string]string{"other.crt": joined(a)})

	w.change(func(s *trustapi.BundleSpec) {
		s.Target.ConfigMap.Metadata = trustapi.TargetMetadata{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "2"}}
	})
	testenv.Eventually(t, "metadata on the targets", func() error {
		for _, ns := range namespaces {
			if c, err := w.target(ns); err != nil || c.Labels["l"] != "1" || c.Annotations["a"] != "2" {
				return fmt.Errorf("%v %v %v", c.Labels, c.Annotations, err)
			}
		}
		return nil
	})
	w.change(func(s *trustapi.BundleSpec) { s.Target.ConfigMap.Metadata = trustapi.TargetMetadata{} })
	testenv.Eventually(t, "no metadata on the targets", func() error {
		if c, err := w.target(namespaces[0]); err != nil || c.Labels["l"]+c.Annotations["a"] != "" {
			return fmt.Errorf("%v %v %v", c.Labels, c.Annotations, err)
		}
		return nil
	})

	w.condition(reasonSynced)
	before := w.quiet()
	w.change(func(s *trustapi.BundleSpec) { s.Target = trustapi.BundleTarget{} })
	w.lacks(namespaces...)
	w.condition(reasonSynced)
	if diff := cmp.Diff(map[string]int{"delete configmaps": 2, "apply bundles/status": 1}, w.wrote(before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// Only selected namespaces have a target, whatever order labels, namespaces and Bundle come in.
func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	in := w.namespaces(1)
	out := testenv.Namespace(t, nil)
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	data := map[string]string{"ca.crt": joined(a)}
	w.holds(in, data)
	if want, got := "Successfully synced Bundle to namespaces that match this label selector: bundle="+w.name, w.condition(reasonSynced); got != want {
		t.Errorf("message %q, want %q", got, want)
	}

	late := w.namespaces(1)
	w.holds(late, data)
	patchLabels(t, namespace(out), map[string]any{"bundle": w.name})
	w.holds([]string{out}, data)
	patchLabels(t, namespace(in[0]), map[string]any{"bundle": nil})
	w.lacks(in[0])

	if err := testenv.Admin().Delete(context.Background(), namespace(late[0])); err != nil {
		t.Fatal(err)
	}
	w.lacks(late[0])
	before := w.quiet()
	patchLabels(t, namespace(out), map[string]any{"unrelated": "x"})
	if diff := cmp.Diff(map[string]int{}, w.wrote(before)); diff != "" {
		t.Errorf("an unrelated label causes writes (-want +got):\n%s", diff)
	}
	w.condition(reasonSynced)
}

// A target does not change when nothing changes, and a restart writes nothing.
func TestWriteBudget(t *testing.T) {
	for _, tc := range []struct {
		reason string
		meta   trustapi.TargetMetadata
	}{
		{reason: "plain"},
		{reason: "with labels", meta: trustapi.TargetMetadata{Labels: map[string]string{"x": "1", "y": "2"}}},
		{reason: "with annotations", meta: trustapi.TargetMetadata{Annotations: map[string]string{"x": "1", "y": "2"}}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(5)
			src := w.source("Secret", "", map[string]string{"k": testCert(t, "a", nil)})
			w.run()
			expect := func(step string, before, want map[string]int) {
				t.Helper()
				if diff := cmp.Diff(want, w.wrote(before)); diff != "" {
					t.Errorf("%s: writes (-want +got):\n%s", step, diff)
				}
			}
			before := w.quiet()
			w.bundle(func(s *trustapi.BundleSpec) { s.Target.ConfigMap.Metadata = tc.meta }, byName(w, "Secret", "", "k"))
			w.condition(reasonSynced)
			expect("first", before, map[string]int{"apply configmaps": 5, "apply bundles/status": 1})

			first, err := w.target(namespaces[0])
			if err != nil {
				t.Fatal(err)
			}
			before = w.quiet()
			patchLabels(t, src, map[string]any{"touched": "yes"})
			expect("a source touched", before, map[string]int{})
			w.stop()
			w.run()
			expect("a restart", before, map[string]int{})
			if again, err := w.target(namespaces[0]); err != nil || again.ResourceVersion != first.ResourceVersion {
				t.Errorf("resourceVersion %s, was %s; %v", again.ResourceVersion, first.ResourceVersion, err)
			}
			b := testCert(t, "b", nil)
			w.setData(src, map[string]string{"k": b})
			w.holds(namespaces, map[string]string{"ca.crt": joined(b)})
			expect("a source changed", before, map[string]int{"apply configmaps": 5})
		})
	}
}

// Bad input gets a condition and an Event on the Bundle; targets keep the last good content; what is put right is noticed.
func TestBadInput(t *testing.T) {
	a, b := testCert(t, "a", nil), testCert(t, "b", nil)
	for _, tc := range []struct {
		reason string
		bad    map[string]string // the source's data; nil deletes it
		want   string
		says   string
	}{
		{reason: "source missing", want: reasonSourceNotFound, says: "create it"},
		{reason: "key missing", bad: map[string]string{"x": a}, want: reasonSourceNotFound, says: `no key "k"`},
		{reason: "source empty", bad: map[string]string{"k": ""}, want: reasonSourceNotFound, says: "no source holds"},
		{reason: "garbage", bad: map[string]string{"k": "garbage"}, want: reasonSourceBuildError, says: "no PEM certificate"},
		{reason: "cut off", bad: map[string]string{"k": a[:100]}, want: reasonSourceBuildError, says: "not well formed"},
		{reason: "private key", bad: map[string]string{"k": a + testKey(t)}, want: reasonSourceBuildError, says: "CERTIFICATE blocks only"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			w := newWorld(t)
			namespaces := w.namespaces(1)
			src := w.source("Secret", "", map[string]string{"k": a})
			w.run()
			w.bundle(nil, byName(w, "Secret", "", "k"))
			w.condition(reasonSynced)
			before := w.quiet()
			if tc.bad == nil {
				if err := testenv.Admin().Delete(context.Background(), src); err != nil {
					t.Fatal(err)
				}
			} else {
				w.setData(src, tc.bad)
			}
			if message := w.condition(tc.want); !strings.Contains(message, tc.says) {
				t.Errorf("message %q does not say %q", message, tc.says)
			}
			w.saw("Warning " + tc.want)
			if diff := cmp.Diff(map[string]int{"apply bundles/status": 1}, w.wrote(before)); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
			if tc.bad == nil {
				w.source("Secret", "", map[string]string{"k": b})
			} else {
				w.setData(src, map[string]string{"k": b})
			}
			w.condition(reasonSynced)
			w.holds(namespaces, map[string]string{"ca.crt": joined(b)})
		})
	}
}

// What is not served yet is refused in words, and nothing delivered is taken away.
func TestNotServed(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(1)
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	data := map[string]string{"ca.crt": joined(a)}
	w.holds(namespaces, data)
	good, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		want   string
		change func(*trustapi.BundleSpec)
	}{
		{reasonSourceBuildError, func(s *trustapi.BundleSpec) {
			s.Sources = append(s.Sources, trustapi.BundleSource{UseDefaultCAs: ptr.To(true)})
		}},
		{reasonSecretTargetsDisabled, func(s *trustapi.BundleSpec) { s.Target.Secret = &trustapi.TargetTemplate{Key: "ca.crt"} }},
		{reasonTargetFailed, func(s *trustapi.BundleSpec) {
			s.Target.AdditionalFormats = &trustapi.AdditionalFormats{JKS: &trustapi.JKS{KeySelector: trustapi.KeySelector{Key: "ca.jks"}, Password: "changeit"}}
		}},
		{reasonNamespaceSelectorError, func(s *trustapi.BundleSpec) {
			s.Target.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "not a value"}}
		}},
	} {
		w.change(func(s *trustapi.BundleSpec) { *s = *good.Spec.DeepCopy(); tc.change(s) })
		w.condition(tc.want)
		w.saw("Warning " + tc.want)
		w.holds(namespaces, data)
	}
	w.change(func(s *trustapi.BundleSpec) { *s = *good.Spec.DeepCopy() })
	w.condition(reasonSynced)
}

// With FilterExpired a certificate leaves the targets when it expires, without any event.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(1)
	a := testCert(t, "a", nil)
	soon := testCert(t, "soon", func(c *x509.Certificate) { c.NotAfter = start })
	now := newClock(start.Add(-time.Second))
	w.run(func(r *Reconciler) { r.FilterExpired, r.Now = true, now.get })
	w.bundle(nil, trustapi.BundleSource{InLine: a + soon})
	w.holds(namespaces, map[string]string{"ca.crt": joined(a, soon)})
	now.advance(time.Minute)
	w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
	w.saw("Normal BundleChanged Removed CN=soon")
}

// The targets go with the Bundle.
func TestBundleDeleted(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(2)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: testCert(t, "a", nil)})
	w.condition(reasonSynced)
	before := w.quiet()
	if err := testenv.Admin().Delete(context.Background(), &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: w.name}}); err != nil {
		t.Fatal(err)
	}
	w.lacks(namespaces...)
	if diff := cmp.Diff(map[string]int{}, w.wrote(before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// What trust-manager has left is as we would have left it: taking over writes nothing.
func TestTakeover(t *testing.T) {
	ctx, admin, w := context.Background(), testenv.Admin(), newWorld(t)
	namespaces := w.namespaces(3)
	a, b := testCert(t, "a", nil), testCert(t, "b", nil)
	w.source("Secret", "", map[string]string{"k": a + b})
	meta := trustapi.TargetMetadata{Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"z": "2", "a": "3"}}
	w.bundle(func(s *trustapi.BundleSpec) { s.Target.ConfigMap.Metadata = meta }, byName(w, "Secret", "", "k"))
	bundle, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprintf(`[{"apiVersion":"trust.cert-manager.io/v1alpha1","kind":"Bundle","name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]`, w.name, bundle.UID)
	apply := func(obj client.Object, body string, status bool) {
		t.Helper()
		patch := client.RawPatch(types.ApplyYAMLPatchType, []byte(body))
		if status {
			err = admin.Status().Patch(ctx, obj, patch, client.FieldOwner("trust-manager"), client.ForceOwnership)
		} else {
			err = admin.Patch(ctx, obj, patch, client.FieldOwner("trust-manager"), client.ForceOwnership)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range namespaces {
		apply(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: w.name}}, fmt.Sprintf(
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"namespace":%q,"labels":{"l":"1","trust.cert-manager.io/bundle":%q},
			"annotations":{"a":"3","z":"2","trust.cert-manager.io/hash":%q},"ownerReferences":%s},"data":{"ca.crt":%q}}`,
			w.name, ns, w.name, contentHash(joined(a, b)+"a3z2l1", nil, nil), owner, joined(a, b)), false)
	}
	apply(bundle, fmt.Sprintf(`{"apiVersion":"trust.cert-manager.io/v1alpha1","kind":"Bundle","metadata":{"name":%q},"status":{"conditions":[{"type":"Synced","status":"True",
		"reason":"Synced","message":"Successfully synced Bundle to namespaces that match this label selector: bundle=%s","observedGeneration":1,
		"lastTransitionTime":"2026-11-01T00:00:00Z"}]}}`, w.name, w.name), true)

	before := w.quiet()
	w.run()
	if diff := cmp.Diff(map[string]int{}, w.wrote(before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	late := w.namespaces(1)
	w.holds(append(late, namespaces...), map[string]string{"ca.crt": joined(a, b)})
	if diff := cmp.Diff(map[string]int{"apply configmaps": 1}, w.wrote(before)); diff != "" {
		t.Errorf("writes after a new namespace (-want +got):\n%s", diff)
	}
}
