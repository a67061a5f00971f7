package issuance

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// foreign creates a CertificateRequest as csi-driver or a person does, and returns the key behind it as PEM.
func (l *lab) foreign(name string, set func(*cmapi.CertificateRequest)) (keyPEM []byte) {
	l.t.Helper()
	key := must(pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}))
	r := &cmapi.CertificateRequest{ObjectMeta: l.meta(name), Spec: cmapi.CertificateRequestSpec{
		Request: must(pki.NewRequest(&cmapi.CertificateSpec{CommonName: name, DNSNames: []string{name}}, key)), IssuerRef: cmmeta.IssuerReference{Name: "ca"},
	}}
	if set != nil {
		set(r)
	}
	l.create(r)
	return must(pki.EncodeKey(key, cmapi.PKCS8))
}

func TestForeignRequests(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	ca := l.ca()
	l.foreign("plain", nil)
	r := l.requestSays("plain", "Issued")
	leaf := must(pki.ParseCertificates(r.Status.Certificate))[0]
	if err := leaf.CheckSignatureFrom(ca.Certs[0]); err != nil || leaf.Subject.CommonName != "plain" || string(r.Status.CA) != string(pki.EncodeCertificates(ca.Certs[0])) {
		t.Errorf("issued to %s, CA\n%s\n%v", leaf.Subject, r.Status.CA, err)
	}
	if c := requestCondition(&r.Status, "Approved"); c == nil || c.Reason != "cert-manager.io" || c.Message != "Certificate request has been approved by cert-manager.io" {
		t.Errorf("approved: %+v", c)
	}
	l.event("CertificateRequest/plain Normal cert-manager.io Certificate request has been approved by cert-manager.io")
	l.event("CertificateRequest/plain Normal CertificateIssued Certificate fetched from issuer successfully")

	l.foreign("odd", func(r *cmapi.CertificateRequest) { r.Spec.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth} })
	if r := l.requestSays("odd", "Failed"); r.Status.FailureTime == nil {
		t.Error("a failed request has no failureTime")
	}
	l.event("CertificateRequest/odd Warning SigningError building the certificate: the key usages in the CSR are not those of spec.usages")
	l.foreign("garbage", func(r *cmapi.CertificateRequest) { r.Spec.Request = []byte("x") })
	l.requestSays("garbage", "Failed")
	l.event("CertificateRequest/garbage Warning RequestParsingError spec.request: no PEM block of type CERTIFICATE REQUEST found")

	l.foreign("external", func(r *cmapi.CertificateRequest) {
		r.Spec.IssuerRef = cmmeta.IssuerReference{Name: "ca", Kind: "StepIssuer", Group: "certmanager.step.sm"}
	})
	l.foreign("early", func(r *cmapi.CertificateRequest) { r.Spec.IssuerRef.Name = "late" })
	l.requestSays("early", "Pending")
	l.event("CertificateRequest/early Normal IssuerNotFound Referenced \"Issuer\" not found")
	l.issuer("late", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.requestSays("early", "Issued")
	external, err := get(l, "external", &cmapi.CertificateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(external.Status.Conditions) != 0 || external.Status.Certificate != nil {
		t.Errorf("a request to somebody else's issuer was touched: %+v", external.Status)
	}
}

func TestSelfSigned(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.issuer("self", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}})
	if c := l.issuerReady("self", cmmeta.ConditionTrue, "IsReady"); c.Message != "" {
		t.Errorf("message %q", c.Message)
	}
	to := func(secret string) func(*cmapi.CertificateRequest) {
		return func(r *cmapi.CertificateRequest) {
			r.Spec.IssuerRef.Name = "self"
			if secret != "" {
				r.Annotations = map[string]string{"cert-manager.io/private-key-secret-name": secret}
			}
		}
	}
	key := l.foreign("waits", to("key"))
	l.requestSays("waits", "Pending")
	l.event("CertificateRequest/waits Normal MissingSecret Secret " + l.ns + "/key with the request's private key does not exist")
	l.create(&corev1.Secret{ObjectMeta: l.meta("key"), Data: map[string][]byte{"tls.key": key}})
	r := l.requestSays("waits", "Issued")
	if string(r.Status.CA) != string(r.Status.Certificate) {
		t.Error("a self-signed certificate is not its own CA")
	}
	l.foreign("bare", to(""))
	l.requestSays("bare", "Failed")
	l.event("CertificateRequest/bare Warning MissingAnnotation annotation cert-manager.io/private-key-secret-name is missing")
	l.foreign("other", to("key"))
	l.requestSays("other", "Failed")
	l.event("CertificateRequest/other Warning ErrorKeyMatch the private key in Secret \"key\" is not the one")
	l.create(&corev1.Secret{ObjectMeta: l.meta("broken"), Data: map[string][]byte{"tls.key": []byte("x")}})
	l.foreign("broken", to("broken"))
	l.requestSays("broken", "Pending")
	l.event("CertificateRequest/broken Normal ErrorParsingKey")

	l.certificate("root", func(c *cmapi.Certificate) {
		c.Spec.IsCA, c.Spec.CommonName, c.Spec.IssuerRef.Name = true, "root", "self"
	})
	_, root := l.ready("root", 1)
	s, err := get(l, "root", &corev1.Secret{})
	if err != nil || !root.IsCA || string(s.Data["ca.crt"]) != string(s.Data["tls.crt"]) {
		t.Errorf("CA %t, ca.crt is tls.crt %t, %v", root.IsCA, string(s.Data["ca.crt"]) == string(s.Data["tls.crt"]), err)
	}
	// A root, an intermediate from it and a leaf: the chain ends below the root, which is ca.crt.
	l.issuer("root", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "root"}})
	l.certificate("mid", func(c *cmapi.Certificate) {
		c.Spec.IsCA, c.Spec.CommonName, c.Spec.IssuerRef.Name = true, "mid", "root"
	})
	l.issuer("mid", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "mid"}})
	l.certificate("leaf", func(c *cmapi.Certificate) {
		c.Spec.IssuerRef.Name, c.Spec.Duration = "mid", &metav1.Duration{Duration: time.Hour}
	})
	l.ready("leaf", 1)
	if s, err = get(l, "leaf", &corev1.Secret{}); err != nil {
		t.Fatal(err)
	}
	chain := must(pki.ParseCertificates(s.Data["tls.crt"]))
	if len(chain) != 2 || chain[1].Subject.CommonName != "mid" || !must(pki.ParseCertificates(s.Data["ca.crt"]))[0].Equal(root) {
		t.Errorf("a chain of %d", len(chain))
	}
}

// A denial is the end of a request; the Certificate says so in the denier's words and waits longer each time.
func TestDenial(t *testing.T) {
	l := newLab(t)
	l.start(unattended)
	l.ca()
	l.certificate("web", nil)
	l.decideRequest("web-1", "Denied", "Policy", "names are not allowed")
	c := l.says("web", "Issuing", cmmeta.ConditionFalse, "Policy")
	if c.Message != "The certificate request has failed to complete and will be retried: names are not allowed" {
		t.Errorf("message %q", c.Message)
	}
	l.event("Certificate/web Warning Policy The certificate request has failed to complete and will be retried: names are not allowed")
	r := l.requestSays("web-1", "Denied")
	if r.Status.FailureTime == nil {
		t.Error("the denied request has no failureTime")
	}
	cert, err := get(l, "web", &cmapi.Certificate{})
	if err != nil || ptr.Deref(cert.Status.FailedIssuanceAttempts, 0) != 1 || cert.Status.LastFailureTime == nil || cert.Status.NextPrivateKeySecretName != nil {
		t.Errorf("status %+v, %v", cert.Status, err)
	}
	l.tidy("web-1")
	uid := r.UID
	again := func(what string) {
		t.Helper()
		testenv.Eventually(t, what, func() error {
			r, err := get(l, "web-1", &cmapi.CertificateRequest{})
			if err == nil && r.UID == uid {
				err = errSame
			}
			if err == nil {
				uid = r.UID
			}
			return err
		})
	}
	l.clock.jump(59 * time.Minute)
	l.foreign("probe", nil)
	l.decideRequest("probe", "Approved", "admin", "fine")
	l.requestSays("probe", "Issued")
	if r, err := get(l, "web-1", &cmapi.CertificateRequest{}); err != nil || r.UID != uid {
		t.Errorf("retried before the back-off was over (%v)", err)
	}
	l.clock.jump(2 * time.Minute)
	again("another attempt after an hour")
	l.decideRequest("web-1", "Denied", "Policy", "still not")
	l.says("web", "Issuing", cmmeta.ConditionFalse, "Policy")
	cert, err = get(l, "web", &cmapi.Certificate{})
	if err != nil || ptr.Deref(cert.Status.FailedIssuanceAttempts, 0) != 2 {
		t.Errorf("attempts %v, %v", cert.Status.FailedIssuanceAttempts, err)
	}
	// cmctl renew does not wait, nor does an edit.
	l.clock.jump(time.Minute)
	changeStatus(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
		setIssuing(&c.Status, State{Cert: c, Now: l.clock.now()}, cmmeta.ConditionTrue, "ManuallyTriggered", "Certificate re-issuance manually triggered")
	})
	again("another attempt by hand")
	l.decideRequest("web-1", "Denied", "Policy", "no")
	l.says("web", "Issuing", cmmeta.ConditionFalse, "Policy")
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.DNSNames = []string{"allowed.example.org"} })
	again("another attempt after an edit")
	l.decideRequest("web-1", "Approved", "Policy", "fine")
	cert, _ = l.ready("web", 1)
	if cert.Status.FailedIssuanceAttempts != nil || cert.Status.LastFailureTime != nil {
		t.Errorf("success did not clear the failures: %+v", cert.Status)
	}
}

type errText string

func (e errText) Error() string { return string(e) }

const errSame = errText("it is still the same request")

// An edit while approval is awaited brings another request; where the key no longer fits, another key too.
func TestEditWhileWaiting(t *testing.T) {
	l := newLab(t)
	l.start(unattended)
	l.ca()
	l.certificate("web", nil)
	waitFor := func(what string, fits func(*cmapi.CertificateRequest, pki.RequestDigest) bool) {
		t.Helper()
		testenv.Eventually(t, what, func() error {
			r, err := get(l, "web-1", &cmapi.CertificateRequest{})
			if err == nil && !fits(r, pki.NewRequestDigest(r.Spec.Request)) {
				err = errSame
			}
			return err
		})
	}
	waitFor("the first request", func(*cmapi.CertificateRequest, pki.RequestDigest) bool { return true })
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.DNSNames = []string{"b.example.org"} })
	waitFor("a request for the new name", func(r *cmapi.CertificateRequest, d pki.RequestDigest) bool {
		return must(pki.ParseRequest(r.Spec.Request)).DNSNames[0] == "b.example.org"
	})
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.PrivateKey.Size = 384 })
	waitFor("a request with the new key", func(r *cmapi.CertificateRequest, _ pki.RequestDigest) bool {
		return pki.SpecOfKey(must(pki.ParseRequest(r.Spec.Request)).PublicKey).Size == 384
	})
	l.decideRequest("web-1", "Approved", "admin", "fine")
	l.ready("web", 1)
	l.tidy("web-1")
	// The daemon restarts while a request waits: nothing is lost.
	l.certificate("two", nil)
	testenv.Eventually(t, "a request", func() error { _, err := get(l, "two-1", &cmapi.CertificateRequest{}); return err })
	r, err := get(l, "two-1", &cmapi.CertificateRequest{})
	if err != nil || !strings.HasPrefix(r.Annotations[annKeySecret], "two-") {
		t.Errorf("key Secret %q, %v", r.Annotations[annKeySecret], err)
	}
	if keys := l.nextKeys(); len(keys) != 1 || !strings.HasPrefix(string(keys[0].Data["tls.key"]), "-----BEGIN PRIVATE KEY-----") || metav1.GetControllerOf(&keys[0]) == nil {
		t.Errorf("temporary Secrets %v", len(keys))
	}
}
