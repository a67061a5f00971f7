package signingrequest

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	acmeapi "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

const lastApplied = corev1.LastAppliedConfigAnnotation

func TestCA(t *testing.T) {
	l := newLab(t)
	root := l.ca()
	l.start(nil)
	for name, signer := range map[string]string{"namespaced": l.issuerName("ca"), "clustered": l.clusterName("ca")} {
		before := time.Now().Truncate(time.Second)
		key := l.request(name, signer, annotated(lastApplied, "{}"))
		chain := l.issued(name)
		leaf := chain[0]
		if len(chain) != 1 || leaf.CheckSignatureFrom(root) != nil || pki.KeyIDOf(leaf.PublicKey) != pki.KeyIDOf(key.Public()) {
			t.Errorf("%s: a chain of %d for %s", name, len(chain), leaf.Subject)
		}
		if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment || leaf.DNSNames[0] != name+".example.org" {
			t.Errorf("%s: CA %t, usages %b, names %q", name, leaf.IsCA, leaf.KeyUsage, leaf.DNSNames)
		}
		if d := leaf.NotAfter.Sub(leaf.NotBefore); d != 90*24*time.Hour || leaf.NotBefore.Before(before) {
			t.Errorf("%s: valid for %s from %s", name, d, leaf.NotBefore)
		}
		l.event(name, "cert-manager-certificatesigningrequests-issuer-ca Normal CertificateIssued Certificate fetched from issuer successfully")
		req := l.get(name)
		if req.Annotations[lastApplied] != "{}" {
			t.Errorf("%s: the write took annotations away: %v", name, req.Annotations)
		}
		if !wroteStatus(req, "cert-manager-certificatesigningrequests-issuer-ca") {
			t.Errorf("%s: managed fields %+v", name, req.ManagedFields)
		}
	}
}

// A client of this API may rely on the duration that it asked for: it is told where the CA ends earlier.
func TestLeafMayOutliveItsCA(t *testing.T) {
	l := newLab(t)
	l.ca()
	l.start(nil)
	l.request("long", l.issuerName("ca"), annotated(annDuration, "17520h"))
	if leaf := l.issued("long")[0]; leaf.NotAfter.Sub(leaf.NotBefore) != 17520*time.Hour {
		t.Errorf("valid for %s", leaf.NotAfter.Sub(leaf.NotBefore))
	}
	l.event("long", "cert-manager-certificatesigningrequests-issuer-ca Normal CertificateIssued Certificate fetched from issuer successfully; of use only until ")
}

func wroteStatus(req *certificatesv1.CertificateSigningRequest, manager string) bool {
	for _, e := range req.ManagedFields {
		if e.Manager == manager && e.Subresource == "status" && strings.Contains(string(e.FieldsV1.GetRawBytes()), "f:certificate") {
			return true
		}
	}
	return false
}

// Annotations and fields that say what the certificate is to be.
func TestAsks(t *testing.T) {
	l := newLab(t)
	l.ca()
	l.start(nil)
	signer := l.clusterName("ca")
	l.request("annotated", signer, func(r *certificatesv1.CertificateSigningRequest) {
		r.Annotations = map[string]string{annDuration: "48h"}
		r.Spec.ExpirationSeconds = ptr.To[int32](3600)
	})
	l.request("expires", signer, func(r *certificatesv1.CertificateSigningRequest) { r.Spec.ExpirationSeconds = ptr.To[int32](3600) })
	l.request("shortest", signer, annotated(annDuration, "600s"))
	for name, want := range map[string]time.Duration{"annotated": 48 * time.Hour, "expires": time.Hour, "shortest": 10 * time.Minute} {
		if leaf := l.issued(name)[0]; leaf.NotAfter.Sub(leaf.NotBefore) != want {
			t.Errorf("%s: valid for %s, want %s", name, leaf.NotAfter.Sub(leaf.NotBefore), want)
		}
	}
	l.request("short", signer, annotated(annDuration, "599s"))
	l.failed("short", "InvalidDuration")
	l.event("short", "cert-manager-certificatesigningrequests-issuer-ca Warning InvalidDuration CertificateSigningRequest minimum allowed duration is 10m0s, requested 9m59s")
	l.request("garbled", signer, annotated(annDuration, "1 year"))
	if m := l.failed("garbled", "ErrorParseDuration"); !strings.Contains(m, annDuration) {
		t.Errorf("message %q", m)
	}
	ca := func(usages ...certificatesv1.KeyUsage) func(*certificatesv1.CertificateSigningRequest) {
		return func(r *certificatesv1.CertificateSigningRequest) {
			key := must(pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}))
			r.Spec.Request = must(pki.NewRequest(&cmapi.CertificateSpec{CommonName: "sub", IsCA: true, EncodeUsagesInRequest: ptr.To(false)}, key))
			r.Annotations, r.Spec.Usages = map[string]string{annIsCA: "true"}, usages
		}
	}
	l.request("sub", signer, ca(certificatesv1.UsageCertSign, certificatesv1.UsageDigitalSignature))
	if sub := l.issued("sub")[0]; !sub.IsCA || sub.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature {
		t.Errorf("CA %t, usages %b", sub.IsCA, sub.KeyUsage)
	}
	l.request("extended", signer, func(r *certificatesv1.CertificateSigningRequest) {
		ca(certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageSMIME)(r)
		r.Annotations = nil
	})
	if leaf := l.issued("extended")[0]; leaf.IsCA || len(leaf.ExtKeyUsage) != 3 || leaf.KeyUsage != 0 {
		t.Errorf("CA %t, usages %b %v", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	l.request("odd", signer, func(r *certificatesv1.CertificateSigningRequest) { // its CSR has other usages
		r.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth}
	})
	l.failed("odd", "SigningError")
	l.event("odd", "cert-manager-certificatesigningrequests-issuer-ca Warning SigningError building the certificate: the key usages in the CSR are not those of spec.usages")
}

// Only who may reference an Issuer gets a certificate from it: by name, by *, by group; a ClusterIssuer is everybody's.
func TestReference(t *testing.T) {
	l := newLab(t)
	l.ca()
	alice := l.user(rest.ImpersonationConfig{UserName: "alice"})
	bob := l.user(rest.ImpersonationConfig{UserName: "bob", UID: "b0b", Groups: []string{"devs"}, Extra: map[string][]string{"example.org/team": {"a"}}})
	carol := l.user(rest.ImpersonationConfig{UserName: "carol"})
	dave := l.user(rest.ImpersonationConfig{UserName: "dave"})
	l.mayReference("User", "alice", "ca")
	l.mayReference("Group", "devs", "*")
	l.mayReference("User", "carol", "another")
	l.start(nil)
	for name, who := range map[string]client.Client{"alice": alice, "bob": bob, "carol": carol, "dave": dave} {
		l.ask(who, name, l.issuerName("ca"), nil)
		l.judge(name, certificatesv1.CertificateApproved)
		l.ask(who, name+"-cluster", l.clusterName("ca"), nil)
		l.judge(name+"-cluster", certificatesv1.CertificateApproved)
	}
	for _, name := range []string{"alice", "bob", "alice-cluster", "bob-cluster", "carol-cluster", "dave-cluster"} {
		l.issued(name)
	}
	for _, name := range []string{"carol", "dave"} {
		if m := l.failed(name, "DeniedReference"); m != "Requester may not reference Namespaced Issuer "+l.ns+"/ca" {
			t.Errorf("message %q", m)
		}
		l.event(name, "cert-manager-certificatesigningrequests-issuer-ca Warning DeniedReference Requester may not reference")
	}
}

// A request waits for whatever may still come, says once what for, and goes on when it has come.
func TestWaiting(t *testing.T) {
	l := newLab(t)
	stop := l.start(nil)
	l.ask(testenv.Admin(), "web", l.issuerName("ca"), nil)
	l.event("web", "cert-manager-certificatesigningrequests Normal WaitingApproval Waiting for the Approved condition before issuing")
	l.judge("web", certificatesv1.CertificateApproved)
	l.event("web", "cert-manager-certificatesigningrequests Warning IssuerNotFound Referenced Issuer "+l.ns+"/ca not found")
	l.issuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.event("web", "cert-manager-certificatesigningrequests-issuer-ca Warning IssuerNotReady Referenced Issuer "+l.ns+"/ca does not have a Ready status condition")
	l.ready("ca", cmmeta.ConditionFalse)
	l.event("web", "cert-manager-certificatesigningrequests-issuer-ca Warning IssuerNotReady Referenced Issuer "+l.ns+"/ca does not have a Ready status condition: Test: says the test")
	l.ready("ca", cmmeta.ConditionTrue)
	l.event("web", "cert-manager-certificatesigningrequests-issuer-ca Warning SecretMissing Secret "+l.ns+"/ca does not exist")
	said := map[string]int{}
	for _, e := range l.saw.all() {
		if said[e]++; said[e] > 1 {
			t.Errorf("said again: %s", e)
		}
	}
	for _, c := range l.get("web").Status.Conditions {
		if c.Type != certificatesv1.CertificateApproved {
			t.Errorf("a request that waits has condition %+v", c)
		}
	}
	stop()

	first := &Reconciler{}
	l.start(func(r *Reconciler) { first = r })
	l.event("web", "cert-manager-certificatesigningrequests-issuer-ca Warning SecretMissing")
	for _, obj := range []client.Object{&cmapi.Issuer{ObjectMeta: l.meta("ca")}, &cmapi.ClusterIssuer{}} {
		if obj.GetName() == "" {
			obj.SetName(l.ns + ".ca")
		}
		if err := testenv.Admin().Delete(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	l.ca()
	l.issued("web")
	testenv.Eventually(t, "the memory of what was said to go", func() error {
		first.told.mu.Lock()
		defer first.told.mu.Unlock()
		if n := len(first.told.last); n != 0 {
			return fmt.Errorf("%d entries", n)
		}
		return nil
	})
}

// What is not ours to sign is not touched.
func TestLeftAlone(t *testing.T) {
	l := newLab(t)
	l.ca()
	l.issuer("acme", cmapi.IssuerConfig{ACME: &acmeapi.ACMEIssuer{Server: "https://acme.example.org/directory", PrivateKey: cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "account"}}}})
	l.issuer("vault", cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{Server: "https://vault.example.org", Path: "pki/sign/x", Auth: cmapi.VaultAuth{TokenSecretRef: &cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: "token"}}}}})
	l.ready("acme", cmmeta.ConditionTrue)
	l.request("acme", l.issuerName("acme"), nil)
	l.request("vault", l.clusterName("vault"), nil)
	l.request("foreign", "stepissuers.certmanager.step.sm/a.ca", nil)
	l.request("malformed", "issuers.cert-manager.io/ca", nil)
	l.ask(testenv.Admin(), "denied", l.issuerName("ca"), nil)
	l.judge("denied", certificatesv1.CertificateDenied)
	names := []string{"acme", "vault", "foreign", "malformed", "denied"}
	before := map[string]string{}
	for _, name := range names {
		before[name] = l.get(name).ResourceVersion
	}
	writes := testenv.Writes(t)
	l.start(nil)
	l.event("acme", "cert-manager-certificatesigningrequests-issuer-acme Warning IssuerTypeNotSupported Referenced Issuer "+l.ns+"/acme is of type acme, which trustglass does not serve")
	l.event("vault", "cert-manager-certificatesigningrequests-issuer-vault Warning IssuerTypeNotSupported")
	l.event("malformed", "cert-manager-certificatesigningrequests Warning IssuerNotFound spec.signerName")
	l.exactly("requests of others", writes, map[string]int{})
	for _, name := range names {
		if after := l.get(name).ResourceVersion; after != before[name] {
			t.Errorf("%s was written", name)
		}
	}
}

func TestSelfSigned(t *testing.T) {
	l := newLab(t)
	l.issuer("self", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{CRLDistributionPoints: []string{"http://crl.example.org"}}})
	l.ready("self", cmmeta.ConditionTrue)
	l.start(nil)
	const component = "cert-manager-certificatesigningrequests-issuer-selfsigned "
	l.request("bare", l.issuerName("self"), nil)
	l.failed("bare", "MissingAnnotation")
	l.event("bare", component+"Warning MissingAnnotation Missing private key reference annotation: \"experimental.cert-manager.io/private-key-secret-name\"")

	for _, tc := range []struct{ name, signer, namespace string }{
		{"namespaced", l.issuerName("self"), l.ns}, {"clustered", l.clusterName("self"), l.cluster},
	} {
		key := l.request(tc.name, tc.signer, annotated(annKeySecret, tc.name))
		data := map[string][]byte{"tls.key": must(pki.EncodeKey(key, cmapi.PKCS8))}
		l.event(tc.name, component+"Warning SecretNotFound Secret "+tc.namespace+"/"+tc.name+" with the request's private key does not exist")
		other := map[string]string{l.ns: l.cluster, l.cluster: l.ns}[tc.namespace]
		l.secret(other, tc.name, data) // of no help: it lies elsewhere
		l.secret(tc.namespace, tc.name, data)
		leaf := l.issued(tc.name)[0]
		if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil || leaf.Issuer.CommonName != tc.name || len(leaf.CRLDistributionPoints) != 1 {
			t.Errorf("%s: issued by %s, CRLs at %q", tc.name, leaf.Issuer, leaf.CRLDistributionPoints)
		}
		l.event(tc.name, component+"Normal CertificateIssued Certificate self signed successfully")
		if req := l.get(tc.name); !wroteStatus(req, strings.TrimSpace(component)) {
			t.Errorf("%s: managed fields %+v", tc.name, req.ManagedFields)
		}
	}

	// A Secret that holds no key is put right.
	key := l.request("broken", l.issuerName("self"), annotated(annKeySecret, "broken"))
	l.secret(l.ns, "broken", map[string][]byte{"tls.key": []byte("x")})
	l.event("broken", component+"Warning ErrorParsingKey")
	fixed := &corev1.Secret{ObjectMeta: l.meta("broken"), Data: map[string][]byte{"tls.key": must(pki.EncodeKey(key, cmapi.PKCS8))}}
	if err := testenv.Admin().Update(ctx, fixed); err != nil {
		t.Fatal(err)
	}
	l.issued("broken")

	l.request("other", l.issuerName("self"), annotated(annKeySecret, "broken"))
	l.failed("other", "ErrorKeyMatch")
	l.event("other", component+"Warning ErrorKeyMatch")
}
