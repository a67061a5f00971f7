package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"
)

func ingress(a map[string]string, tls ...networkingv1.IngressTLS) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "ingress", Annotations: a},
		Spec:       networkingv1.IngressSpec{TLS: tls},
	}
}

func entry(secret string, hosts ...string) networkingv1.IngressTLS {
	return networkingv1.IngressTLS{SecretName: secret, Hosts: hosts}
}

// toldOf lists problems as "Reason message".
func toldOf(s *Source) []string {
	var out []string
	for _, p := range s.Problems {
		out = append(out, p.Reason+" "+p.Message)
	}
	return out
}

// begins tells whether each text begins with what is wanted of it.
func begins(want, got []string) string {
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || !strings.HasPrefix(got[i], want[i]) {
			return fmt.Sprintf("got %q, want %q", got, want)
		}
	}
	return ""
}

func TestParseIngress(t *testing.T) {
	for _, tc := range []struct {
		reason   string
		ing      *networkingv1.Ingress
		entries  []Entry
		names    map[string]bool
		problems []string
	}{
		{"an entry each", ingress(with(), entry("a", "a.example", "10.0.0.1", "a.example"), entry("b", "*.b.example")),
			[]Entry{{"a", []string{"a.example"}, []string{"10.0.0.1"}}, {"b", []string{"*.b.example"}, nil}}, map[string]bool{"a": true, "b": true}, nil},
		{"it asks for nothing", ingress(nil, entry("a", "a.example")), nil, map[string]bool{}, nil},
		{"without hosts", ingress(with(), entry("a"), entry("b", "b.example")),
			[]Entry{{"b", []string{"b.example"}, nil}}, map[string]bool{"a": true, "b": true}, []string{"BadConfig spec.tls[0].hosts: there is none"}},
		{"without a Secret", ingress(with(), entry("", "a.example"), entry("", "b.example")),
			nil, map[string]bool{"": true}, []string{`BadConfig spec.tls[0]: "" is not a Secret's name`, `BadConfig spec.tls[1]: "" is not a Secret's name`}},
		{"one Secret twice, the rest goes on", ingress(with(), entry("a", "a.example"), entry("b", "b.example"), entry("a", "c.example")),
			[]Entry{{"b", []string{"b.example"}, nil}}, map[string]bool{"a": true, "b": true},
			[]string{`BadConfig spec.tls[2].secretName: "a" is the Secret of spec.tls[0] too: put`}},
		{"annotations that contradict each other freeze all", ingress(with("cert-manager.io/cluster-issuer", "x"), entry("a", "a.example")),
			nil, map[string]bool{}, []string{"BadConfig annotations cert-manager.io/issuer and cert-manager.io/cluster-issuer exclude"}},
		{"names that no certificate can have", ingress(with(), entry("a", "ä.example"), entry("b", "b.example"), entry("c", "")),
			[]Entry{{"b", []string{"b.example"}, nil}}, map[string]bool{"a": true, "b": true, "c": true}, []string{
				`BadConfig the entry of Secret a is left out, since its Certificate could not be issued: spec.dnsNames[0]: Invalid value: "ä.example"`,
				"BadConfig the entry of Secret c is left out, since its Certificate could not be issued: spec.dnsNames[0]: Required value",
			}},
		{"too many entries", ingress(with(), make([]networkingv1.IngressTLS, 1001)...), nil, map[string]bool{}, []string{"BadConfig spec.tls: 1001 entries"}},
		{"too many hosts", ingress(with(), entry("a", make([]string, 1001)...)), nil, map[string]bool{"a": true}, []string{"BadConfig spec.tls[0].hosts: 1001 names"}},
	} {
		s := ParseIngress(tc.ing, policy())
		if diff := cmp.Diff(tc.entries, s.Entries); diff != "" && len(tc.entries)+len(s.Entries) > 0 {
			t.Errorf("%s: entries -want +got\n%s", tc.reason, diff)
		}
		if diff := cmp.Diff(tc.names, s.Names); diff != "" {
			t.Errorf("%s: names -want +got\n%s", tc.reason, diff)
		}
		if bad := begins(tc.problems, toldOf(s)); bad != "" {
			t.Errorf("%s: %s", tc.reason, bad)
		}
	}
}

func TestDerivedMetadata(t *testing.T) {
	p := policy()
	p.ExtraCertificateAnnotations = []string{"extra.example/a", "extra.example/absent"}
	ing := ingress(with("extra.example/a", "1", "other", "2",
		"acme.cert-manager.io/http01-edit-in-place", "true",
		"acme.cert-manager.io/http01-ingress-class", "nginx",
		"acme.cert-manager.io/http01-ingress-ingressclassname", "traefik"))
	ing.Labels = map[string]string{"app": "web", "applyset.kubernetes.io/part-of": "x"}
	s := ParseIngress(ing, p)
	if diff := cmp.Diff(map[string]string{"app": "web"}, s.Labels); diff != "" {
		t.Errorf("labels -want +got\n%s", diff)
	}
	want := map[string]string{
		"extra.example/a": "1",
		"acme.cert-manager.io/http01-override-ingress-name":             "web",
		"cert-manager.io/issue-temporary-certificate":                   "true",
		"acme.cert-manager.io/http01-override-ingress-class":            "nginx",
		"acme.cert-manager.io/http01-override-ingress-ingressclassname": "traefik",
	}
	if diff := cmp.Diff(want, s.Annotations); diff != "" {
		t.Errorf("annotations -want +got\n%s", diff)
	}
	if ing.Labels["applyset.kubernetes.io/part-of"] == "" {
		t.Error("the Ingress's own labels were changed")
	}
	none := ParseIngress(ingress(with("acme.cert-manager.io/http01-edit-in-place", "yes", "acme.cert-manager.io/http01-ingress-class", "")), p)
	if len(none.Annotations) > 0 {
		t.Errorf("annotations %v from nothing", none.Annotations)
	}
}

func listener(name, host string, set func(*gwapi.Listener), refs ...gwapi.SecretObjectReference) gwapi.Listener {
	l := gwapi.Listener{
		Name: gwapi.SectionName(name), Hostname: ptr.To(gwapi.Hostname(host)), Port: 443, Protocol: gwapi.HTTPSProtocolType,
		TLS: &gwapi.ListenerTLSConfig{Mode: ptr.To(gwapi.TLSModeTerminate), CertificateRefs: refs},
	}
	if set != nil {
		set(&l)
	}
	return l
}

func secretRef(name string) gwapi.SecretObjectReference {
	return gwapi.SecretObjectReference{Group: ptr.To(gwapi.Group("")), Kind: ptr.To(gwapi.Kind("Secret")), Name: gwapi.ObjectName(name)}
}

func refTo(set func(*gwapi.SecretObjectReference)) gwapi.SecretObjectReference {
	ref := secretRef("x")
	set(&ref)
	return ref
}

func TestParseGateway(t *testing.T) {
	far := refTo(func(r *gwapi.SecretObjectReference) { r.Namespace = ptr.To(gwapi.Namespace("far")) })
	near := refTo(func(r *gwapi.SecretObjectReference) { r.Namespace = ptr.To(gwapi.Namespace("ns")) })
	service := refTo(func(r *gwapi.SecretObjectReference) { r.Kind = ptr.To(gwapi.Kind("Service")) })
	group := refTo(func(r *gwapi.SecretObjectReference) { r.Group = ptr.To(gwapi.Group("example.org")) })
	core := refTo(func(r *gwapi.SecretObjectReference) { r.Group, r.Kind = ptr.To(gwapi.Group("core")), nil })
	one := []Entry{{"x", []string{"a.example"}, nil}}
	for _, tc := range []struct {
		reason    string
		a         map[string]string
		listeners []gwapi.Listener
		entries   []Entry
		problems  []string
	}{
		{"listeners that share a Secret are one entry", nil, []gwapi.Listener{
			listener("a", "a.example", nil, secretRef("x")), listener("b", "b.example", nil, secretRef("x")), listener("c", "a.example", nil, secretRef("x")),
		}, []Entry{{"x", []string{"a.example", "b.example"}, nil}}, nil},
		{"a listener with two Secrets", nil, []gwapi.Listener{listener("a", "a.example", nil, secretRef("x"), secretRef("y"))},
			[]Entry{{"x", []string{"a.example"}, nil}, {"y", []string{"a.example"}, nil}}, nil},
		{"no mode is Terminate", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.TLS.Mode = nil }, secretRef("x"))}, one, nil},
		{"core is the group of Secrets too", nil, []gwapi.Listener{listener("a", "a.example", nil, core)}, one, nil},
		{"the own namespace may be named", nil, []gwapi.Listener{listener("a", "a.example", nil, near)}, one, nil},
		{"another namespace's Secret is left out, the other stays", nil, []gwapi.Listener{listener("a", "a.example", nil, far, secretRef("x"))}, one,
			[]string{"BadConfig spec.listeners[0].tls.certificateRefs[0].namespace: Secret far/x is in another namespace"}},
		{"no Secrets", nil, []gwapi.Listener{listener("a", "a.example", nil, service), listener("b", "a.example", nil, group)}, nil,
			[]string{"BadConfig spec.listeners[0].tls.certificateRefs[0]: it refers to something else", "BadConfig spec.listeners[1].tls.certificateRefs[0]: it refers"}},
		{"no references", nil, []gwapi.Listener{listener("a", "a.example", nil)}, nil, []string{"BadConfig spec.listeners[0].tls.certificateRefs: there is none"}},
		{"no hostname", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.Hostname = nil }, secretRef("x"))}, nil,
			[]string{"BadConfig spec.listeners[0].hostname: there is none"}},
		{"no TLS", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.TLS = nil })}, nil, []string{"BadConfig spec.listeners[0].tls: there is none"}},
		{"passed through", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.TLS.Mode = ptr.To(gwapi.TLSModePassthrough) }, secretRef("x"))}, nil, nil},
		{"HTTP", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.Protocol = gwapi.HTTPProtocolType }, secretRef("x"))}, nil, nil},
		{"a protocol that the administrator named", nil, []gwapi.Listener{listener("a", "a.example", func(l *gwapi.Listener) { l.Protocol = "example.org/quic" }, secretRef("x"))}, one, nil},
		{"ignored", with("cert-manager.io/ignore-tls-listeners", "a,c"), []gwapi.Listener{
			listener("a", "bad.example", nil, far), listener("b", "a.example", nil, secretRef("x")), listener("c", "", func(l *gwapi.Listener) { l.TLS = nil }),
		}, one, nil},
	} {
		p := policy()
		p.GatewayAPIExtraProtocols = []string{"example.org/quic"}
		a := tc.a
		if a == nil {
			a = with()
		}
		g := &gwapi.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "gw", Annotations: a}, Spec: gwapi.GatewaySpec{Listeners: tc.listeners}}
		s := ParseGateway(g, p)
		if diff := cmp.Diff(tc.entries, s.Entries); diff != "" {
			t.Errorf("%s: entries -want +got\n%s", tc.reason, diff)
		}
		if bad := begins(tc.problems, toldOf(s)); bad != "" {
			t.Errorf("%s: %s", tc.reason, bad)
		}
		want := map[string]string{"acme.cert-manager.io/http01-parentrefkind": "Gateway", "acme.cert-manager.io/http01-parentrefname": "gw"}
		if diff := cmp.Diff(want, s.Annotations); diff != "" {
			t.Errorf("%s: annotations -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestParseListenerSet(t *testing.T) {
	parent := &gwapi.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "gw", Annotations: with()}}
	set := func(a map[string]string) *gwapi.ListenerSet {
		return &gwapi.ListenerSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "set", Annotations: a},
			Spec: gwapi.ListenerSetSpec{
				ParentRef: gwapi.ParentGatewayReference{Namespace: ptr.To(gwapi.Namespace("infra")), Name: "gw"},
				Listeners: []gwapi.ListenerEntry{gwapi.ListenerEntry(listener("a", "a.example", nil, secretRef("x")))},
			},
		}
	}
	if got := parentOf(set(nil)).String(); got != "infra/gw" {
		t.Errorf("parent %s", got)
	}
	if s := ParseListenerSet(set(with()), nil, policy()); s.Wish != nil {
		t.Error("without its Gateway it asks")
	}
	s := ParseListenerSet(set(nil), parent, policy())
	if s.Wish == nil || s.Wish.Spec.IssuerRef.Name != "ca" || len(s.Entries) != 1 {
		t.Errorf("the issuer is not the Gateway's: %+v", s)
	}
	if diff := cmp.Diff(map[string]string{"acme.cert-manager.io/http01-parentrefkind": "ListenerSet", "acme.cert-manager.io/http01-parentrefname": "set"}, s.Annotations); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	s = ParseListenerSet(set(map[string]string{"acme.cert-manager.io/http01-parentreffallback": "true"}), parent, policy())
	want := map[string]string{
		"acme.cert-manager.io/http01-parentrefkind": "Gateway", "acme.cert-manager.io/http01-parentrefname": "gw",
		"acme.cert-manager.io/http01-parentrefnamespace": "infra",
	}
	if diff := cmp.Diff(want, s.Annotations); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// A daemon for one namespace does not see a Gateway elsewhere: a ListenerSet of it is taken at its own word.
func TestParseListenerSetOfAGatewayOutOfReach(t *testing.T) {
	p := policy()
	p.Namespace = "ns"
	set := func(parentNamespace string, a map[string]string) *gwapi.ListenerSet {
		return &gwapi.ListenerSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "set", Annotations: a},
			Spec: gwapi.ListenerSetSpec{
				ParentRef: gwapi.ParentGatewayReference{Namespace: ptr.To(gwapi.Namespace(parentNamespace)), Name: "gw"},
				Listeners: []gwapi.ListenerEntry{gwapi.ListenerEntry(listener("a", "a.example", nil, secretRef("x")))},
			},
		}
	}
	for _, tc := range []struct {
		reason   string
		set      *gwapi.ListenerSet
		entries  int
		problems []string
	}{
		{"it names its issuer", set("infra", with()), 1, nil},
		{"its Gateway may name one", set("infra", nil), 0, []string{"BadConfig spec.parentRef: Gateway infra/gw is out of reach of this daemon, which works in namespace ns only"}},
		{"a Gateway within reach that is not there", set("ns", with()), 0, nil},
	} {
		s := ParseListenerSet(tc.set, nil, p)
		if len(s.Entries) != tc.entries || (s.Wish != nil) != (tc.entries > 0) {
			t.Errorf("%s: %+v", tc.reason, s)
		}
		if bad := begins(tc.problems, toldOf(s)); bad != "" {
			t.Errorf("%s: %s", tc.reason, bad)
		}
	}
	s := ParseListenerSet(set("infra", with("acme.cert-manager.io/http01-parentreffallback", "true")), nil, p)
	if s.Annotations["acme.cert-manager.io/http01-parentrefname"] != "gw" || s.Annotations["acme.cert-manager.io/http01-parentrefnamespace"] != "infra" {
		t.Errorf("the parent's name is lost: %v", s.Annotations)
	}
}

// What a controller watches depends on what the cluster serves.
func TestWatched(t *testing.T) {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(kinds[KindIngress].gvk, meta.RESTScopeNamespace)
	mapper.Add(kinds[KindListenerSet].gvk, meta.RESTScopeNamespace)
	check := func(want map[string]string) {
		t.Helper()
		for kind, want := range want {
			objects, missing, err := Watched(mapper, kind)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(len(objects))
			for _, o := range objects {
				got += fmt.Sprintf(" %T", o)
			}
			if missing != nil {
				got += " without " + missing.Kind
			}
			if got != want {
				t.Errorf("%s: %s, want %s", kind, got, want)
			}
		}
	}
	check(map[string]string{KindIngress: "1 *v1.Ingress", KindGateway: "0 without Gateway", KindListenerSet: "0 without Gateway"})
	mapper.Add(kinds[KindGateway].gvk, meta.RESTScopeNamespace)
	check(map[string]string{KindIngress: "1 *v1.Ingress", KindGateway: "1 *v1.Gateway", KindListenerSet: "2 *v1.ListenerSet *v1.Gateway"})
	if _, _, err := Watched(mapper, "Route"); err == nil {
		t.Error("a kind that there is not has watches")
	}
}

func TestTrim(t *testing.T) {
	ing := ingress(with(), entry("a", "a.example"))
	want := ing.DeepCopy()
	ing.Spec.Rules = []networkingv1.IngressRule{{Host: "a.example"}}
	ing.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "10.0.0.1"}}
	Trim(ing)
	if diff := cmp.Diff(want, ing); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	Trim(struct{}{}) // what is no object stays what it is
}

func TestKinds(t *testing.T) {
	want := map[string]struct {
		gvk     schema.GroupVersionKind
		manager string
	}{
		KindIngress:     {schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}, "cert-manager-ingress-shim"},
		KindGateway:     {schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "Gateway"}, "cert-manager-gateway-shim"},
		KindListenerSet: {schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "ListenerSet"}, "cert-manager-listenerset"},
	}
	for name, w := range want {
		if k := kinds[name]; k.gvk != w.gvk || FieldManager(ControllerOf(name)) != w.manager {
			t.Errorf("%s: %v %s", name, k.gvk, FieldManager(ControllerOf(name)))
		}
	}
}
