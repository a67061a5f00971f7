package trust

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

// The creating write rests on this behaviour of the API server.
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

// What others change in a target is put back, and said.
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
	if err := testenv.Admin().Delete(context.Background(), w.object(ns[0])); err != nil {
		t.Fatal(err)
	}
	w.holds(ns, data)
}

// Another client that undoes each write is answered at growing intervals, told by name, and forgotten when it has given in.
func TestContested(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(2)
	var applied atomic.Int64
	var rival atomic.Bool
	now := newClock(start)
	w.run(func(r *Reconciler) {
		r.Now = now.get
		r.Client = patching(t, func(ctx context.Context, obj client.Object, patch func() error) error {
			if err := patch(); err != nil || obj.GetNamespace() != namespaces[0] {
				return err
			}
			defer applied.Add(1)
			if !rival.Load() {
				return nil
			}
			undone := client.RawPatch(types.MergePatchType, []byte(`{"data":{"ca.crt":"mine"}}`))
			return testenv.Admin().Patch(ctx, w.object(namespaces[0]), undone, client.FieldOwner("rival"))
		})
	})
	rival.Store(true)
	a := testCert(t, "a", nil)
	w.bundle(nil, trustapi.BundleSource{InLine: a})
	want := fmt.Sprintf(`ConfigMap %q does not stay as it is written in 1 namespaces (%q): "rival" keeps changing it`, w.name, namespaces[0])
	if message := w.condition(reasonTargetFailed); !strings.HasPrefix(message, want) {
		t.Errorf("message %q", message)
	}
	data := map[string]string{"ca.crt": joined(a)}
	w.holds(namespaces[1:], data)
	answered := func(writes int64) {
		t.Helper()
		testenv.Eventually(t, "the writes", func() error {
			if got := applied.Load(); got != writes {
				return fmt.Errorf("%d, want %d", got, writes)
			}
			return nil
		})
	}
	answered(1 + freeRepairs)
	before := w.quiet()
	now.advance(firstPause)
	answered(1 + freeRepairs + 1) // by itself, when the time has come
	nudge := func() {
		t.Helper()
		patchLabels(t, w.object(namespaces[0]), map[string]any{"touched": fmt.Sprint(now.get().Unix())})
	}
	for i := range 2 {
		now.advance(firstPause << (i + 1))
		nudge()
		answered(int64(1 + freeRepairs + 1 + i + 1))
	}
	if n := w.wrote(before)["apply bundles/status"]; n != 0 { // it has said all
		t.Errorf("%d writes of the status", n)
	}
	told := 0
	for len(w.events.Events) > 0 {
		if e := <-w.events.Events; strings.HasPrefix(e, "Warning") {
			told++
		}
	}
	if told != freeRepairs+1 {
		t.Errorf("%d warnings, want one for each of the first %d repairs and one for the contest", told, freeRepairs)
	}

	// New content waits for nothing.
	b := testCert(t, "b", nil)
	w.change(func(s *trustapi.BundleSpec) { s.Sources[0].InLine = b })
	data = map[string]string{"ca.crt": joined(b)}
	w.holds(namespaces[1:], data)
	answered(1 + freeRepairs + 3 + 1)

	rival.Store(false)
	now.advance(maxPause)
	nudge()
	w.holds(namespaces, data)
	w.condition(reasonTargetFailed)
	now.advance(peace)
	nudge()
	w.condition(reasonSynced)
	w.holds(namespaces, data)
}

// What happens in one namespace costs a look at that one, and a source that is touched none.
func TestEventsCostTheirNamespaceOnly(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(5)
	a := testCert(t, "a", nil)
	src := w.source("Secret", "", map[string]string{"k": a})
	var counting *countingReader
	w.run(func(r *Reconciler) {
		counting = &countingReader{Reader: r.Cache}
		counting.except.Store("")
		r.Cache = counting
	})
	w.bundle(nil, byName(w, "Secret", "", "k"))
	data := map[string]string{"ca.crt": joined(a)}
	w.holds(namespaces, data)
	w.condition(reasonSynced)
	w.quiet()
	if counting.lists.Load() == 0 || counting.targets.Load() < int64(len(namespaces)) {
		t.Errorf("%d lists of namespaces, %d lookups of targets at first", counting.lists.Load(), counting.targets.Load())
	}
	expect := func(step string) {
		t.Helper()
		w.quiet()
		if lists, targets := counting.lists.Swap(0), counting.targets.Swap(0); lists+targets > 0 {
			t.Errorf("%s costs %d lists of namespaces and %d lookups of other targets", step, lists, targets)
		}
	}
	begin := func(ns string) {
		counting.except.Store(ns)
		counting.lists.Store(0)
		counting.targets.Store(0)
	}

	begin(namespaces[0])
	patchLabels(t, src, map[string]any{"touched": "yes"}) // seen before what follows, or with it
	if err := testenv.Admin().Delete(context.Background(), w.object(namespaces[0])); err != nil {
		t.Fatal(err)
	}
	w.holds(namespaces, data)
	expect("a target deleted")

	late := testenv.Namespace(t, nil)
	begin(late)
	patchLabels(t, namespace(late), map[string]any{"bundle": w.name})
	w.holds([]string{late}, data)
	expect("a namespace more")
	patchLabels(t, namespace(late), map[string]any{"bundle": nil})
	w.lacks(late)
	expect("a namespace less")

	begin("")
	b := testCert(t, "b", nil)
	w.setData(src, map[string]string{"k": b})
	w.holds(namespaces, map[string]string{"ca.crt": joined(b)})
	if counting.lists.Load() == 0 {
		t.Error("a new source is published without a list of namespaces")
	}
}

// A ConfigMap that someone else made is left alone until it is given to the Bundle, and given back when the Bundle leaves.
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

// A stranger's ConfigMap that goes makes room.
func TestConflictEnds(t *testing.T) {
	w := newWorld(t)
	namespaces := w.namespaces(1)
	stranger := w.object(namespaces[0])
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

// A namespace that refuses its target neither delays nor hides the others.
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
