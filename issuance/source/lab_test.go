package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

var ctx = context.Background()

// lab is a namespace on the real API server, and the controllers that work on it.
type lab struct {
	t     *testing.T
	ns    string
	admin client.Client
	saw   recorder
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, ns: testenv.Namespace(t, nil), admin: testenv.Admin()}
	t.Cleanup(func() { // else the next test's controllers would work on what this one leaves
		for _, obj := range []client.Object{&networkingv1.Ingress{}, &cmapi.Certificate{}, &cmapi.Issuer{}} {
			if err := l.admin.DeleteAllOf(ctx, obj, client.InNamespace(l.ns)); err != nil {
				t.Errorf("clearing: %v", err)
			}
		}
	})
	return l
}

// recorder keeps Events as "Ingress/web Warning Reason message".
type recorder struct {
	mu   sync.Mutex
	list []string
}

func (r *recorder) Event(obj runtime.Object, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1.")
	r.list = append(r.list, fmt.Sprintf("%s/%s %s %s %s", what, obj.(client.Object).GetName(), kind, reason, message))
}

func (r *recorder) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// trimmed is a cache as the daemon's is: without managed fields, and with no more of an object than Trim leaves.
type trimmed struct{ client.Reader }

func (r trimmed) Get(ctx context.Context, key types.NamespacedName, obj client.Object, opts ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, obj, opts...)
	obj.SetManagedFields(nil)
	Trim(obj)
	return err
}

// start runs the controller of Ingresses, wired as the daemon wires it, after change has had its way with it.
func (l *lab) start(change func(*Reconciler)) (stop func()) {
	l.t.Helper()
	return l.startKinds(change, KindIngress)
}

func (l *lab) startKinds(change func(*Reconciler), kinds ...string) (stop func()) {
	l.t.Helper()
	return testenv.Manager(l.t, func(mgr ctrl.Manager) error {
		if err := AddToScheme(mgr.GetScheme()); err != nil {
			return err
		}
		for _, kind := range kinds {
			r := &Reconciler{
				Kind: kind, Client: mgr.GetClient(), Cache: trimmed{mgr.GetCache()}, Events: &l.saw,
				Policy: policy(), ClusterNamespace: "cert-manager", Workers: 2,
			}
			if change != nil {
				change(r)
			}
			if err := r.Setup(mgr); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *lab) meta(name string, annotations map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.ns, Name: name, Annotations: annotations}
}

func (l *lab) create(obj client.Object, opts ...client.CreateOption) {
	l.t.Helper()
	if err := l.admin.Create(ctx, obj, opts...); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) delete(obj client.Object) {
	l.t.Helper()
	if err := l.admin.Delete(ctx, obj); err != nil {
		l.t.Fatal(err)
	}
}

// ingress makes an Ingress, with the backend that the API server demands.
func (l *lab) ingress(name string, annotations map[string]string, tls ...networkingv1.IngressTLS) *networkingv1.Ingress {
	l.t.Helper()
	ing := &networkingv1.Ingress{ObjectMeta: l.meta(name, annotations), Spec: networkingv1.IngressSpec{
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		TLS:            tls,
	}}
	l.create(ing)
	return ing
}

// update reads, changes and writes an object until nobody else has interfered.
func update[T client.Object](l *lab, name string, obj T, f func(T)) {
	l.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := l.admin.Get(ctx, types.NamespacedName{Namespace: l.ns, Name: name}, obj); err != nil {
			return err
		}
		f(obj)
		return l.admin.Update(ctx, obj, client.FieldOwner("kubectl-edit"))
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// certificate reads a Certificate; nil when there is none.
func (l *lab) certificate(name string) *cmapi.Certificate {
	l.t.Helper()
	c := &cmapi.Certificate{}
	err := l.admin.Get(ctx, types.NamespacedName{Namespace: l.ns, Name: name}, c)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// becomes waits until a Certificate is as f says, and returns it.
func (l *lab) becomes(name string, f func(*cmapi.Certificate) bool) *cmapi.Certificate {
	l.t.Helper()
	var c *cmapi.Certificate
	testenv.Eventually(l.t, "Certificate "+name, func() error {
		if c = l.certificate(name); c == nil || !f(c) {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
	return c
}

func there(*cmapi.Certificate) bool { return true }

func (l *lab) gone(name string) {
	l.t.Helper()
	testenv.Eventually(l.t, "the end of Certificate "+name, func() error {
		if l.certificate(name) != nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// event waits for an Event whose text begins with prefix.
func (l *lab) event(prefix string) {
	l.t.Helper()
	testenv.Eventually(l.t, "an Event "+prefix, func() error {
		if n := l.events(prefix); n == 0 {
			return fmt.Errorf("there are %q", l.saw.all())
		}
		return nil
	})
}

func (l *lab) events(prefix string) (n int) {
	for _, e := range l.saw.all() {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

// since returns the writes made since before.
func since(t *testing.T, before map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range testenv.Writes(t) {
		if n -= before[k]; n != 0 {
			out[k] = n
		}
	}
	return out
}

// exactly lets another Ingress come and go through the same queue, twice so that whatever it woke is done too, and finds that the
// writes since before are want, and nothing else.
func (l *lab) exactly(what string, before, want map[string]int) {
	l.t.Helper()
	all := map[string]int{}
	maps.Copy(all, want)
	for range 2 {
		name := fmt.Sprintf("probe-%d", testenv.Writes(l.t)["create certificates"])
		l.ingress(name, with(), entry(name, "probe.example"))
		l.becomes(name, there)
		all["create certificates"]++
	}
	if diff := cmp.Diff(all, since(l.t, before)); diff != "" {
		l.t.Errorf("%s, and two probes: -want +got\n%s", what, diff)
	}
}

func (l *lab) secret(name string, kind corev1.SecretType, data map[string][]byte) {
	l.t.Helper()
	l.create(&corev1.Secret{ObjectMeta: l.meta(name, nil), Type: kind, Data: data})
}
