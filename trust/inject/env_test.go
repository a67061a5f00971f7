package inject

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

var ctx = context.Background()

// world is one target on the real API server, and a namespace for its sources.
type world struct {
	t      *testing.T
	kind   Kind
	ns     string
	name   string
	events *record.FakeRecorder
	told   []string
	stop   func()

	conflicts atomic.Int64 // of the daemon's writes
}

// eachKind runs a test for every kind of targets.
func eachKind(t *testing.T, f func(w *world)) {
	for _, kind := range Kinds() {
		t.Run(kind.Kind, func(t *testing.T) {
			t.Parallel()
			f(newWorld(t, kind))
		})
	}
}

func newWorld(t *testing.T, kind Kind) *world {
	t.Helper()
	w := &world{t: t, kind: kind, ns: testenv.Namespace(t, nil), events: record.NewFakeRecorder(10_000), stop: func() {}}
	group := fmt.Sprintf("g%d.example.com", time.Now().UnixNano())
	w.name = map[string]string{"APIService": "v1." + group, "CustomResourceDefinition": "things." + group}[kind.Kind]
	if w.name == "" {
		w.name = group
	}
	return w
}

// kindOf returns the kind of that name.
func kindOf(t *testing.T, name string) Kind {
	t.Helper()
	for _, k := range Kinds() {
		if k.Kind == name {
			return k
		}
	}
	t.Fatalf("there is no kind %s", name)
	return Kind{}
}

// run starts the part of the daemon under test.
func (w *world) run(change ...func(*Reconciler)) {
	w.t.Helper()
	w.stop = testenv.Manager(w.t, func(mgr ctrl.Manager) error {
		r := &Reconciler{
			Kind: w.kind, Client: w.client(nothing, nothing), Cache: mgr.GetCache(), Events: w.events,
			APIServerCA: CAOf(testenv.DaemonConfig()),
		}
		for _, f := range change {
			f(r)
		}
		return r.Setup(mgr)
	})
}

// object makes the target; webhooks of configurations never match anything.
func (w *world) object(annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	group := w.name[strings.Index(w.name, ".")+1:]
	service := map[string]any{"namespace": w.ns, "name": "hooks"}
	switch w.kind.Kind {
	case "APIService":
		u.Object["spec"] = map[string]any{
			"group": group, "version": "v1", "groupPriorityMinimum": int64(100), "versionPriority": int64(10), "service": service,
		}
	case "CustomResourceDefinition":
		schema := map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}
		u.Object["spec"] = map[string]any{
			"group": group, "scope": "Namespaced", "names": map[string]any{"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": schema}},
			"conversion": map[string]any{"strategy": "Webhook", "webhook": map[string]any{
				"clientConfig": map[string]any{"service": service}, "conversionReviewVersions": []any{"v1"},
			}},
		}
	default:
		u.Object["webhooks"] = []any{
			map[string]any{"name": "one.example.com", "sideEffects": "None", "admissionReviewVersions": []any{"v1"}, "clientConfig": map[string]any{"url": "https://localhost:8675"}},
			map[string]any{"name": "two.example.com", "sideEffects": "None", "admissionReviewVersions": []any{"v1"}, "clientConfig": map[string]any{"service": service}, "timeoutSeconds": int64(3)},
		}
	}
	u.SetGroupVersionKind(w.kind.GroupVersionKind)
	u.SetName(w.name)
	u.SetAnnotations(annotations)
	return u
}

// target creates the target with one annotation of injection.
func (w *world) target(annotation, value string) {
	w.t.Helper()
	w.create(w.object(map[string]string{annotation: value}))
}

// create makes an object that goes with the test.
func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := testenv.Admin().Create(ctx, obj); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
			w.t.Error(err)
		}
	})
}

// get reads the target.
func (w *world) get() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(w.kind.GroupVersionKind)
	return u, testenv.Admin().Get(ctx, types.NamespacedName{Name: w.name}, u)
}

// bundles returns the target's caBundles.
func (w *world) bundles() ([]string, error) {
	u, err := w.get()
	if err != nil {
		return nil, err
	}
	slots, err := w.kind.slots(u.Object)
	var out []string
	for _, s := range slots {
		out = append(out, string(s.Bundle))
	}
	return out, err
}

// holds waits until each caBundle is just this.
func (w *world) holds(bundle string) {
	w.t.Helper()
	testenv.Eventually(w.t, "the CA in "+w.name, func() error {
		got, err := w.bundles()
		if err != nil {
			return err
		}
		for _, b := range got {
			if diff := cmp.Diff(bundle, b); diff != "" {
				return fmt.Errorf("caBundle (-want +got):\n%s", diff)
			}
		}
		if len(got) == 0 {
			return errors.New("no caBundle")
		}
		return nil
	})
}

// setBundles puts a text into all caBundles as somebody else does.
func (w *world) setBundles(bundle string) {
	w.t.Helper()
	w.fill(bundle, func(u *unstructured.Unstructured) error {
		slots, err := w.kind.slots(u.Object)
		w.apply(slots, "somebody-else")
		return err
	})
}

// fill has a copy of the target with other caBundles written.
func (w *world) fill(bundle string, write func(*unstructured.Unstructured) error) {
	w.t.Helper()
	testenv.Eventually(w.t, "the caBundles to be written", func() error {
		u, err := w.get()
		if err != nil {
			return err
		}
		slots, err := w.kind.slots(u.Object)
		if err != nil {
			return err
		}
		encoded := base64.StdEncoding.EncodeToString([]byte(bundle))
		hooks, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
		for _, h := range hooks {
			if err := unstructured.SetNestedField(h.(map[string]any), encoded, "clientConfig", "caBundle"); err != nil {
				return err
			}
		}
		switch {
		case len(hooks) > 0:
			u.Object["webhooks"] = hooks
		case len(slots) == 1 && w.kind.Kind == "APIService":
			err = unstructured.SetNestedField(u.Object, encoded, "spec", "caBundle")
		default:
			err = unstructured.SetNestedField(u.Object, encoded, "spec", "conversion", "webhook", "clientConfig", "caBundle")
		}
		return errors.Join(err, write(u))
	})
}

// apply writes caBundles under a field manager's name.
func (w *world) apply(slots []Slot, manager string) {
	w.t.Helper()
	obj := w.kind.fields(slots)
	obj["apiVersion"], obj["kind"], obj["metadata"] = w.kind.GroupVersion().String(), w.kind.Kind, map[string]any{"name": w.name}
	body, err := json.Marshal(obj)
	if err != nil {
		w.t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(w.kind.GroupVersionKind)
	u.SetName(w.name)
	if err := testenv.Admin().Patch(ctx, u, client.RawPatch(types.ApplyYAMLPatchType, body), client.FieldOwner(manager), client.ForceOwnership); err != nil {
		w.t.Fatal(err)
	}
}

// annotate sets annotations of the target; nil takes one off.
func (w *world) annotate(annotations map[string]any) {
	w.t.Helper()
	u, err := w.get()
	if err != nil {
		w.t.Fatal(err)
	}
	annotate(w.t, u, annotations)
}

func annotate(t *testing.T, obj client.Object, annotations map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		t.Fatal(err)
	}
	if err := testenv.Admin().Patch(ctx, obj, client.RawPatch(types.MergePatchType, body)); err != nil {
		t.Fatal(err)
	}
}

// certificate creates Certificate "serving", whose Secret is "serving-tls".
func (w *world) certificate() *cmapi.Certificate {
	w.t.Helper()
	c := &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "serving"},
		Spec:       cmapi.CertificateSpec{SecretName: "serving-tls", CommonName: "x", IssuerRef: cmmeta.IssuerReference{Name: "i"}},
	}
	w.create(c)
	return c
}

// secret creates Secret "serving-tls" with an annotation.
func (w *world) secret(annotation, value, ca string) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "serving-tls", Annotations: map[string]string{annotation: value}},
		Data:       map[string][]byte{"tls.key": []byte("the key")},
	}
	if ca != "" {
		s.Data["ca.crt"] = []byte(ca)
	}
	w.create(s)
	return s
}

// setCA changes a Secret's ca.crt.
func (w *world) setCA(s *corev1.Secret, ca string) {
	w.t.Helper()
	s.Data["ca.crt"] = []byte(ca)
	if err := testenv.Admin().Update(ctx, s); err != nil {
		w.t.Fatal(err)
	}
}

// issued sets up a Certificate that has its Secret, and a target that names it.
func (w *world) issued(ca string) *corev1.Secret {
	w.t.Helper()
	w.certificate()
	s := w.secret(cmapi.CertificateNameKey, "serving", ca)
	w.target(annotationFromCertificate, w.ns+"/serving")
	return s
}

// quiet waits until the daemon has written nothing of this kind for half a second and returns how many writes there have been. Those
// that ended in a conflict are left out: the API server's own controllers write the status of a new APIService or
// CustomResourceDefinition just when we inject.
func (w *world) quiet() int {
	w.t.Helper()
	last, since := w.count(), time.Now()
	testenv.Eventually(w.t, "the daemon to be quiet", func() error {
		if now := w.count(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 500*time.Millisecond {
			return fmt.Errorf("last write %s ago", time.Since(since))
		}
		return nil
	})
	return last
}

func (w *world) count() (n int) {
	for write, count := range testenv.Writes(w.t) {
		if _, resource, _ := strings.Cut(write, " "); strings.HasPrefix(resource, w.kind.Plural) {
			n += count
		}
	}
	return n - int(w.conflicts.Load())
}

// wrote expects n writes since an earlier count.
func (w *world) wrote(before, n int) {
	w.t.Helper()
	if got := w.quiet() - before; got != n {
		w.t.Errorf("%d writes, want %d", got, n)
	}
}

// saw waits for an Event that begins with prefix, other than those seen before.
func (w *world) saw(prefix string) {
	w.t.Helper()
	testenv.Eventually(w.t, "Event "+prefix, func() error {
		for {
			select {
			case e := <-w.events.Events:
				w.told = append(w.told, e)
				if strings.HasPrefix(e, prefix) {
					return nil
				}
			default:
				return fmt.Errorf("seen: %q", w.told)
			}
		}
	})
}

// sawNothing fails if an Event was sent that saw has not taken.
func (w *world) sawNothing() {
	w.t.Helper()
	select {
	case e := <-w.events.Events:
		w.t.Errorf("Event %q", e)
	default:
	}
}
