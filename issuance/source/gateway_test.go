package source

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// installGatewayAPI installs the CRDs that come with the Go module of the types, and returns a client that knows them.
func installGatewayAPI(t *testing.T) client.Client {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateways", "listenersets"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/standard/gateway.networking.k8s.io_"+name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			t.Fatal(err)
		}
		if err := testenv.Admin().Create(ctx, crd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := testenv.Admin().Delete(ctx, crd); err != nil {
				t.Errorf("removing a CRD: %v", err)
			}
			testenv.Eventually(t, "the end of a CRD", func() error {
				if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(crd), crd); !apierrors.IsNotFound(err) {
					return fmt.Errorf("it is there: %v", err)
				}
				return nil
			})
		})
	}
	scheme := testenv.Scheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var c client.Client
	testenv.Eventually(t, "the Gateway API", func() error {
		if c, err = client.New(testenv.AdminConfig(), client.Options{Scheme: scheme}); err != nil {
			return err
		}
		for _, list := range []client.ObjectList{&gwapi.GatewayList{}, &gwapi.ListenerSetList{}} {
			if err := c.List(ctx, list); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

func TestGatewayAPI(t *testing.T) {
	l := newLab(t)
	l.withoutGatewayAPI()
	l.admin = installGatewayAPI(t)
	t.Cleanup(func() {
		for _, obj := range []client.Object{&gwapi.Gateway{}, &gwapi.ListenerSet{}} {
			if err := l.admin.DeleteAllOf(ctx, obj, client.InNamespace(l.ns)); err != nil {
				t.Errorf("clearing: %v", err)
			}
		}
	})
	stop := l.startKinds(nil, KindIngress, KindGateway, KindListenerSet)
	t.Run("Gateway", func(t *testing.T) { (&lab{t: t, ns: l.ns, admin: l.admin}).gateway(l) })
	t.Run("ListenerSet", func(t *testing.T) { (&lab{t: t, ns: l.ns, admin: l.admin}).listenerSet(l) })
	t.Run("out of reach", func(t *testing.T) { (&lab{t: t, ns: l.ns, admin: l.admin}).outOfReach() })
	stop()
	before := testenv.Writes(t)
	l.startKinds(nil, KindIngress, KindGateway, KindListenerSet)
	l.exactly("a restart with everything in place", before, nil)
}

// Without CRDs the daemon says so and goes on, and Ingresses get their Certificates.
func (l *lab) withoutGatewayAPI() {
	var mu sync.Mutex
	var said strings.Builder
	usual := log.Log
	log.Log = funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(&said, args)
	}, funcr.Options{})
	stop := l.startKinds(nil, KindIngress, KindGateway, KindListenerSet)
	log.Log = usual
	l.ingress("web", with(), entry("web", "web.example"))
	l.becomes("web", there)
	stop()
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range []string{KindGateway, KindListenerSet} {
		if !strings.Contains(said.String(), fmt.Sprintf(`the cluster does not serve them; install their CRDs and start again" "kind"=%q`, kind)) {
			l.t.Errorf("of %s nothing was said: %s", kind, said.String())
		}
	}
}

func (l *lab) gateway(events *lab) {
	far := refTo(func(r *gwapi.SecretObjectReference) { r.Namespace = ptr.To(gwapi.Namespace("far")) })
	before := testenv.Writes(l.t)
	l.create(&gwapi.Gateway{ObjectMeta: l.meta("gw", with("cert-manager.io/ignore-tls-listeners", "d")), Spec: gwapi.GatewaySpec{
		GatewayClassName: "any",
		Listeners: []gwapi.Listener{
			listener("a", "a.example", nil, secretRef("gw-tls")), listener("b", "b.example", nil, secretRef("gw-tls")),
			listener("c", "c.example", nil, far), listener("d", "d.example", nil, secretRef("d-tls")),
		},
	}})
	c := l.becomes("gw-tls", there)
	if diff := cmp.Diff([]string{"a.example", "b.example"}, c.Spec.DNSNames); diff != "" {
		l.t.Errorf("-want +got\n%s", diff)
	}
	want := map[string]string{"acme.cert-manager.io/http01-parentrefkind": "Gateway", "acme.cert-manager.io/http01-parentrefname": "gw"}
	if diff := cmp.Diff(want, c.Annotations); diff != "" {
		l.t.Errorf("-want +got\n%s", diff)
	}
	owner := c.OwnerReferences[0]
	if m := c.ManagedFields[0].Manager; m != "cert-manager-gateway-shim" || owner.APIVersion != "gateway.networking.k8s.io/v1" || owner.Kind != "Gateway" {
		l.t.Errorf("made by %s for %+v", m, owner)
	}
	events.event("Gateway/gw Warning BadConfig spec.listeners[2].tls.certificateRefs[0].namespace: Secret far/x is in another namespace")
	update(l, "gw", &gwapi.Gateway{}, func(g *gwapi.Gateway) { g.Spec.Listeners = g.Spec.Listeners[1:] })
	l.becomes("gw-tls", func(c *cmapi.Certificate) bool { return len(c.Spec.DNSNames) == 1 })
	update(l, "gw", &gwapi.Gateway{}, func(g *gwapi.Gateway) { g.Spec.Listeners = g.Spec.Listeners[1:] })
	l.gone("gw-tls")
	l.exactly("the life of a Gateway's Certificate", before, map[string]int{"create certificates": 1, "update certificates": 1, "delete certificates": 1})
}

func (l *lab) listenerSet(*lab) {
	set := &gwapi.ListenerSet{ObjectMeta: l.meta("set", nil), Spec: gwapi.ListenerSetSpec{
		ParentRef: gwapi.ParentGatewayReference{Name: "parent"},
		Listeners: []gwapi.ListenerEntry{gwapi.ListenerEntry(listener("a", "a.example", nil, secretRef("set-tls")))},
	}}
	l.create(set)
	if l.certificate("set-tls") != nil {
		l.t.Error("a Certificate without a Gateway")
	}
	parent := &gwapi.Gateway{ObjectMeta: l.meta("parent", with()), Spec: gwapi.GatewaySpec{
		GatewayClassName: "any", Listeners: []gwapi.Listener{listener("http", "a.example", func(l *gwapi.Listener) { l.Protocol, l.TLS, l.Port = "HTTP", nil, 80 })},
	}}
	l.create(parent) // names the issuer, and wakes the set
	c := l.becomes("set-tls", there)
	if ref := c.OwnerReferences[0]; ref.Kind != "ListenerSet" || ref.Name != "set" || c.Spec.IssuerRef.Name != "ca" {
		l.t.Errorf("it belongs to %+v, issuer %+v", ref, c.Spec.IssuerRef)
	}
	update(l, "parent", &gwapi.Gateway{}, func(g *gwapi.Gateway) { g.Annotations["cert-manager.io/issuer"] = "other" })
	l.becomes("set-tls", func(c *cmapi.Certificate) bool { return c.Spec.IssuerRef.Name == "other" })
	update(l, "set", &gwapi.ListenerSet{}, func(s *gwapi.ListenerSet) {
		s.Annotations = map[string]string{"acme.cert-manager.io/http01-parentreffallback": "true"}
	})
	c = l.becomes("set-tls", func(c *cmapi.Certificate) bool {
		return c.Annotations["acme.cert-manager.io/http01-parentrefkind"] == "Gateway"
	})
	if got := fmt.Sprint(c.Annotations["acme.cert-manager.io/http01-parentrefname"], "/", c.Annotations["acme.cert-manager.io/http01-parentrefnamespace"]); got != "parent/"+l.ns {
		l.t.Errorf("parent %s", got)
	}
}

// A daemon for one namespace has a cache that fails when it is asked for a Gateway elsewhere. It is not asked, and the ListenerSet is
// told once.
func (l *lab) outOfReach() {
	scheme := testenv.Scheme()
	if err := AddToScheme(scheme); err != nil {
		l.t.Fatal(err)
	}
	c, err := client.New(testenv.DaemonConfig(), client.Options{Scheme: scheme})
	if err != nil {
		l.t.Fatal(err)
	}
	confined, err := cache.New(testenv.DaemonConfig(), cache.Options{Scheme: scheme, DefaultNamespaces: map[string]cache.Config{l.ns: {}}})
	if err != nil {
		l.t.Fatal(err)
	}
	r := &Reconciler{Kind: KindListenerSet, Client: c, Live: c, Cache: confined, Events: &l.saw, Policy: policy()}
	r.Policy.Namespace = l.ns
	if err := r.indexFields(confined); err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = confined.Start(ctx) }) // it ends with ctx
	defer wg.Wait()
	defer stop()
	for name, a := range map[string]map[string]string{"asks": with(), "inherits": nil} {
		l.create(&gwapi.ListenerSet{ObjectMeta: l.meta(name, a), Spec: gwapi.ListenerSetSpec{
			ParentRef: gwapi.ParentGatewayReference{Namespace: ptr.To(gwapi.Namespace("infra")), Name: "gw"},
			Listeners: []gwapi.ListenerEntry{gwapi.ListenerEntry(listener("a", name+".example", nil, secretRef(name)))},
		}})
	}
	for _, name := range []string{"asks", "inherits", "inherits"} {
		key := types.NamespacedName{Namespace: l.ns, Name: name}
		testenv.Eventually(l.t, "ListenerSet "+name+" in the cache", func() error { return confined.Get(ctx, key, &gwapi.ListenerSet{}) })
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: key}); err != nil {
			l.t.Errorf("%s: %v", name, err)
		}
	}
	if c := l.certificate("asks"); c == nil || c.Spec.IssuerRef.Name != "ca" {
		l.t.Errorf("Certificate asks is %+v", c)
	}
	if l.certificate("inherits") != nil {
		l.t.Error("there is a Certificate without an issuer")
	}
	if n := l.events("ListenerSet/inherits Warning BadConfig spec.parentRef: Gateway infra/gw is out of reach"); n != 1 || l.events("ListenerSet/asks Warning") > 0 {
		l.t.Errorf("Events %q", l.saw.all())
	}
}
