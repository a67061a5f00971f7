package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

var errFault = errors.New("injected fault")

// fault makes the first write of a kind fail: before it is sent, or after it was carried out.
type fault struct {
	verb  string
	after bool

	mu   sync.Mutex
	seen []string // guarded by mu
}

func (f *fault) around(verb string, write func() error) error {
	f.mu.Lock()
	first := verb == f.verb && !slices.Contains(f.seen, verb)
	f.seen = append(f.seen, verb)
	f.mu.Unlock()
	if !first {
		return write()
	}
	if f.after {
		if err := write(); err != nil {
			return err
		}
	}
	return errFault
}

func (f *fault) wrap(c client.Client) client.Client {
	return interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return f.around("create", func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return f.around("update", func() error { return c.Update(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return f.around("delete", func() error { return c.Delete(ctx, obj, opts...) })
		},
	})
}

func daemonClient(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every write fails once, in each way; the next reconcile gets there all the same, and an entry beside it is not held up.
func TestFaults(t *testing.T) {
	l := newLab(t)
	for _, verb := range []string{"create", "update", "delete"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, carried out %t", verb, after), func(t *testing.T) {
				l := &lab{t: t, ns: l.ns, admin: l.admin}
				f := &fault{verb: verb, after: after}
				name := fmt.Sprintf("%s-%t", verb, after)
				stop := l.start(func(r *Reconciler) { r.Client = f.wrap(daemonClient(t)) })
				defer stop()
				l.ingress(name, with(), entry(name+"-a", "a.example"), entry(name+"-b", "b.example"))
				l.becomes(name+"-a", there)
				l.becomes(name+"-b", there)
				update(l, name, &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Spec.TLS[0].Hosts[0] = "c.example" })
				l.becomes(name+"-a", func(c *cmapi.Certificate) bool { return slices.Equal(c.Spec.DNSNames, []string{"c.example"}) })
				update(l, name, &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Spec.TLS = i.Spec.TLS[1:] })
				l.gone(name + "-a")
				l.becomes(name+"-b", there)
				l.event("Ingress/" + name + " Warning CertificateFailed")
			})
		}
	}
}

// direct reconciles one Ingress by hand, with a client whose writes are answered by f.
func (l *lab) direct(name string, f interceptor.Funcs) (ctrl.Result, error) {
	l.t.Helper()
	c := daemonClient(l.t)
	r := &Reconciler{Kind: KindIngress, Client: interceptor.NewClient(c, f), Live: c, Cache: forgetful{c}, Events: &l.saw, Policy: policy()}
	return r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: name}})
}

// What the API server finds invalid is the source's matter: it is told, and not sent again until something changes.
func TestInvalidIsTerminal(t *testing.T) {
	l := newLab(t)
	l.ingress("web", with(), entry("a", "a.example"))
	res, err := l.direct("web", interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewInvalid(cmapi.SchemeGroupVersion.WithKind("Certificate").GroupKind(), "a", nil)
		},
	})
	if err != nil || res.RequeueAfter != recheck {
		t.Errorf("%+v, %v", res, err)
	}
	l.event("Ingress/web Warning BadConfig creating Certificate a")
}

// An admission webhook that undoes an update does not keep the daemon writing: that is a failure, which waits longer each time.
func TestUpdateThatDoesNotHold(t *testing.T) {
	l := newLab(t)
	ing := l.ingress("web", with(), entry("a", "a.example"))
	if _, err := l.direct("web", interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
	ing.Spec.TLS[0].Hosts[0] = "b.example"
	if err := l.admin.Update(ctx, ing); err != nil {
		t.Fatal(err)
	}
	_, err := l.direct("web", interceptor.Funcs{
		Update: func(_ context.Context, _ client.WithWatch, obj client.Object, _ ...client.UpdateOption) error {
			obj.(*cmapi.Certificate).Spec.DNSNames = []string{"a.example"}
			return nil
		},
	})
	if err == nil || !strings.Contains(err.Error(), "keeps something else in spec.dnsNames") {
		t.Errorf("%v", err)
	}
}

// A Certificate that appears between the look and the write stays as it is, and is looked at again.
func TestCreateNeverOverwrites(t *testing.T) {
	l := newLab(t)
	l.ingress("web", with(), entry("a", "a.example"))
	res, err := l.direct("web", interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			s := stranger("a")
			s.Namespace, s.ResourceVersion, s.UID, s.ManagedFields = l.ns, "", "", nil
			l.create(s)
			return c.Create(ctx, obj, opts...)
		},
	})
	if err != nil || res.RequeueAfter == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if c := l.certificate("a"); c.Spec.DNSNames[0] != "other.example" {
		t.Errorf("it became %+v", c.Spec)
	}
}
