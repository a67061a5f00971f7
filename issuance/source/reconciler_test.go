package source

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/yaml"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func TestLifeOfAnIngress(t *testing.T) {
	l := newLab(t)
	stop := l.start(nil)
	before := testenv.Writes(t)
	ing := l.ingress("web", with("cert-manager.io/duration", "240h"), entry("a", "a.example", "10.0.0.1"), entry("b", "b.example"))
	got := l.becomes("a", there)
	l.becomes("b", there)
	want := &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.ns, Name: "a", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "web", UID: ing.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		}}},
		Spec: cmapi.CertificateSpec{
			SecretName: "a", DNSNames: []string{"a.example"}, IPAddresses: []string{"10.0.0.1"}, Duration: hours(240),
			IssuerRef: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"},
			Usages:    []cmapi.KeyUsage{"digital signature", "key encipherment"},
		},
	}
	set := cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "ResourceVersion", "Generation", "CreationTimestamp", "ManagedFields")
	if diff := cmp.Diff(want, got, set, cmpopts.IgnoreFields(cmapi.Certificate{}, "TypeMeta")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if m := got.ManagedFields; len(m) != 1 || m[0].Manager != "cert-manager-ingress-shim" {
		t.Errorf("managed fields %+v", m)
	}
	l.event(`Ingress/web Normal CreateCertificate created Certificate "a"`)
	l.exactly("a first look", before, map[string]int{"create certificates": 2})

	before = testenv.Writes(t)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) {
		i.Spec.TLS[0].Hosts = []string{"c.example"}
		delete(i.Annotations, "cert-manager.io/duration")
		i.Annotations["cert-manager.io/usages"] = "server auth"
	})
	l.becomes("a", func(c *cmapi.Certificate) bool {
		return cmp.Equal(c.Spec.DNSNames, []string{"c.example"}) && c.Spec.IPAddresses == nil && c.Spec.Duration == nil && c.Spec.Usages[0] == "server auth"
	})
	l.becomes("b", func(c *cmapi.Certificate) bool { return c.Spec.Duration == nil })
	l.event(`Ingress/web Normal UpdateCertificate updated Certificate "a"`)
	l.exactly("a change", before, map[string]int{"update certificates": 2})

	before = testenv.Writes(t)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Spec.TLS = i.Spec.TLS[:1] })
	l.gone("b")
	l.event(`Ingress/web Normal DeleteCertificate deleted Certificate "b"`)
	l.delete(&cmapi.Certificate{ObjectMeta: l.meta("a", nil)}) // by hand, and it comes back
	l.becomes("a", func(c *cmapi.Certificate) bool { return c.UID != got.UID })
	l.exactly("an entry removed", before, map[string]int{"delete certificates": 1, "create certificates": 1})

	stop()
	before = testenv.Writes(t)
	l.start(nil)
	l.exactly("a restart with everything in place", before, nil)

	before = testenv.Writes(t)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) {
		i.Annotations = nil
		i.Spec.TLS = nil
	})
	l.exactly("annotations removed", before, nil)
	l.becomes("a", there)
}

// The manifest that users have applies unchanged.
func TestManifest(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	text, err := os.ReadFile("testdata/ingress.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ing := &networkingv1.Ingress{}
	if err := yaml.UnmarshalStrict(text, ing); err != nil {
		t.Fatal(err)
	}
	ing.Namespace = l.ns
	l.create(ing)
	c := l.becomes("my-app-tls", there)
	want := cmapi.CertificateSpec{
		SecretName: "my-app-tls", DNSNames: []string{"my-app.internal"}, Usages: []cmapi.KeyUsage{"digital signature", "key encipherment"},
		IssuerRef: cmmeta.IssuerReference{Name: "step-ca-issuer", Kind: "ClusterIssuer", Group: "cert-manager.io"},
	}
	if diff := cmp.Diff(want, c.Spec); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// What cert-manager's shim has made, and people have added to, stays as it is to the last byte.
func TestTakeover(t *testing.T) {
	l := newLab(t)
	annotations := with("cert-manager.io/common-name", "a.example", "cert-manager.io/private-key-algorithm", "ECDSA",
		"acme.cert-manager.io/http01-edit-in-place", "true")
	ing := l.ingress("web", annotations, entry("a", "a.example"))
	c := &cmapi.Certificate{
		ObjectMeta: l.meta("a", map[string]string{
			"acme.cert-manager.io/http01-override-ingress-name": "web", "cert-manager.io/issue-temporary-certificate": "true",
		}),
		Spec: cmapi.CertificateSpec{
			SecretName: "a", CommonName: "a.example", DNSNames: []string{"a.example"}, Usages: cmapi.DefaultKeyUsages(),
			IssuerRef:  cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"},
			PrivateKey: &cmapi.CertificatePrivateKey{Algorithm: "ECDSA"},
		},
	}
	c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(ing, kinds[KindIngress].gvk)}
	l.create(c, client.FieldOwner("cert-manager-ingress-shim"))
	update(l, "a", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
		c.Labels = map[string]string{"team": "x"}
		c.Annotations["acme.cert-manager.io/http01-override-ingress-class"] = "nginx"
		c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "1"}}
		c.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}}
	})
	version := l.certificate("a").ResourceVersion
	before := testenv.Writes(t)
	l.start(nil)
	l.exactly("a takeover", before, nil)
	if v := l.certificate("a").ResourceVersion; v != version {
		t.Errorf("resourceVersion %s, was %s", v, version)
	}
	// What the shim had written and is not asked for any more goes; what people added stays.
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) {
		delete(i.Annotations, "acme.cert-manager.io/http01-edit-in-place")
		delete(i.Annotations, "cert-manager.io/common-name")
	})
	got := l.becomes("a", func(c *cmapi.Certificate) bool { return c.Spec.CommonName == "" })
	if diff := cmp.Diff(map[string]string{"acme.cert-manager.io/http01-override-ingress-class": "nginx"}, got.Annotations); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got.Labels["team"] != "x" || got.Spec.SecretTemplate == nil || got.Spec.AdditionalOutputFormats == nil {
		t.Errorf("what people added went: %+v", got)
	}
	if n := l.events("Ingress/web Warning"); n > 0 {
		t.Errorf("Events %q", l.saw.all())
	}
}

func TestStrangersCertificate(t *testing.T) {
	l := newLab(t)
	l.create(&cmapi.Certificate{ObjectMeta: l.meta("a", nil), Spec: cmapi.CertificateSpec{
		SecretName: "a", DNSNames: []string{"other.example"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"},
	}})
	version := l.certificate("a").ResourceVersion
	l.start(nil)
	before := testenv.Writes(t)
	l.ingress("web", with(), entry("a", "a.example"), entry("b", "b.example"))
	l.becomes("b", there)
	l.event("Ingress/web Warning CertificateConflict Certificate a stays as it is")
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Spec.TLS[1].Hosts[0] = "c.example" })
	l.becomes("b", func(c *cmapi.Certificate) bool { return c.Spec.DNSNames[0] == "c.example" })
	l.exactly("a stranger's Certificate", before, map[string]int{"create certificates": 1, "update certificates": 1})
	if v := l.certificate("a").ResourceVersion; v != version {
		t.Errorf("resourceVersion %s, was %s", v, version)
	}
	if n := l.events("Ingress/web Warning CertificateConflict"); n != 1 {
		t.Errorf("it was told %d times: %q", n, l.saw.all())
	}
	l.delete(&cmapi.Certificate{ObjectMeta: l.meta("a", nil)}) // then the place is free
	l.becomes("a", func(c *cmapi.Certificate) bool { return c.Spec.DNSNames[0] == "a.example" })
}

// Several Ingresses that name one Secret: the first makes the Certificate, and when that goes with it the next one does.
func TestIngressesThatShareASecret(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	first := l.ingress("first", with(), entry("shared", "a.example"))
	l.becomes("shared", there)
	l.ingress("second", with(), entry("shared", "a.example"))
	before := testenv.Writes(t)
	l.exactly("a second Ingress", before, nil)
	l.delete(first)
	l.delete(&cmapi.Certificate{ObjectMeta: l.meta("shared", nil)}) // as the garbage collector does
	l.becomes("shared", func(c *cmapi.Certificate) bool { return metav1.GetControllerOf(c).Name == "second" })
	if n := l.events("Ingress/second Warning"); n > 0 {
		t.Errorf("Events %q", l.saw.all())
	}
}

// What can't be followed is told, on that Ingress; what there is stays, and others go on.
func TestBadConfig(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ingress("web", with(), entry("a", "a.example"), entry("b", "b.example"))
	l.becomes("a", there)
	l.becomes("b", there)
	before := testenv.Writes(t)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) {
		i.Annotations["cert-manager.io/cluster-issuer"] = "x"
		i.Spec.TLS = i.Spec.TLS[:1]
	})
	l.event("Ingress/web Warning BadConfig annotations cert-manager.io/issuer and cert-manager.io/cluster-issuer exclude each other: remove one")
	l.exactly("annotations that contradict each other", before, nil)
	l.becomes("b", there)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { delete(i.Annotations, "cert-manager.io/cluster-issuer") })
	l.gone("b")

	l.ingress("twice", with(), entry("x", "a.example"), entry("y", "b.example"), entry("x", "c.example"))
	l.becomes("y", there)
	l.event(`Ingress/twice Warning BadConfig spec.tls[2].secretName: "x" is the Secret of spec.tls[0] too`)
	if l.certificate("x") != nil {
		t.Error("there is a Certificate for a Secret that is named twice")
	}
}

func TestDefaultIssuer(t *testing.T) {
	l := newLab(t)
	l.start(func(r *Reconciler) {
		r.Policy.DefaultIssuer = cmmeta.IssuerReference{Name: "standard", Kind: "ClusterIssuer", Group: "cert-manager.io"}
		r.Policy.ExtraCertificateAnnotations = []string{"extra.example/a"}
	})
	l.ingress("web", map[string]string{"kubernetes.io/tls-acme": "true", "extra.example/a": "1", "extra.example/b": "2"}, entry("a", "a.example"))
	c := l.becomes("a", there)
	if diff := cmp.Diff(cmmeta.IssuerReference{Name: "standard", Kind: "ClusterIssuer", Group: "cert-manager.io"}, c.Spec.IssuerRef); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"extra.example/a": "1"}, c.Annotations); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Who may edit an Ingress can't make the daemon replace what a Secret holds.
func TestSecretsInTheWay(t *testing.T) {
	l := newLab(t)
	l.secret("password", corev1.SecretTypeOpaque, map[string][]byte{"password": []byte("x")})
	l.secret("by-hand", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": nil, "tls.key": nil})
	l.secret("empty", corev1.SecretTypeOpaque, nil)
	l.secret("root", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": nil, "tls.key": nil})
	l.secret("account", corev1.SecretTypeOpaque, map[string][]byte{"tls.key": nil})
	l.secret("vault-client", corev1.SecretTypeTLS, map[string][]byte{"tls.crt": nil, "tls.key": nil})
	vault := &cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: "vault"}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{
		Server: "https://vault.example", Path: "pki/sign/web",
		Auth: cmapi.VaultAuth{ClientCertificate: &cmapi.VaultClientCertificateAuth{SecretName: "vault-client"}},
	}}}}
	l.create(vault)
	t.Cleanup(func() { l.delete(vault) })
	l.create(&cmapi.Issuer{ObjectMeta: l.meta("acme", nil), Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{ACME: &cmacme.ACMEIssuer{
		Server: "https://acme.example", PrivateKey: cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "account-to-be"}},
	}}}})
	l.create(&cmapi.Issuer{ObjectMeta: l.meta("ca", nil), Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "root"}}}})
	l.create(&cmapi.Certificate{ObjectMeta: l.meta("site", nil), Spec: cmapi.CertificateSpec{
		SecretName: "site-tls", DNSNames: []string{"other.example"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"},
	}})
	l.create(&corev1.Secret{ObjectMeta: l.meta("site-tls", map[string]string{"cert-manager.io/certificate-name": "site"}), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": nil, "tls.key": nil}})

	l.start(func(r *Reconciler) {
		r.ClusterNamespace = l.ns
		r.Reserved = []types.NamespacedName{{Namespace: "elsewhere", Name: "empty"}, {Namespace: l.ns, Name: "own"}}
	})
	before := testenv.Writes(t)
	l.ingress("web", with(), entry("password", "a.example"), entry("by-hand", "b.example"), entry("empty", "c.example"),
		entry("root", "d.example"), entry("site-tls", "e.example"), entry("account", "f.example"), entry("vault-client", "g.example"), entry("own", "h.example"),
		entry("account-to-be", "i.example"))
	l.becomes("by-hand", there)
	l.becomes("empty", there)
	const event = "Ingress/web Warning SecretConflict no Certificate is made for Secret "
	l.event(event + "password: it is of type Opaque")
	l.event(event + "root: it holds the CA of Issuer ca")
	l.event(event + "site-tls: it is that of Certificate site")
	l.event(event + "account: it is of type Opaque, was issued for no Certificate, and holds a private key without a certificate")
	l.event(event + "vault-client: ClusterIssuer vault works with it, by spec.vault.auth.clientCertificate.secretName")
	l.event(event + "own: it is this daemon's own")
	l.event(event + "account-to-be: Issuer acme works with it, by spec.acme.privateKeySecretRef")
	l.exactly("Secrets in the way", before, map[string]int{"create certificates": 2})
	for _, name := range []string{"password", "root", "site-tls", "account", "vault-client", "own", "account-to-be"} {
		if l.certificate(name) != nil {
			t.Errorf("there is a Certificate %s", name)
		}
	}
	l.delete(&corev1.Secret{ObjectMeta: l.meta("password", nil)})
	l.becomes("password", there)
}

// Who may edit an Ingress can't have the Secret of its Certificate copied to other namespaces by it.
func TestTemplateThatReflects(t *testing.T) {
	const reflects = `{"annotations":{"reflector.v1.k8s.emberstack.com/reflection-allowed":"true","reflector.v1.k8s.emberstack.com/reflection-auto-enabled":"true"}}`
	l := newLab(t)
	stop := l.start(nil)
	l.ingress("web", with("cert-manager.io/secret-template", `{"annotations":{"a.example/b":"1"}}`), entry("a", "a.example"))
	l.becomes("a", func(c *cmapi.Certificate) bool { return c.Spec.SecretTemplate.Annotations["a.example/b"] == "1" })
	before := testenv.Writes(t)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) {
		i.Annotations["cert-manager.io/secret-template"] = reflects
		i.Spec.TLS[0].Hosts[0] = "b.example"
	})
	l.event("Ingress/web Warning BadConfig annotation cert-manager.io/secret-template: annotation reflector.v1.k8s.emberstack.com/reflection-allowed would copy")
	l.exactly("a template that reflects", before, nil)
	if c := l.certificate("a"); c.Spec.DNSNames[0] != "a.example" || len(c.Spec.SecretTemplate.Annotations) != 1 {
		t.Errorf("it changed to %+v", c.Spec)
	}
	stop()
	l.start(func(r *Reconciler) { r.Policy.AllowSecretTemplateReflection = true })
	l.becomes("a", func(c *cmapi.Certificate) bool {
		return c.Spec.DNSNames[0] == "b.example" && c.Spec.SecretTemplate.Annotations["reflector.v1.k8s.emberstack.com/reflection-allowed"] == "true"
	})
}

// forgetful is a cache that has sources but never hears of Certificates and Secrets.
type forgetful struct{ client.Client }

func (f forgetful) Get(ctx context.Context, key types.NamespacedName, obj client.Object, opts ...client.GetOption) error {
	switch obj.(type) {
	case *cmapi.Certificate, *metav1.PartialObjectMetadata:
		return apierrors.NewNotFound(cmapi.Resource("certificates"), key.Name)
	}
	return f.Client.Get(ctx, key, obj, opts...)
}

func (forgetful) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// A cache that lags behind causes neither a second write nor a failed one.
func TestStaleCache(t *testing.T) {
	l := newLab(t)
	c, err := client.New(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	r := &Reconciler{Kind: KindIngress, Client: c, Live: c, Cache: forgetful{c}, Events: &l.saw, Policy: policy()}
	l.ingress("web", with(), entry("a", "a.example"))
	before := testenv.Writes(t)
	for range 3 {
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: "web"}}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"create certificates": 1}, since(t, before)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// counted is a client that counts what is read through it.
type counted struct {
	client.Client
	reads []string
}

func (c *counted) Get(ctx context.Context, key types.NamespacedName, obj client.Object, opts ...client.GetOption) error {
	what := fmt.Sprintf("%T", obj)
	c.reads = append(c.reads, what[strings.LastIndex(what, ".")+1:]+" "+key.Name)
	return c.Client.Get(ctx, key, obj, opts...)
}

func (c *counted) read() []string {
	out := slices.Sorted(slices.Values(c.reads))
	c.reads = nil
	return out
}

// A cache that has not heard of a Secret yet does not give it away; a name that is free costs one look, and that reads no payload.
func TestSecretThatTheCacheDoesNotKnow(t *testing.T) {
	l := newLab(t)
	l.secret("password", corev1.SecretTypeOpaque, map[string][]byte{"password": []byte("x")})
	l.ingress("web", with(), entry("free", "a.example"), entry("password", "b.example"))
	c := &counted{Client: daemonClient(t)}
	r := &Reconciler{Kind: KindIngress, Client: c, Live: c, Cache: forgetful{daemonClient(t)}, Events: &l.saw, Policy: policy()}
	if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	if l.certificate("free") == nil || l.certificate("password") != nil {
		t.Errorf("free: %v, password: %v", l.certificate("free"), l.certificate("password"))
	}
	l.event("Ingress/web Warning SecretConflict no Certificate is made for Secret password: it is of type Opaque")
	want := []string{"Certificate free", "Certificate password", "Ingress web", "PartialObjectMetadata free", "PartialObjectMetadata password", "Secret password"}
	if diff := cmp.Diff(want, c.read()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// unlisted is a cache that keeps no managed fields, and has no index.
type unlisted struct{ trimmed }

func (unlisted) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// What a policy adds to a Certificate is looked at live once, and again only when the Certificate or its source has changed.
func TestForeignFieldsAreLookedAtOnce(t *testing.T) {
	l := newLab(t)
	l.ingress("web", with(), entry("a", "a.example"))
	live := &counted{Client: daemonClient(t)}
	r := &Reconciler{Kind: KindIngress, Client: live.Client, Live: live, Cache: unlisted{trimmed{live.Client}}, Events: &l.saw, Policy: policy()}
	look := func() []string {
		t.Helper()
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: l.ns, Name: "web"}}); err != nil {
			t.Fatal(err)
		}
		return live.read()
	}
	look()
	if l.certificate("a") == nil {
		t.Fatal("there is no Certificate")
	}
	once := []string{"Certificate a", "Ingress web"}
	steps := []struct {
		reason string
		change func()
		want   []string
	}{
		{"as it was made", func() {}, nil},
		{"a policy adds a label and a limit", func() {
			update(l, "a", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
				c.Labels = map[string]string{"cost": "x"}
				c.Spec.RevisionHistoryLimit = ptr.To[int32](3)
			})
		}, once},
		{"nothing happens", func() {}, nil},
		{"the Certificate changes", func() {
			update(l, "a", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Labels["cost"] = "y" })
		}, once},
		{"nothing happens again", func() {}, nil},
		{"the Ingress changes", func() {
			update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Annotations["note"] = "x" })
		}, once},
	}
	for _, step := range steps {
		step.change()
		if diff := cmp.Diff(step.want, look()); diff != "" {
			t.Errorf("%s: -want +got\n%s", step.reason, diff)
		}
	}
	// It is remembered for no longer than it is true.
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Spec.TLS[0].Hosts[0] = "b.example" })
	look()
	if c := l.certificate("a"); c.Spec.DNSNames[0] != "b.example" || c.Labels["cost"] != "y" || *c.Spec.RevisionHistoryLimit != 3 {
		t.Errorf("it is %+v, labels %v", c.Spec, c.Labels)
	}
	l.delete(&networkingv1.Ingress{ObjectMeta: l.meta("web", nil)})
	look()
	if len(r.settled.versions) > 0 {
		t.Errorf("of an Ingress that is gone %v is kept", r.settled.versions)
	}
}

// The garbage collector takes the Certificates of an Ingress that is gone. It needs half a minute to learn of new kinds.
func TestCertificatesGoWithTheirIngress(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	ing := l.ingress("web", with(), entry("a", "a.example"))
	l.becomes("a", there)
	before := testenv.Writes(t)
	l.delete(ing)
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return l.certificate("a") == nil, nil })
	if err != nil {
		t.Fatalf("waiting for its end: %v", err)
	}
	l.exactly("the end of an Ingress", before, nil)
}

// The daemon sets its controllers up when it holds its Lease, long after the caches have started.
func TestSetupLater(t *testing.T) {
	l := newLab(t)
	l.ingress("web", with(), entry("a", "a.example"))
	testenv.Manager(t, func(mgr ctrl.Manager) error {
		for _, obj := range []client.Object{&networkingv1.Ingress{}, &cmapi.Certificate{}} {
			if _, err := mgr.GetCache().GetInformer(ctx, obj, cache.BlockUntilSynced(false)); err != nil {
				return err
			}
		}
		return mgr.Add(manager.RunnableFunc(func(context.Context) error {
			r := &Reconciler{Kind: KindIngress, Client: mgr.GetClient(), Cache: mgr.GetCache(), Events: &l.saw, Policy: policy()}
			return r.Setup(mgr)
		}))
	})
	l.becomes("a", there)
}

// value reads one series of Ingresses; labels beside the kind are added up.
func value(t *testing.T, reg prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == KindIngress {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestMetrics(t *testing.T) {
	l := newLab(t)
	reg := prometheus.NewRegistry()
	if err := RegisterMetrics(reg); err != nil {
		t.Fatal(err)
	}
	const problems, writes = "trustglass_source_problems", "trustglass_source_certificates_total"
	l.start(nil)
	before := value(t, reg, problems)
	become := func(what string, want float64) {
		t.Helper()
		testenv.Eventually(t, what, func() error {
			if n := value(t, reg, problems) - before; n != want {
				return fmt.Errorf("%v problems", n)
			}
			return nil
		})
	}
	l.ingress("web", with("cert-manager.io/duration", "x"), entry("a", "a.example"))
	become("a problem", 1)
	made := value(t, reg, writes)
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Annotations = with() })
	become("no problem", 0)
	if n := value(t, reg, writes) - made; n != 1 {
		t.Errorf("%v Certificates were counted", n)
	}
	update(l, "web", &networkingv1.Ingress{}, func(i *networkingv1.Ingress) { i.Annotations = with("cert-manager.io/duration", "x") })
	become("a problem again", 1)
	l.delete(&networkingv1.Ingress{ObjectMeta: l.meta("web", nil)})
	become("none when the Ingress is gone", 0)
}
