package trust

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestApplyMustBeAbsent(t *testing.T) {
	ctx, c, ns := context.Background(), testenv.Admin(), testenv.Namespace(t, nil)
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "there"}, Data: map[string]string{"mine": "x"}}
	if err := c.Create(ctx, stranger); err != nil {
		t.Fatal(err)
	}
	for name, conflict := range map[string]bool{"there": true, "absent": false} {
		cfg := corev1ac.ConfigMap(name, ns).WithResourceVersion(mustBeAbsent).WithData(map[string]string{"ca.crt": "y"})
		err := c.Apply(ctx, cfg, client.FieldOwner(FieldManager))
		if apierrors.IsConflict(err) != conflict || !conflict && err != nil {
			t.Errorf("applying %s: %v, want a conflict: %t", name, err, conflict)
		}
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(stranger), stranger); err != nil {
		t.Fatal(err)
	}
	if len(stranger.Data) != 1 {
		t.Errorf("the stranger's data is %v", stranger.Data)
	}
}

func TestDrift(t *testing.T) {
	w := newWorld(t)
	ns := w.namespaces(1)
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	data := map[string]string{"ca.crt": joined(a)}
	w.holds(ns, data)
	w.condition(reasonSynced)

	for _, tc := range []struct {
		reason string
		edit   func(*corev1.ConfigMap)
		want   map[string]string
	}{
		{reason: "the data changed", edit: func(c *corev1.ConfigMap) { c.Data["ca.crt"] = "mine" }, want: data},
		{reason: "the data removed", edit: func(c *corev1.ConfigMap) { c.Data = nil }, want: data},
		{reason: "the owner reference removed", edit: func(c *corev1.ConfigMap) { c.OwnerReferences = nil }, want: data},
		{reason: "the label removed", edit: func(c *corev1.ConfigMap) { delete(c.Labels, LabelBundle) }, want: data},
		{reason: "a key added is left", edit: func(c *corev1.ConfigMap) { c.Data["ca.crt"], c.Data["extra"] = "mine", "x" },
			want: map[string]string{"ca.crt": joined(a), "extra": "x"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			c, err := w.target(ns[0])
			if err != nil {
				t.Fatal(err)
			}
			tc.edit(c)
			if err := testenv.Admin().Update(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			w.saw("Warning TargetDrift")
			w.holds(ns, tc.want)
			if c, err = w.target(ns[0]); err != nil || len(c.OwnerReferences) != 1 || c.Labels[LabelBundle] != w.name {
				t.Errorf("owners %v, labels %v, %v", c.OwnerReferences, c.Labels, err)
			}
		})
	}
	if err := testenv.Admin().Delete(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns[0], Name: w.name}}); err != nil {
		t.Fatal(err)
	}
	w.holds(ns, data)
}

func TestConflict(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(3)
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[0], Name: w.name}, Data: map[string]string{"mine": "x", "ca.crt": "theirs"}}
	w.create(stranger)
	a := testCert(t, "a", nil)
	w.run()
	before := w.quiet()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	if message := w.condition(reasonTargetFailed); !strings.Contains(message, namespaces[0]) || !strings.Contains(message, LabelBundle+"="+w.name) {
		t.Errorf("message %q", message)
	}
	w.saw("Warning SyncConfigMapTargetFailed")
	w.holds(namespaces[1:], map[string]string{"ca.crt": joined(a)})
	w.holds(namespaces[:1], map[string]string{"mine": "x", "ca.crt": "theirs"})
	if diff := cmp.Diff(map[string]int{"apply configmaps": 2, "apply bundles/status": 1}, w.wrote(before)); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}

	patchLabels(t, stranger, map[string]any{LabelBundle: w.name})
	w.holds(namespaces[:1], map[string]string{"mine": "x", "ca.crt": joined(a)})
	w.condition(reasonSynced)

	before = w.quiet()
	patchLabels(t, namespace(namespaces[0]), map[string]any{"bundle": nil})
	w.holds(namespaces[:1], map[string]string{"mine": "x"})
	if c, err := w.target(namespaces[0]); err != nil || len(c.OwnerReferences) != 0 || c.Annotations[AnnotationHash] != "" {
		t.Errorf("still the Bundle's: %v %v %v", c.OwnerReferences, c.Annotations, err)
	}
	if diff := cmp.Diff(map[string]int{"apply configmaps": 1}, w.wrote(before)); diff != "" {
		t.Errorf("writes of giving back (-want +got):\n%s", diff)
	}
}

func TestConflictEnds(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(1)
	stranger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[0], Name: w.name}}
	w.create(stranger)
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	w.condition(reasonTargetFailed)
	if err := testenv.Admin().Delete(context.Background(), stranger); err != nil {
		t.Fatal(err)
	}
	w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
	w.condition(reasonSynced)
}

func TestRefusingNamespace(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(4)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[0], Name: "none"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}}}
	w.create(quota)
	testenv.Eventually(t, "the quota to be in force", func() error {
		if err := testenv.Admin().Get(context.Background(), client.ObjectKeyFromObject(quota), quota); err != nil || len(quota.Status.Hard) == 0 {
			return fmt.Errorf("%v %v", quota.Status, err)
		}
		return nil
	})
	a := testCert(t, "a", nil)
	w.run()
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	w.holds(namespaces[1:], map[string]string{"ca.crt": joined(a)})
	if message := w.condition(reasonTargetFailed); !strings.Contains(message, namespaces[0]) || !strings.Contains(message, "exceeded quota") {
		t.Errorf("message %q", message)
	}
	if err := testenv.Admin().Delete(context.Background(), quota); err != nil {
		t.Fatal(err)
	}
	w.condition(reasonSynced)
	w.holds(namespaces, map[string]string{"ca.crt": joined(a)})
}
