package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// Users' manifest for a shared wildcard certificate, with the internal CA in the place of its ACME issuer: mirrors in app1, app2
// and app3 and nowhere else, also where a namespace appears later; they follow a renewal and go with their source.
func TestSharedCertificate(t *testing.T) {
	startDaemon(t)
	apply(t, "internal-ca.yaml")
	namespace(t, "app1", nil)
	namespace(t, "app2", nil)
	namespace(t, "app4", nil)
	apply(t, "shared-certificate.yaml", func(u *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(u.Object, "intermediate-ca", "spec", "issuerRef", "name"); err != nil {
			t.Fatal(err)
		}
	})
	waitReady(t, "cert-manager", "shared-cert")
	waitMirrors(t, "shared-tls", "app1", "app2")
	namespace(t, "app3", nil)
	waitMirrors(t, "shared-tls", "app1", "app2", "app3")

	before := secret(t, "cert-manager", "shared-tls")
	renew(t, "cert-manager", "shared-cert")
	testenv.Eventually(t, "a new key in the source", func() error {
		if bytes.Equal(secret(t, "cert-manager", "shared-tls").Data["tls.key"], before.Data["tls.key"]) {
			return fmt.Errorf("it is the old one")
		}
		return nil
	})
	waitMirrors(t, "shared-tls", "app1", "app2", "app3")

	cert, err := get("cert-manager", "shared-cert", &cmapi.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	if err := testenv.Admin().Delete(ctx, cert); err != nil {
		t.Fatal(err)
	}
	if err := testenv.Admin().Delete(ctx, secret(t, "cert-manager", "shared-tls")); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"app1", "app2", "app3"} {
		testenv.Eventually(t, "the mirror in "+ns+" to be gone", func() error { return absent(&corev1.Secret{}, ns, "shared-tls") })
	}
}

// renew asks for a renewal as cmctl does.
func renew(t *testing.T, namespace, name string) {
	t.Helper()
	testenv.Eventually(t, "asking for a renewal", func() error {
		cert, err := get(namespace, name, &cmapi.Certificate{})
		if err != nil {
			return err
		}
		now := metav1.Now()
		cert.Status.Conditions = append(cert.Status.Conditions, cmapi.CertificateCondition{
			Type: cmapi.CertificateConditionIssuing, Status: cmmeta.ConditionTrue, Reason: "ManuallyTriggered",
			Message: "Certificate re-issuance manually triggered", LastTransitionTime: &now,
		})
		return testenv.Admin().Status().Update(ctx, cert)
	})
}

// waitMirrors waits until a Secret of cert-manager stands, byte for byte, in exactly these namespaces.
func waitMirrors(t *testing.T, name string, namespaces ...string) {
	t.Helper()
	testenv.Eventually(t, fmt.Sprintf("mirrors of %s in %v", name, namespaces), func() error {
		source, err := get("cert-manager", name, &corev1.Secret{})
		if err != nil {
			return err
		}
		var all corev1.SecretList
		if err := testenv.Admin().List(ctx, &all); err != nil {
			return err
		}
		var in []string
		for _, m := range all.Items {
			if m.Name != name || m.Namespace == source.Namespace {
				continue
			}
			if !bytes.Equal(m.Data["tls.key"], source.Data["tls.key"]) || !bytes.Equal(m.Data["tls.crt"], source.Data["tls.crt"]) || m.Type != source.Type {
				return fmt.Errorf("the mirror in %s differs from its source", m.Namespace)
			}
			in = append(in, m.Namespace)
		}
		if slices.Sort(in); !slices.Equal(in, namespaces) {
			return fmt.Errorf("mirrors stand in %v", in)
		}
		return nil
	})
}

// Users' manifests for trust: the root in every namespace labelled trust=internal; a client that has only that completes a
// handshake with a server whose Secret it can't read.
func TestTrust(t *testing.T) {
	startDaemon(t)
	server := testenv.Namespace(t, nil)
	clientNS := testenv.Namespace(t, map[string]string{"trust": "internal"})
	apply(t, "internal-ca.yaml")
	apply(t, "trust.yaml")
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(server) })
	waitReady(t, server, "leaf")
	var bundle *corev1.ConfigMap
	testenv.Eventually(t, "the bundle in the client's namespace", func() (err error) {
		bundle, err = get(clientNS, "internal-ca", &corev1.ConfigMap{})
		return err
	})
	if err := absent(&corev1.ConfigMap{}, server, "internal-ca"); err != nil {
		t.Errorf("the server's namespace is not selected: %v", err)
	}
	handshake(t, secret(t, server, "leaf-tls"), bundle.Data["ca.crt"])
	testenv.Eventually(t, "the Bundle to be Synced", func() error {
		b, err := get("", "internal-ca", &trustapi.Bundle{})
		if err != nil {
			return err
		}
		for _, c := range b.Status.Conditions {
			if c.Type == "Synced" && c.Status == metav1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("conditions: %+v", b.Status.Conditions)
	})
}

func handshake(t *testing.T, server *corev1.Secret, roots string) {
	t.Helper()
	pair, err := tls.X509KeyPair(server.Data["tls.crt"], server.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(roots))
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = io.WriteString(conn, "hello") // the client checks
			conn.Close()
		}
	}()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "leaf.example.com"})
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("over TLS came %q, %v", got, err)
	}
}

// A daemon that was killed without warning comes back, takes its Leases over when they have run out, and goes on; with
// everything in place it writes nothing.
func TestKillAndRestart(t *testing.T) {
	d := startDaemon(t)
	ns := testenv.Namespace(t, nil)
	apply(t, "internal-ca.yaml")
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(ns) })
	waitReady(t, ns, "leaf")
	testenv.Eventually(t, "the temporary keys to go", func() error { // that is the last step, after Ready
		var keys corev1.SecretList
		err := testenv.Admin().List(ctx, &keys, client.MatchingLabels{cmapi.IsNextPrivateKeySecretLabelKey: "true"})
		if err == nil && len(keys.Items) > 0 {
			err = fmt.Errorf("%d are there", len(keys.Items))
		}
		return err
	})
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	before := settle(t, ns)
	startDaemon(t)
	extra := &cmapi.Certificate{}
	extra.Namespace, extra.Name = ns, "extra"
	extra.Spec = cmapi.CertificateSpec{SecretName: "extra", DNSNames: []string{"extra"}, IssuerRef: cmmeta.IssuerReference{Name: "intermediate-ca", Kind: "ClusterIssuer"}}
	create(t, extra)
	waitReady(t, ns, "extra") // so the new daemon works
	after := settle(t, ns)
	for key, version := range before {
		if after[key] != version {
			t.Errorf("%s was written after the restart: resourceVersion %s, then %s", key, version, after[key])
		}
	}
}

// versions returns the resourceVersions of everything that the daemon may have written.
func versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"Certificate": &cmapi.CertificateList{}, "CertificateRequest": &cmapi.CertificateRequestList{},
		"ClusterIssuer": &cmapi.ClusterIssuerList{}, "Secret": &corev1.SecretList{},
	} {
		if err := testenv.Admin().List(ctx, list); err != nil {
			t.Fatal(err)
		}
		raw, err := objectsOf(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range raw {
			// Requests of an earlier test's Certificates may still be collected from cert-manager.
			if o.GetNamespace() == namespace || o.GetNamespace() == "" || o.GetNamespace() == "cert-manager" && kind != "CertificateRequest" {
				out[kind+" "+o.GetNamespace()+"/"+o.GetName()] = o.GetResourceVersion()
			}
		}
	}
	return out
}

// One daemon works at a time; the second takes over when the first stops.
func TestSecondDaemonStandsBy(t *testing.T) {
	first := startDaemon(t)
	startDaemon(t)
	ns := testenv.Namespace(t, nil)
	apply(t, "internal-ca.yaml")
	waitReady(t, "cert-manager", "root-ca")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(ns) })
	waitReady(t, ns, "leaf")
}

// Each kind of bad input is reported on the object at fault, and everything else goes on.
func TestBadInput(t *testing.T) {
	startDaemon(t)
	ns := testenv.Namespace(t, map[string]string{"trust": "bad-input"})
	apply(t, "internal-ca.yaml")
	apply(t, "bad-input.yaml", func(u *unstructured.Unstructured) {
		if u.GetKind() != "Bundle" {
			u.SetNamespace(ns)
		}
	})
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(ns) })

	waitReady(t, ns, "leaf")
	for _, tc := range []struct{ namespace, name, reason, message string }{
		{ns, "nameless", "InvalidSpec", "set at least one of commonName"},
		{ns, "orphan", "Waiting", "create it or correct issuerRef"},
		{ns, "garbage-ca", "ErrInvalidKeyPair", "garbage"},
		{ns, "missing-ca", "ErrGetKeyPair", "does not exist"},
		{ns, "bad-pattern", "InvalidPattern", ""},
		{ns, "bad-selector", "InvalidSelector", ""},
		{ns, "lost-mirror", "SourceNotFound", ""},
		{ns, "forbidden-type", "RefusedType", ""},
	} {
		waitEvent(t, tc.namespace, tc.name, tc.reason, tc.message)
	}
	for name, reason := range map[string]string{"missing-source": "SourceNotFound", "private-key": "SourceBuildError"} {
		testenv.Eventually(t, "Bundle "+name+" to say "+reason, func() error {
			b, err := get("", name, &trustapi.Bundle{})
			if err != nil {
				return err
			}
			for _, c := range b.Status.Conditions {
				if c.Type == "Synced" && c.Status == metav1.ConditionFalse && c.Reason == reason {
					return nil
				}
			}
			return fmt.Errorf("conditions: %+v", b.Status.Conditions)
		})
		if err := absent(&corev1.ConfigMap{}, ns, name); err != nil {
			t.Error(err)
		}
	}
	cert, err := get(ns, "nameless", &cmapi.Certificate{})
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.Status.Conditions) != 1 || cert.Status.Conditions[0].Reason != "InvalidSpec" {
		t.Errorf("conditions of the Certificate without a name: %+v", cert.Status.Conditions)
	}
}

// The metrics that dashboards made for the programs we replace look at, and a live probe.
func TestMetricsAndProbes(t *testing.T) {
	d := startDaemon(t)
	ns := testenv.Namespace(t, nil)
	apply(t, "internal-ca.yaml")
	apply(t, "leaf.yaml", func(u *unstructured.Unstructured) { u.SetNamespace(ns) })
	waitReady(t, ns, "leaf")
	testenv.Eventually(t, "the certificate's metrics", func() error {
		text, err := testenv.Fetch(ctx, d.Metrics)
		if err != nil {
			return err
		}
		for _, want := range []string{
			`certmanager_certificate_ready_status{condition="True",issuer_group="",issuer_kind="ClusterIssuer",issuer_name="intermediate-ca",name="leaf",namespace="` + ns + `"} 1`,
			`certmanager_certificate_expiration_timestamp_seconds{issuer_group="",issuer_kind="ClusterIssuer",issuer_name="intermediate-ca",name="leaf",namespace="` + ns + `"} 1`,
			`certmanager_clusterissuer_ready_status{condition="True",name="intermediate-ca"} 1`,
		} {
			if !strings.Contains(string(text), want) {
				return fmt.Errorf("there is no %s", want)
			}
		}
		return nil
	})
	for _, path := range []string{"/livez", "/readyz"} {
		if _, err := testenv.Fetch(ctx, d.Probes+path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Everything in deploy/ applies, and the pod that it describes is admitted under PodSecurity "restricted".
func TestDeployUnderRestricted(t *testing.T) {
	if err := testenv.InstallAll(ctx, testenv.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := testenv.RemoveWebhooks(ctx, testenv.AdminConfig()); err != nil {
			t.Error(err)
		}
		u := object("apps/v1", "Deployment", "cert-manager", "trustglass")
		if err := testenv.Admin().Delete(ctx, u); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	ns, err := get("", "cert-manager", &corev1.Namespace{})
	if err != nil {
		t.Fatal(err)
	}
	if ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Fatalf("labels of namespace cert-manager: %v", ns.Labels)
	}
	testenv.Eventually(t, "the daemon's pod", func() error {
		var pods corev1.PodList
		if err := testenv.Admin().List(ctx, &pods, client.InNamespace("cert-manager"), client.MatchingLabels{"app.kubernetes.io/name": "trustglass"}); err != nil {
			return err
		}
		if len(pods.Items) == 0 {
			return fmt.Errorf("there is none")
		}
		return nil
	})
}
