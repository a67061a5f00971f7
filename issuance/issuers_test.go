package issuance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// A leaf ends with its CA, and says so; an expired CA signs nothing until somebody renews it.
func TestShortLivedCA(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.caSecret("ca", 10*day)
	l.issuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.issuerReady("ca", cmmeta.ConditionTrue, "KeyPairVerified")
	l.certificate("web", nil)
	cert, leaf := l.ready("web", 1)
	s, err := get(l, "ca", &corev1.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	ca := must(soundLeaf(s))
	if leaf.NotAfter.After(ca.NotAfter) || cert.Status.NotAfter.After(ca.NotAfter) {
		t.Errorf("the leaf ends at %s, its CA at %s", leaf.NotAfter, ca.NotAfter)
	}
	const note = "valid only until "
	r := l.requestSays("web-1", "Issued")
	if c := requestCondition(&r.Status, "Ready"); !strings.Contains(c.Message, note) {
		t.Errorf("message %q", c.Message)
	}
	l.event("Certificate/web Warning ShortenedByCA Certificate " + note)

	l.clock.jump(11 * day)
	c := l.issuerReady("ca", cmmeta.ConditionFalse, "ErrInvalidKeyPair")
	if !strings.Contains(c.Message, "the CA's certificate expired at ") || !strings.Contains(c.Message, "renew it") {
		t.Errorf("message %q", c.Message)
	}
	l.event("Issuer/ca Warning ErrInvalidKeyPair Secret " + l.ns + "/ca can't sign: the CA's certificate expired at ")
	l.says("web", "Ready", cmmeta.ConditionFalse, "Expired")
	l.says("web", "Issuing", cmmeta.ConditionTrue, "Renewing")
	l.event("Certificate/web Warning Waiting Referenced issuer is not ready: ErrInvalidKeyPair: ")
	l.certificate("new", nil)
	l.requestSays("new-1", "Pending")
	l.foreign("foreign", nil)
	l.requestSays("foreign", "Pending")

	l.caSecret("ca", 3650*day)
	l.issuerReady("ca", cmmeta.ConditionTrue, "KeyPairVerified")
	l.event("Issuer/ca Normal KeyPairVerified Signing CA verified")
	l.ready("web", 2)
	l.ready("new", 1)
	l.requestSays("foreign", "Issued")
	if n := len(l.nextKeys()); n != 0 {
		testenv.Eventually(t, "no temporary Secret", func() error {
			if n := len(l.nextKeys()); n != 0 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
}

func TestNotYetValidCA(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.clock.jump(48 * time.Hour)
	l.caSecret("ca", 100*day)
	l.clock.jump(-48 * time.Hour)
	l.issuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.issuerReady("ca", cmmeta.ConditionFalse, "ErrInvalidKeyPair")
	l.clock.jump(48 * time.Hour)
	l.issuerReady("ca", cmmeta.ConditionTrue, "KeyPairVerified") // time alone did it
}

func TestClusterIssuer(t *testing.T) {
	l := newLab(t)
	name := l.ns // cluster-wide, so of its own
	obj := &cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{
		SecretName: "cluster-ca", CRLDistributionPoints: []string{"http://crl.example.org"}, OCSPServers: []string{"http://ocsp.example.org"}, IssuingCertificateURLs: []string{"http://aia.example.org"},
	}}}}
	t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, obj); err != nil {
			t.Error(err)
		}
	})
	l.start(nil)
	l.create(obj)
	ready := func(status cmmeta.ConditionStatus, reason string) {
		t.Helper()
		testenv.Eventually(t, "ClusterIssuer "+reason, func() error {
			i := &cmapi.ClusterIssuer{}
			if err := testenv.Admin().Get(ctx, keyOf("", name), i); err != nil {
				return err
			}
			if c := issuerCondition(&i.Status); c == nil || c.Status != status || c.Reason != reason {
				return fmt.Errorf("condition %+v", c)
			}
			return nil
		})
	}
	ready(cmmeta.ConditionFalse, "ErrGetKeyPair")
	l.certificate("web", func(c *cmapi.Certificate) {
		c.Spec.IssuerRef = cmmeta.IssuerReference{Name: name, Kind: "ClusterIssuer"}
	})
	l.requestSays("web-1", "Pending")
	l.caSecret("cluster-ca", 100*day)
	ready(cmmeta.ConditionTrue, "KeyPairVerified")
	_, leaf := l.ready("web", 1)
	if fmt.Sprint(leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL) != "[http://crl.example.org] [http://ocsp.example.org] [http://aia.example.org]" {
		t.Errorf("%v %v %v", leaf.CRLDistributionPoints, leaf.OCSPServer, leaf.IssuingCertificateURL)
	}
	l.delete(&corev1.Secret{ObjectMeta: l.meta("cluster-ca")})
	ready(cmmeta.ConditionFalse, "ErrGetKeyPair")
}

// Bad input: each says on its own object what to do, the rest goes on, and no Secret that is there is touched.
func TestBadInput(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.certificate("good", nil)
	_, good := l.ready("good", 1)
	other := makeCA(t, time.Now(), 10*day)
	leaf := makePair(t, nil, &cmapi.CertificateSpec{CommonName: "leaf", PrivateKey: ecdsaKey()}, time.Now())
	mixed := makePair(t, nil, &cmapi.CertificateSpec{CommonName: "ca", IsCA: true, PrivateKey: ecdsaKey()}, time.Now())
	for _, tc := range []struct {
		name    string
		data    map[string][]byte // nil: no Secret
		reason  string
		message string
	}{
		{"absent", nil, "ErrGetKeyPair", "Secret " + l.ns + "/absent does not exist: create it with tls.crt and tls.key"},
		{"no-ca", map[string][]byte{"tls.crt": leaf.chain, "tls.key": leaf.keyPEM}, "ErrInvalidKeyPair", "Secret " + l.ns + "/no-ca can't sign: certificate is not a CA"},
		{"foreign-key", map[string][]byte{"tls.crt": mixed.chain, "tls.key": must(pki.EncodeKey(other.Key, ""))}, "ErrInvalidKeyPair", "holds no usable key pair: tls.key is not the key of the certificate in tls.crt"},
		{"garbage", map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("y")}, "ErrInvalidKeyPair", "holds no usable key pair: tls.crt: no certificate in PEM form found"},
		{"empty", map[string][]byte{}, "ErrInvalidKeyPair", "holds no usable key pair: tls.crt: no certificate in PEM form found"},
		{"stranger", map[string][]byte{"tls.crt": append(append([]byte(nil), mixed.chain...), pki.EncodeCertificates(other.Certs...)...), "tls.key": mixed.keyPEM}, "ErrInvalidKeyPair", "do not belong to one chain"},
	} {
		if tc.data != nil {
			l.create(&corev1.Secret{ObjectMeta: l.meta(tc.name), Data: tc.data})
		}
		l.issuer(tc.name, cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: tc.name}})
		c := l.issuerReady(tc.name, cmmeta.ConditionFalse, tc.reason)
		if !strings.Contains(c.Message, tc.message) {
			t.Errorf("%s: %q, want %q", tc.name, c.Message, tc.message)
		}
		l.event("Issuer/" + tc.name + " Warning " + tc.reason)
		l.certificate("of-"+tc.name, func(c *cmapi.Certificate) { c.Spec.IssuerRef.Name = tc.name })
		waits := l.says("of-"+tc.name, "Issuing", cmmeta.ConditionTrue, "DoesNotExist")
		if !strings.Contains(waits.Message, tc.message) {
			t.Errorf("the Certificate of %s: %q", tc.name, waits.Message)
		}
	}
	l.issuer("typeless", cmapi.IssuerConfig{})
	l.issuerReady("typeless", cmmeta.ConditionFalse, "IssuerTypeMissing")
	l.issuer("two-in-one", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}, CA: &cmapi.CAIssuer{SecretName: "ca"}})
	if c := l.issuerReady("two-in-one", cmmeta.ConditionFalse, "InvalidSpec"); !strings.Contains(c.Message, "spec.selfSigned: Forbidden") {
		t.Errorf("message %q", c.Message)
	}
	l.issuer("acme", cmapi.IssuerConfig{Vault: &cmapi.VaultIssuer{Server: "https://v", Path: "p"}})
	l.issuerReady("acme", cmmeta.ConditionFalse, "IssuerTypeNotSupported")

	// Certificates.
	l.certificate("nameless", func(c *cmapi.Certificate) { c.Spec.DNSNames = nil })
	if c := l.says("nameless", "Ready", cmmeta.ConditionFalse, "InvalidSpec"); !strings.Contains(c.Message, "set at least one of commonName (or a CN in literalSubject), dnsNames") {
		t.Errorf("message %q", c.Message)
	}
	l.event("Certificate/nameless Warning InvalidSpec spec: Invalid value: a certificate needs a name")
	l.certificate("orphan", func(c *cmapi.Certificate) { c.Spec.IssuerRef.Name = "nobody" })
	l.says("orphan", "Issuing", cmmeta.ConditionTrue, "DoesNotExist")
	if e := l.event(`Certificate/orphan Warning Waiting Referenced "Issuer" not found: `); !strings.Contains(e, "create it or correct issuerRef") {
		t.Error(e)
	}
	l.certificate("unreadable", func(c *cmapi.Certificate) { c.Spec.URIs = []string{"https://example..org/"} })
	l.says("unreadable", "Ready", cmmeta.ConditionFalse, "InvalidSpec")

	// What has become bad keeps the Secret that it has.
	change(l, "good", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.DNSNames = nil })
	l.says("good", "Ready", cmmeta.ConditionFalse, "InvalidSpec")
	change(l, "good", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
		c.Spec.DNSNames, c.Spec.IssuerRef.Name = []string{"good.example.org"}, "garbage"
	})
	l.says("good", "Issuing", cmmeta.ConditionTrue, "IncorrectIssuer")
	if s, err := get(l, "good", &corev1.Secret{}); err != nil || !must(soundLeaf(s)).Equal(good) {
		t.Errorf("the Secret was touched (%v)", err)
	}
	// Another goes on, and so do the bad ones once they are put right.
	l.certificate("another", nil)
	l.ready("another", 1)
	l.issuer("nobody", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.ready("orphan", 1)
	l.caSecret("garbage", 100*day)
	l.ready("of-garbage", 1)
	l.ready("good", 2)
	change(l, "nameless", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.CommonName = "named" })
	l.ready("nameless", 1)
}

// A request of the name that we need, which somebody else owns, is left alone and reported.
func TestStrangersRequest(t *testing.T) {
	l := newLab(t)
	l.foreign("web-1", nil)
	l.start(nil)
	l.ca()
	r := l.requestSays("web-1", "Issued")
	l.certificate("web", nil)
	l.event("Certificate/web Warning RequestFailed CertificateRequest web-1 exists and is not this Certificate's: delete it")
	if now, err := get(l, "web-1", &cmapi.CertificateRequest{}); err != nil || now.UID != r.UID {
		t.Errorf("it was replaced (%v)", err)
	}
	l.delete(r)
	l.ready("web", 1)
}
