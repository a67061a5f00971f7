package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	cmacme "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// The API server itself asks: each kind of refusal arrives at whoever made it, with field and reason.
func TestRefusals(t *testing.T) {
	l := newLab(t)
	l.install()
	l.start()
	l.eventuallyAdmitted()
	certificate := func(change func(*cmapi.CertificateSpec)) client.Object {
		c := l.certificate("bad")
		change(&c.Spec)
		return c
	}
	issuer := func(c cmapi.IssuerConfig) client.Object {
		i := &cmapi.Issuer{Spec: cmapi.IssuerSpec{IssuerConfig: c}}
		i.Namespace, i.Name = l.ns, "bad"
		return i
	}
	request := func(change func(*cmapi.CertificateRequest)) client.Object {
		r := l.request("bad", cmmeta.IssuerReference{Name: "ca"})
		change(r)
		return r
	}
	cluster := &cmapi.ClusterIssuer{Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{}}}}
	cluster.Name = "bad"
	for _, tc := range []struct {
		reason string
		obj    client.Object
		want   string
	}{
		{"a Secret's name", certificate(func(s *cmapi.CertificateSpec) { s.SecretName = "" }), "spec.secretName: Required value: must be"},
		{"an issuer's kind", certificate(func(s *cmapi.CertificateSpec) { s.IssuerRef.Kind = "StepIssuer" }), `spec.issuerRef.kind: Invalid value: "StepIssuer": must be Issuer or ClusterIssuer; an issuer of another kind needs its group`},
		{"no name", certificate(func(s *cmapi.CertificateSpec) { s.CommonName = "" }), "spec: Invalid value: a certificate needs a name"},
		{"a literal subject", certificate(func(s *cmapi.CertificateSpec) { s.CommonName, s.LiteralSubject = "", "UNKNOWN=blah" }),
			`spec.literalSubject: Invalid value: "UNKNOWN=blah": Literal subject contains unrecognized key with value [blah]`},
		{"an other name", certificate(func(s *cmapi.CertificateSpec) { s.OtherNames = []cmapi.OtherName{{OID: "BAD_OID", UTF8Value: "a"}} }),
			`spec.otherNames[0].oid: Invalid value: "BAD_OID": oid syntax invalid`},
		{"several mistakes", certificate(func(s *cmapi.CertificateSpec) { s.SecretName, s.IssuerRef.Name = "", "" }), "[spec.secretName: Required value: must be the name of a Secret in the same namespace, spec.issuerRef.name: Required value"},
		{"a key", certificate(func(s *cmapi.CertificateSpec) { s.PrivateKey = &cmapi.CertificatePrivateKey{Size: 1024} }), `spec.privateKey.size: Invalid value: "1024"`},
		{"an Issuer", issuer(cmapi.IssuerConfig{}), "spec: Required value: must say what kind of issuer it is"},
		{"an ACME Issuer", issuer(cmapi.IssuerConfig{ACME: &cmacme.ACMEIssuer{Server: "https://a", PrivateKey: cmmeta.SecretKeySelector{}}}), "spec.acme.privateKeySecretRef.name: Required value"},
		{"a Vault Issuer", issuer(cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{Server: "https://a", Path: "a/../b"}}), `[spec.vault.path: Invalid value: "a/../b": must not contain "..", spec.vault.auth: Required value`},
		{"a ClusterIssuer", cluster, "spec.ca.secretName: Required value"},
		{"a CSR", request(func(r *cmapi.CertificateRequest) { r.Spec.Request = []byte("x") }), "spec.request: Invalid value: no PEM block"},
		{"a CSR of other usages", request(func(r *cmapi.CertificateRequest) { r.Spec.IsCA = true }), "spec.request: Invalid value: the key usages in the CSR are not those of spec.usages"},
	} {
		t.Run(tc.reason, func(t *testing.T) { refused(t, testenv.Admin().Create(ctx, tc.obj), tc.want) })
	}
}

type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

func TestWarning(t *testing.T) {
	l := newLab(t)
	l.install()
	l.start()
	l.eventuallyAdmitted()
	config, saw := testenv.AdminConfig(), &warnings{}
	config.WarningHandlerWithContext = saw
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	key := cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "s"}, Key: "k"}
	//lint:ignore SA1019 that it is deprecated is what is tested
	eab := &cmacme.ACMEExternalAccountBinding{KeyID: "1", Key: key, KeyAlgorithm: cmacme.HS256}
	i := &cmapi.Issuer{Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{ACME: &cmacme.ACMEIssuer{Server: "https://a", PrivateKey: key, ExternalAccountBinding: eab}}}}
	i.Namespace, i.Name = l.ns, "acme"
	if err := c.Create(ctx, i, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if len(saw.list) != 1 || !strings.Contains(saw.list[0], "keyAlgorithm is deprecated") {
		t.Errorf("warned: %q", saw.list)
	}
}

// What was stored before a rule was there, or in a namespace that is not validated, may be labelled and deleted, but not made worse.
func TestStoredObjectsAreNotHeldHostage(t *testing.T) {
	l := newLab(t)
	l.ns = testenv.Namespace(t, map[string]string{"cert-manager.io/disable-validation": "true"})
	bad := l.certificate("bad")
	bad.Spec.SecretName = ""
	if err := testenv.Admin().Create(ctx, bad); err != nil {
		t.Fatal(err)
	}
	l.ns = bad.Namespace
	l.install()
	l.start()
	if err := testenv.Admin().Create(ctx, func() client.Object { c := bad.DeepCopy(); c.ResourceVersion, c.Name = "", "bad-2"; return c }()); err != nil {
		t.Errorf("in a namespace that is not validated: %v", err)
	}
	open := &unstructured.Unstructured{}
	open.SetAPIVersion("v1")
	open.SetKind("Namespace")
	open.SetName(l.ns)
	if err := testenv.Admin().Patch(ctx, open, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"cert-manager.io/disable-validation":null}}}`))); err != nil {
		t.Fatal(err)
	}
	l.eventuallyAdmitted()
	bad.Labels = map[string]string{"a": "b"}
	if err := testenv.Admin().Update(ctx, bad); err != nil {
		t.Errorf("labelling: %v", err)
	}
	worse := bad.DeepCopy()
	worse.Spec.IsCA = true
	refused(t, testenv.Admin().Update(ctx, worse), "spec.secretName: Required value")
	if err := testenv.Admin().Delete(ctx, bad); err != nil {
		t.Errorf("deleting: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	l := newLab(t)
	l.install()
	l.start()
	l.allow("alice", nil, "create", "certificaterequests")
	l.allow("alice", nil, "update", "certificaterequests")
	l.eventuallyAdmitted()
	alice := l.as("alice")
	r := l.request("forged", cmmeta.IssuerReference{Name: "ca"})
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "system:admin", "0", []string{"system:masters"}, map[string][]string{"a": {"b"}}
	testenv.Eventually(t, "alice to have her rights", func() error { return alice.Create(ctx, r.DeepCopy()) })
	stored := &cmapi.CertificateRequest{}
	if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(r), stored); err != nil {
		t.Fatal(err)
	}
	want := r.Spec
	want.Username, want.UID, want.Groups, want.Extra = "alice", "uid-of-alice", []string{"system:authenticated", "team"}, map[string][]string{"example.com/team": {"red"}}
	if diff := cmp.Diff(want, stored.Spec); diff != "" {
		t.Errorf("who made it (-want +got):\n%s", diff)
	}
	stored.Spec.Username = "bob"
	refused(t, alice.Update(ctx, stored), "spec: Forbidden: a request can't be changed")

	// Without the mutating one, forging is refused.
	if err := testenv.Admin().Delete(ctx, configurations(t, l.address)[0]); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "a forged request to be refused", func() error {
		forged := l.request("forged-2", cmmeta.IssuerReference{Name: "ca"})
		forged.Spec.Username = "system:admin"
		err := alice.Create(ctx, forged, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "spec.username: Forbidden: must be that of the user who creates the request") {
			return fmt.Errorf("got %w", errors.Join(err))
		}
		return nil
	})
}

// While the daemon is away, nothing is judged, but what needs no judgement goes on: labels, deletions, and what issuers answer.
func TestAway(t *testing.T) {
	l := newLab(t)
	l.install()
	_, stop := l.start()
	l.eventuallyAdmitted()
	c, r, undecided := l.certificate("web"), l.request("web", cmmeta.IssuerReference{Name: "ca"}), l.request("undecided", cmmeta.IssuerReference{Name: "ca"})
	for _, obj := range []client.Object{c, r, undecided} {
		if err := testenv.Admin().Create(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	now := metav1.Now()
	r.Status.Conditions = []cmapi.CertificateRequestCondition{{Type: "Approved", Status: "True", Reason: "test", LastTransitionTime: &now}}
	if err := testenv.Admin().Status().Update(ctx, r); err != nil {
		t.Fatal(err)
	}
	stop()
	c.Labels = map[string]string{"a": "b"}
	if err := testenv.Admin().Update(ctx, c); err != nil {
		t.Errorf("labelling a Certificate: %v", err)
	}
	for _, r := range []*cmapi.CertificateRequest{r, undecided} {
		r.Status.Conditions = append(r.Status.Conditions, cmapi.CertificateRequestCondition{Type: "Ready", Status: "False", Reason: "Pending", LastTransitionTime: &now})
		if err := testenv.Admin().Status().Update(ctx, r); err != nil {
			t.Errorf("what an issuer says of %s: %v", r.Name, err)
		}
	}
	for what, err := range map[string]error{
		"a new Certificate": l.admitted(),
		"a changed Certificate": func() error {
			changed := c.DeepCopy()
			changed.Spec.IsCA = true
			return testenv.Admin().Update(ctx, changed)
		}(),
		"an approval": func() error {
			judged := undecided.DeepCopy()
			judged.Status.Conditions = append(judged.Status.Conditions, cmapi.CertificateRequestCondition{Type: "Approved", Status: "True"})
			return testenv.Admin().Status().Update(ctx, judged)
		}(),
		"a verdict taken back": func() error {
			judged := r.DeepCopy()
			judged.Status.Conditions = judged.Status.Conditions[1:]
			return testenv.Admin().Status().Update(ctx, judged)
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), `failed calling webhook "webhook.cert-manager.io"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := testenv.Admin().Delete(ctx, c); err != nil {
		t.Errorf("deleting a Certificate: %v", err)
	}
}

// The port speaks TLS 1.2 at least, with a certificate that the configurations trust, and says that it lives.
func TestTLS(t *testing.T) {
	l := newLab(t)
	l.install()
	l.start()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundleOf(t, configurations(t, l.address)[0]))
	for _, name := range []string{"127.0.0.1", "trustglass-webhook.cert-manager.svc"} {
		httpClient := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}}
		resp, err := httpClient.Get("https://" + l.address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("as %s: %s", name, resp.Status)
		}
	}
	conn, err := tls.Dial("tcp", l.address, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// The port is asked as the API server asks: by name, with the CA, at the clock that counts. Whoever else listens there is not us.
func TestReadinessAsksThePort(t *testing.T) {
	at := epoch.Add(3 * 365 * day)
	ca, other := madeAt(t, 3*365), madeAt(t, 3*365)
	serve := func(by *pki.KeyPair) (*Server, *serving) {
		leaf, err := newLeaf(by, []string{"trustglass-webhook.ns.svc"}, at, day)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{keeper: &keeper{}, mux: http.NewServeMux(), options: Options{Now: func() time.Time { return at }}}
		state := &serving{leaf: leaf, ca: by.Certs[0], names: []string{"trustglass-webhook.ns.svc"}, trusted: [][]byte{pki.EncodeCertificates(by.Certs[0])}}
		s.keeper.state.Store(state)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := s.httpServer(t.Context())
		t.Cleanup(func() { server.Close() })
		go func() { _ = server.ServeTLS(listener, "", "") }()
		s.listens(listener)
		return s, state
	}
	s, state := serve(ca)
	if err := ready(s); err != nil {
		t.Errorf("its own port: %v", err)
	}
	stranger, _ := serve(other)
	own := s.listener
	s.listens(stranger.listener)
	if err := ready(s); err == nil || !strings.Contains(err.Error(), "connecting to the webhook: tls: failed to verify certificate: x509: certificate signed by unknown authority") {
		t.Errorf("a stranger's port: %v", err)
	}
	s.listens(own)
	s.options.Now = func() time.Time { return at.Add(2 * day) }
	if err := s.handshake(t.Context(), own.Addr(), state); err == nil || !strings.Contains(err.Error(), "certificate has expired") {
		t.Errorf("a certificate that has expired: %v", err)
	}
	s.listens(nil)
	s.options.Now = func() time.Time { return at }
	if err := ready(s); err == nil || err.Error() != "the webhook does not listen yet" {
		t.Errorf("without a port: %v", err)
	}
}

func TestLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, broken := time.Now(), errors.New("broken")
		served := make(chan error, 1)
		if err := linger(served, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("it ends after %s: %v", time.Since(began), err)
		}
		began = time.Now()
		time.AfterFunc(time.Minute, func() { served <- broken })
		if err := linger(served, time.Hour); !errors.Is(err, broken) || time.Since(began) != time.Minute {
			t.Errorf("where serving breaks off it ends after %s: %v", time.Since(began), err)
		}
	})
}

// A server that was told to stop goes on answering, until it has lingered or can't any more.
func TestAnswersWhileItLingers(t *testing.T) {
	l := newLab(t)
	l.options.Linger = time.Hour
	k := l.keeper(daemonClient(t))
	k.config = testenv.DaemonConfig()
	s := &Server{keeper: k, options: l.options, mux: http.NewServeMux()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Start(ctx) }()
	l.waitReady(s)
	stop()
	for range 50 {
		if err := ready(s); err != nil {
			t.Fatalf("after it was told to stop: %v", err)
		}
	}
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()
	select {
	case err := <-stopped:
		t.Fatalf("it does not linger: %v", err)
	default:
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-stopped:
		if err == nil || !strings.Contains(err.Error(), "serving admission requests: ") {
			t.Errorf("its port is gone: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it lingers at a port that is gone")
	}
}
