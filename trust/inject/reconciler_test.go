package inject

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// far is an end that no test reaches.
func far() time.Time { return time.Now().AddDate(1, 0, 0) }

// shape is an object without what our write changes.
func shape(t *testing.T, w *world) map[string]any {
	t.Helper()
	u, err := w.get()
	if err != nil {
		t.Fatal(err)
	}
	slots, err := w.kind.slots(u.Object)
	if err != nil || len(slots) == 0 {
		t.Fatalf("%d caBundles: %v", len(slots), err)
	}
	for _, path := range [][]string{{"spec", "caBundle"}, {"spec", "conversion", "webhook", "clientConfig", "caBundle"}} {
		unstructured.RemoveNestedField(u.Object, path...)
	}
	webhooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
	for _, hook := range webhooks {
		unstructured.RemoveNestedField(hook.(map[string]any), "clientConfig", "caBundle")
	}
	if len(webhooks) > 0 {
		u.Object["webhooks"] = webhooks
	}
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	delete(u.Object, "status")
	return u.Object
}

// A target that was there first is filled when its Certificate and Secret appear, with one write of caBundle alone.
func TestFromCertificate(t *testing.T) {
	eachKind(t, func(w *world) {
		ca := testCA(w.t, "a", far())
		w.run()
		w.target(annotationFromCertificate, w.ns+"/serving")
		w.saw("Warning InjectSourceNotFound Certificate " + w.ns + "/serving does not exist")
		before, plain := w.quiet(), shape(w.t, w)
		c := w.certificate()
		w.saw("Warning InjectSourceNotFound Secret " + w.ns + "/serving-tls does not exist yet")
		w.secret(cmapi.CertificateNameKey, "serving", ca)
		w.holds(ca)
		w.saw("Normal CAInjected Injected the CA of Certificate " + w.ns + "/serving")
		w.wrote(before, 1)
		if diff := cmp.Diff(plain, shape(w.t, w)); diff != "" {
			w.t.Errorf("other fields (-before +after):\n%s", diff)
		}
		u, err := w.get()
		if err != nil {
			w.t.Fatal(err)
		}
		owned := ""
		for _, e := range u.GetManagedFields() {
			if e.Manager == FieldManager && e.Operation == metav1.ManagedFieldsOperationApply {
				owned = e.FieldsV1.GetRawString()
			}
		}
		if !strings.Contains(owned, "f:caBundle") || strings.Contains(owned, "f:sideEffects") || strings.Contains(owned, "f:service") {
			w.t.Errorf("%s owns %s", FieldManager, owned)
		}

		// Another Secret of the same Certificate is followed too.
		b := testCA(w.t, "b", far())
		other := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "other-tls", Annotations: map[string]string{cmapi.CertificateNameKey: "serving"}},
			Data:       map[string][]byte{"ca.crt": []byte(b)},
		}
		w.create(other)
		c.Spec.SecretName = other.Name
		if err := testenv.Admin().Update(ctx, c); err != nil {
			w.t.Fatal(err)
		}
		w.holds(ca + b)
	})
}

func TestFromSecret(t *testing.T) {
	eachKind(t, func(w *world) {
		ca := testCA(w.t, "a", far())
		s := w.secret(annotationAllowed, "false", "")
		w.run()
		w.target(annotationFromSecret, w.ns+"/serving-tls")
		w.saw("Warning InjectSourceNotAllowed Secret " + w.ns + "/serving-tls does not allow its CA to be injected")
		annotate(w.t, s, map[string]any{annotationAllowed: "true"})
		w.saw("Warning InjectSourceInvalid Secret " + w.ns + "/serving-tls has no ca.crt")
		before := w.quiet()
		w.setCA(s, ca)
		w.holds(ca)
		w.wrote(before, 1)
	})
}

func TestFromAPIServer(t *testing.T) {
	eachKind(t, func(w *world) {
		w.run()
		before := w.quiet()
		w.target(annotationFromAPIServer, "true")
		w.holds(string(testenv.AdminConfig().CAData))
		w.wrote(before, 1)
	})
}

// The annotations count in their order, and changing or removing them is followed; what was injected stays.
func TestAnnotations(t *testing.T) {
	w := newWorld(t, kindOf(t, "ValidatingWebhookConfiguration"))
	ca := testCA(t, "a", far())
	w.secret(annotationAllowed, "true", ca)
	w.run()
	w.create(w.object(nil))
	before := w.quiet()
	w.annotate(map[string]any{annotationFromSecret: w.ns + "/serving-tls", annotationFromCertificate: w.ns + "/nobody", annotationFromAPIServer: "true"})
	w.holds(ca)
	w.annotate(map[string]any{annotationFromSecret: "serving-tls"})
	w.saw("Warning InvalidInjectAnnotation annotation cert-manager.io/inject-ca-from-secret is \"serving-tls\"")
	w.annotate(map[string]any{annotationFromSecret: nil, annotationFromCertificate: nil, annotationFromAPIServer: nil})
	w.wrote(before, 1)
	w.holds(ca)
	w.setBundles("")
	w.wrote(before, 1) // it asks for nothing any more
	w.annotate(map[string]any{annotationFromSecret: w.ns + "/serving-tls"})
	w.holds(ca)
	w.annotate(map[string]any{annotationFromSecret: nil, annotationFromAPIServer: "true"})
	w.holds(ca + string(testenv.AdminConfig().CAData))
	w.wrote(before, 3)
}

// While a CA is changed, targets trust both, and the old one goes when it has expired: one write each.
func TestRotation(t *testing.T) {
	eachKind(t, func(w *world) {
		a, b := testCA(w.t, "a", far()), testCA(w.t, "b", far().AddDate(1, 0, 0))
		var later atomic.Bool
		w.run(func(r *Reconciler) {
			r.Now = func() time.Time {
				if later.Load() {
					return far().AddDate(0, 6, 0)
				}
				return time.Now()
			}
		})
		before := w.quiet()
		s := w.issued(a)
		w.holds(a)
		w.setCA(s, b)
		w.holds(a + b)
		later.Store(true)
		w.annotate(map[string]any{"touched": "true"})
		w.holds(b)
		w.wrote(before, 3)
	})
}

// The time of expiry wakes the target by itself.
func TestExpiry(t *testing.T) {
	w := newWorld(t, kindOf(t, "ValidatingWebhookConfiguration"))
	end := far()
	var late atomic.Bool
	w.run(func(r *Reconciler) {
		r.Now = func() time.Time {
			if late.Load() {
				return end.Add(time.Minute)
			}
			return end.Add(-time.Second)
		}
	})
	before := w.quiet()
	a, b := testCA(t, "a", end), testCA(t, "b", end.AddDate(1, 0, 0))
	w.issued(a + b)
	w.holds(a + b)
	late.Store(true)
	w.holds(b)
	w.wrote(before, 2)
}

func TestRecheck(t *testing.T) {
	for _, tc := range []struct {
		reason string
		until  time.Time
		ask    string
		want   time.Duration
	}{
		{"nothing expires", time.Time{}, fromSecret, 0},
		{"after the last second", start.Add(time.Minute), fromSecret, time.Minute + time.Second},
		{"a clock may be set", start.AddDate(1, 0, 0), fromSecret, 10 * time.Minute},
		{"the time has come", start.Add(-time.Hour), fromSecret, time.Second},
		{"the API server's CA may be another, unseen", time.Time{}, fromAPIServer, 10 * time.Minute},
	} {
		o := observed{Ask: Ref{Kind: tc.ask}, State: State{Now: start}, memo: &memo{until: tc.until}}
		if got := o.recheck(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
}

// What somebody else does to a caBundle is put back, or kept where it does no harm.
func TestForeignEdits(t *testing.T) {
	eachKind(t, func(w *world) {
		a, b := testCA(w.t, "a", far()), testCA(w.t, "b", far())
		w.run()
		w.issued(a)
		w.holds(a)
		before := w.quiet()
		w.setBundles("")
		w.holds(a)
		w.wrote(before, 1)
		w.setBundles(b)
		w.holds(b + a)
		w.wrote(before, 2)
		w.setBundles("# mine\n" + a)
		w.wrote(before, 2)
	})
}

// A source that is no good is refused with words, changes nothing, and is taken again once it is good.
func TestRefusedSources(t *testing.T) {
	w := newWorld(t, kindOf(t, "MutatingWebhookConfiguration"))
	a, b := testCA(t, "a", far()), testCA(t, "b", far())
	w.run()
	s := w.issued(a)
	w.holds(a)
	before := w.quiet()
	for _, tc := range []struct{ reason, ca, owner, event string }{
		{"garbage", "garbage", "serving", "InjectSourceInvalid ca.crt of Secret " + w.ns + "/serving-tls holds no certificate"},
		{"a private key", b + testKey(t), "serving", "InjectSourceInvalid ca.crt of Secret " + w.ns + "/serving-tls holds a private key"},
		{"nothing", "", "serving", "InjectSourceInvalid Secret " + w.ns + "/serving-tls has no ca.crt"},
		{"too much", strings.Repeat(b, 700), "serving", "InjectSourceInvalid ca.crt of Secret " + w.ns + "/serving-tls has "},
		{"expired", testCA(t, "old", time.Now().Add(-time.Hour)), "serving", "InjectSourceInvalid every certificate in ca.crt of Secret " + w.ns + "/serving-tls has expired"},
		{"another Certificate's", b, "other", "InjectSourceNotAllowed Secret " + w.ns + "/serving-tls belongs to Certificate \"other\""},
	} {
		s.Annotations[cmapi.CertificateNameKey] = tc.owner
		w.setCA(s, tc.ca)
		w.saw("Warning " + tc.event)
		w.holds(a)
	}
	w.wrote(before, 0)
	s.Annotations[cmapi.CertificateNameKey] = "serving"
	w.setCA(s, b)
	w.holds(a + b)
	w.wrote(before, 1)
}

// Without its source a target keeps what it has.
func TestSourceDeleted(t *testing.T) {
	eachKind(t, func(w *world) {
		a := testCA(w.t, "a", far())
		w.run()
		s := w.issued(a)
		w.holds(a)
		before := w.quiet()
		if err := testenv.Admin().Delete(ctx, s); err != nil {
			w.t.Fatal(err)
		}
		w.saw("Warning InjectSourceNotFound Secret " + w.ns + "/serving-tls does not exist yet; see why Certificate " + w.ns + "/serving is not issued")
		c := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "serving"}}
		if err := testenv.Admin().Delete(ctx, c); err != nil {
			w.t.Fatal(err)
		}
		w.saw("Warning InjectSourceNotFound Certificate " + w.ns + "/serving does not exist")
		w.wrote(before, 0)
		w.holds(a)
	})
}

// A restart writes nothing, and neither does taking over from cert-manager's cainjector: versions of it that apply, or that
// update.
func TestRestartAndTakeover(t *testing.T) {
	eachKind(t, func(w *world) {
		a, b := testCA(w.t, "a", far()), testCA(w.t, "b", far())
		s := w.issued(a)
		restart := func() {
			w.t.Helper()
			before, live := w.quiet(), &countingReader{Reader: testenv.Admin()}
			w.run(func(r *Reconciler) { r.Live = live })
			testenv.Eventually(w.t, "the target to be looked at", func() error {
				if live.n.Load() < 2 {
					return fmt.Errorf("%d live reads", live.n.Load())
				}
				return nil
			})
			w.wrote(before, 0)
			w.stop()
		}
		w.fill(a, func(u *unstructured.Unstructured) error {
			return testenv.Admin().Update(ctx, u, client.FieldOwner(FieldManager))
		})
		restart()
		w.setCA(s, b)
		w.fill(a+b, func(u *unstructured.Unstructured) error {
			slots, err := w.kind.slots(u.Object)
			w.apply(slots, FieldManager)
			return err
		})
		restart()
		restart()
		w.sawNothing()
	})
}

// Only a webhook converts; a CustomResourceDefinition without one has no place for a CA.
func TestConversionStrategy(t *testing.T) {
	w := newWorld(t, kindOf(t, "CustomResourceDefinition"))
	a := testCA(t, "a", far())
	w.certificate()
	w.secret(cmapi.CertificateNameKey, "serving", a)
	u := w.object(map[string]string{annotationFromCertificate: w.ns + "/serving"})
	conversion, _, _ := unstructured.NestedMap(u.Object, "spec", "conversion")
	unstructured.RemoveNestedField(u.Object, "spec", "conversion")
	w.run()
	before := w.quiet()
	w.create(u)
	w.wrote(before, 0)
	testenv.Eventually(t, "the conversion webhook", func() error {
		live, err := w.get()
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedMap(live.Object, conversion, "spec", "conversion"); err != nil {
			return err
		}
		return testenv.Admin().Update(ctx, live)
	})
	w.holds(a)
	w.wrote(before, 1)
}

// A target that the API server would not accept with a CA says so, and is tried again when something changes; others go on.
func TestTargetRefused(t *testing.T) {
	w := newWorld(t, kindOf(t, "APIService"))
	a := testCA(t, "a", far())
	w.certificate()
	s := w.secret(cmapi.CertificateNameKey, "serving", a)
	bad := w.object(map[string]string{annotationFromCertificate: w.ns + "/serving"})
	if err := unstructured.SetNestedField(bad.Object, true, "spec", "insecureSkipTLSVerify"); err != nil {
		t.Fatal(err)
	}
	w.create(bad)
	w.run()
	w.saw("Warning InjectTargetRefused the API server does not accept the CA here; correct the object: ")
	good := newWorld(t, w.kind)
	good.create(good.object(map[string]string{annotationFromCertificate: w.ns + "/serving"}))
	good.holds(a)
	before := w.quiet()
	w.setCA(s, testCA(t, "b", far()))
	w.wrote(before, 2) // one each, one of them refused
}

// A write that admission denies is tried again after a pause, since admission may change its mind unseen, and told once.
func TestTargetRefusedForAWhile(t *testing.T) {
	eachKind(t, func(w *world) {
		a, now, denied, tries := testCA(w.t, "a", far()), time.Now(), true, 0
		w.issued(a)
		r := &Reconciler{
			Kind: w.kind, Cache: testenv.Admin(), Live: testenv.Admin(), Events: w.events, Now: func() time.Time { return now },
			Client: w.client(func() error {
				tries++
				if denied {
					return apierrors.NewInvalid(w.kind.GroupKind(), w.name, nil)
				}
				return nil
			}, nothing),
		}
		reconcile := func(step string, wantTries int) {
			w.t.Helper()
			result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: w.name}})
			for apierrors.IsConflict(err) { // the API server's own controllers write to a new target
				tries--
				result, err = r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: w.name}})
			}
			if err != nil || tries != wantTries || result.RequeueAfter <= 0 || result.RequeueAfter > maxRecheck {
				w.t.Errorf("%s: %d tries, want %d; again after %s; %v", step, tries, wantTries, result.RequeueAfter, err)
			}
		}
		reconcile("denied", 1)
		w.saw("Warning InjectTargetRefused the API server does not accept the CA here; correct the object: ")
		now = now.Add(maxRecheck)
		reconcile("too early to ask again", 1)
		now = now.Add(time.Second)
		reconcile("denied again", 2)
		w.sawNothing()
		denied, now = false, now.Add(maxRecheck+time.Second)
		reconcile("allowed", 3)
		w.holds(a)
	})
}

// Sources in namespaces that are to be ignored are passed over without a word.
func TestIgnoreNamespaces(t *testing.T) {
	w := newWorld(t, kindOf(t, "ValidatingWebhookConfiguration"))
	other := newWorld(t, w.kind)
	w.run(func(r *Reconciler) { r.IgnoreNamespaces, r.Workers = []string{w.ns}, 1 })
	before := w.quiet()
	s := w.issued(testCA(t, "a", far()))
	w.setCA(s, testCA(t, "b", far()))
	w.annotate(map[string]any{"touched": "true"})
	// The same watches and the same queue bring these later than all of the above.
	b := testCA(t, "c", far())
	other.issued(b)
	other.holds(b)
	w.saw("Normal CAInjected Injected the CA of Certificate " + other.ns + "/serving")
	w.wrote(before, 1)
	w.sawNothing()
	for _, e := range w.told {
		if strings.Contains(e, w.ns+"/") {
			t.Errorf("Event %q", e)
		}
	}
}

func TestWithoutCertificates(t *testing.T) {
	w := newWorld(t, kindOf(t, "ValidatingWebhookConfiguration"))
	w.run(func(r *Reconciler) { r.WithoutCertificates = true })
	w.issued(testCA(t, "a", far()))
	w.saw("Warning InjectSourceNotAllowed Certificates are switched off as sources")
}

// countingReader counts live reads.
type countingReader struct {
	client.Reader
	n atomic.Int64
}

func (c *countingReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	c.n.Add(1)
	return c.Reader.Get(ctx, key, obj, opts...)
}

// What concerns no target costs no live read, and neither does a target's own write.
func TestNoNeedlessReads(t *testing.T) {
	w := newWorld(t, kindOf(t, "ValidatingWebhookConfiguration"))
	a := testCA(t, "a", far())
	live := &countingReader{Reader: testenv.Admin()}
	w.run(func(r *Reconciler) { r.Live = live })
	w.issued(a)
	w.holds(a)
	w.quiet()
	before := live.n.Load()
	for i := range 20 {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: fmt.Sprintf("unrelated-%d", i)}}
		w.create(s)
		annotate(t, s, map[string]any{"x": "y"})
	}
	other := newWorld(t, w.kind)
	other.create(other.object(nil))
	other.annotate(map[string]any{"x": "y"})
	w.quiet()
	if n := live.n.Load(); n != before {
		t.Errorf("%d live reads", n-before)
	}
	if before != 2 { // the Secret and the target
		t.Errorf("%d live reads for one injection", before)
	}
}
