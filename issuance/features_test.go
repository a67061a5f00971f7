package issuance

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"software.sslmate.com/src/go-pkcs12"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

func passwordRef(name string) cmmeta.SecretKeySelector {
	return cmmeta.SecretKeySelector{LocalObjectReference: cmmeta.LocalObjectReference{Name: name}, Key: "password"}
}

func (l *lab) passwordSecret(name, password string) {
	l.t.Helper()
	l.create(&corev1.Secret{ObjectMeta: l.meta(name), Data: map[string][]byte{"password": []byte(password)}})
}

// opens waits until both keystores and truststores of a Secret open with these passwords, the key under alias.
func (l *lab) opens(name, alias, jks, p12 string) {
	l.t.Helper()
	testenv.Eventually(l.t, fmt.Sprintf("keystores of %s under alias %s", name, alias), func() error {
		s, err := get(l, name, &corev1.Secret{})
		if err != nil {
			return err
		}
		ks, ts := keystore.New(), keystore.New()
		_, _, _, errP := pkcs12.DecodeChain(s.Data["keystore.p12"], p12)
		_, errT := pkcs12.DecodeTrustStore(s.Data["truststore.p12"], p12)
		err = errors.Join(ks.Load(bytes.NewReader(s.Data["keystore.jks"]), []byte(jks)), ts.Load(bytes.NewReader(s.Data["truststore.jks"]), []byte(jks)), errP, errT)
		if err == nil && !ks.IsPrivateKeyEntry(alias) {
			err = fmt.Errorf("aliases %v", ks.Aliases())
		}
		return err
	})
}

// Keystores follow their password, alias and profile without a new certificate, and go when they are no longer wanted.
func TestKeystores(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.passwordSecret("jks", "first")
	l.certificate("web", func(c *cmapi.Certificate) {
		c.Spec.Keystores = &cmapi.CertificateKeystores{
			JKS:    &cmapi.JKSKeystore{Create: true, PasswordSecretRef: passwordRef("jks")},
			PKCS12: &cmapi.PKCS12Keystore{Create: true, Password: ptr.To("literal"), Profile: cmapi.Modern2023PKCS12Profile},
		}
	})
	l.ready("web", 1)
	l.opens("web", "certificate", "first", "literal")

	change(l, "jks", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["password"] = []byte("second") })
	l.opens("web", "certificate", "second", "literal")
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.Keystores.JKS.Alias = ptr.To("mine") })
	l.opens("web", "mine", "second", "literal")
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.Keystores.PKCS12.Password = ptr.To("other") })
	l.opens("web", "mine", "second", "other")

	// A label on the password's Secret changes no password, and a renewal keeps them.
	before := must(get(l, "web", &corev1.Secret{})).ResourceVersion
	change(l, "jks", &corev1.Secret{}, func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b"} })
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Labels = map[string]string{"a": "b"} })
	l.certificate("probe", nil)
	l.ready("probe", 1) // whatever was queued before it has been looked at
	l.ready("web", 1)
	if after := must(get(l, "web", &corev1.Secret{})).ResourceVersion; after != before {
		t.Error("a label on the password's Secret made the keystores be made anew")
	}
	// What can't be put right, since it is another's, is tried without making keystores: they would differ each time.
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["key.der"] = []byte("another's") })
	before = must(get(l, "web", &corev1.Secret{})).ResourceVersion
	for _, probe := range []string{"probe-2", "probe-3"} {
		l.certificate(probe, nil)
		l.ready(probe, 1)
	}
	if after := must(get(l, "web", &corev1.Secret{})).ResourceVersion; after != before {
		t.Error("a repair that can't help made the keystores anew")
	}
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { delete(s.Data, "key.der") })
	l.clock.jump(62 * day)
	l.ready("web", 2)
	l.opens("web", "mine", "second", "other")

	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.Keystores = nil })
	testenv.Eventually(t, "no keystores", func() error {
		s, err := get(l, "web", &corev1.Secret{})
		if err == nil && (len(s.Data) != 3 || s.Annotations[annKeystores] != "") {
			err = fmt.Errorf("%d entries, annotations %v", len(s.Data), s.Annotations)
		}
		return err
	})
	l.ready("web", 2)
}

// A password that no PKCS #12 file can be locked with holds up what it would be used for before anything is requested.
func TestUnusableKeystorePassword(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.passwordSecret("odd", "key 🔑")
	l.certificate("web", func(c *cmapi.Certificate) {
		c.Spec.Keystores = &cmapi.CertificateKeystores{PKCS12: &cmapi.PKCS12Keystore{Create: true, PasswordSecretRef: passwordRef("odd")}}
	})
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "KeystorePasswordUnusable")
	if e := l.event("Certificate/web Warning KeystorePasswordUnusable "); !strings.Contains(e, l.ns+"/odd") || strings.Contains(e, "🔑") {
		t.Error(e)
	}
	if have := l.requests(); len(have) != 0 {
		t.Errorf("requests %q", have)
	}
	change(l, "odd", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["password"] = []byte("changeit") })
	l.ready("web", 1)
	made := must(get(l, "web", &corev1.Secret{}))
	if _, _, _, err := pkcs12.DecodeChain(made.Data["keystore.p12"], "changeit"); err != nil {
		t.Error(err)
	}
}

// A password that is missing holds up that Certificate alone, says so, and costs no request; a certificate that is there stays.
func TestMissingKeystorePassword(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	set := func(c *cmapi.Certificate) {
		c.Spec.Keystores = &cmapi.CertificateKeystores{JKS: &cmapi.JKSKeystore{Create: true, PasswordSecretRef: passwordRef("late")}}
	}
	l.certificate("web", set)
	l.certificate("good", nil)
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "KeystorePasswordSecretNotFound")
	if e := l.event("Certificate/web Warning KeystorePasswordSecretNotFound "); !strings.Contains(e, l.ns+"/late") || !strings.Contains(e, `"password"`) {
		t.Error(e)
	}
	l.ready("good", 1)
	if have := l.requests(); len(have) != 1 {
		t.Errorf("requests %q", have)
	}
	change(l, "good", &cmapi.Certificate{}, set)
	l.ready("good", 1)
	l.passwordSecret("late", "here")
	_, leaf := l.ready("web", 1)
	testenv.Eventually(t, "a keystore in good", func() error {
		s, err := get(l, "good", &corev1.Secret{})
		if err == nil && len(s.Data["keystore.jks"]) == 0 {
			err = errors.New("none")
		}
		return err
	})
	if err := testenv.Admin().Delete(ctx, &corev1.Secret{ObjectMeta: l.meta("late")}); err != nil {
		t.Fatal(err)
	}
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Labels = map[string]string{"a": "b"} })
	if _, still := l.ready("web", 1); !still.Equal(leaf) || len(must(get(l, "web", &corev1.Secret{})).Data["keystore.jks"]) == 0 {
		t.Error("what was delivered is gone with its password")
	}
}

// Everything that a spec can say about names arrives in the leaf.
func TestNamesReachTheLeaf(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.certificate("literal", func(c *cmapi.Certificate) {
		c.Spec.LiteralSubject = "CN=web,OU=Ops,DC=example,DC=org"
		c.Spec.OtherNames = []cmapi.OtherName{{OID: "1.3.6.1.4.1.311.20.2.3", UTF8Value: "user@example.org"}}
	})
	l.certificate("sub", func(c *cmapi.Certificate) {
		c.Spec.IsCA, c.Spec.CommonName = true, "sub"
		c.Spec.NameConstraints = &cmapi.NameConstraints{Critical: true, Permitted: &cmapi.NameConstraintItem{DNSDomains: []string{"example.org"}}}
	})
	_, leaf := l.ready("literal", 1)
	if want := must(asn1.Marshal(must(pki.ParseLiteralSubject("CN=web,OU=Ops,DC=example,DC=org")))); !bytes.Equal(leaf.RawSubject, want) {
		t.Errorf("subject %s", leaf.Subject)
	}
	if !bytes.Contains(leaf.Raw, []byte("user@example.org")) {
		t.Error("the other name is not in the leaf")
	}
	_, sub := l.ready("sub", 1)
	if !sub.IsCA || !sub.PermittedDNSDomainsCritical || fmt.Sprint(sub.PermittedDNSDomains) != "[example.org]" {
		t.Errorf("CA %t, constraints %v", sub.IsCA, sub.PermittedDNSDomains)
	}
	change(l, "literal", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.LiteralSubject = "CN=web,DC=org" })
	l.ready("literal", 2)
	change(l, "sub", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.NameConstraints.Critical = false })
	l.ready("sub", 1) // constraints alone are no reason to issue again, as with cert-manager
}

// A temporary certificate serves until the real one is there, and does not make the Certificate Ready.
func TestTemporaryCertificate(t *testing.T) {
	l := newLab(t)
	l.start(unattended)
	l.ca()
	l.certificate("web", func(c *cmapi.Certificate) { c.Annotations = map[string]string{annTemporary: "true"} })
	testenv.Eventually(t, "a temporary certificate", func() error {
		s, err := get(l, "web", &corev1.Secret{})
		if err != nil {
			return err
		}
		leaf, err := soundLeaf(s)
		if err == nil && (leaf.Issuer.CommonName != "cert-manager.local" || s.Annotations[annIssuerName] != "") {
			err = fmt.Errorf("issuer %s, annotations %v", leaf.Issuer, s.Annotations)
		}
		return err
	})
	l.event("Certificate/web Normal Issuing Issued temporary certificate")
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "TemporaryCertificate")
	l.decideRequest("web-1", cmapi.CertificateRequestConditionApproved, "ok", "")
	if _, leaf := l.ready("web", 1); leaf.Issuer.CommonName == "cert-manager.local" {
		t.Error("it is still the temporary one")
	}
	l.tidy("web-1")
}

// A value of the annotation asks for one renewal, also when the daemon starts anew.
func TestRenewOnRequest(t *testing.T) {
	l := newLab(t)
	stop := l.start(nil)
	l.ca()
	l.certificate("web", nil)
	l.ready("web", 1)
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Annotations = map[string]string{annRenew: "2026-11-22"} })
	l.ready("web", 2)
	stop()
	l.start(nil)
	l.certificate("after", nil)
	l.ready("after", 1)
	l.ready("web", 2)
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Annotations[annRenew] = "once more" })
	l.ready("web", 3)

	// The Secret knows what was asked for when the request is gone.
	l.delete(&cmapi.CertificateRequest{ObjectMeta: l.meta("web-3")})
	l.certificate("probe", nil)
	l.ready("probe", 1)
	l.ready("web", 3)
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Annotations[annRenew] = "and again" })
	l.ready("web", 4)
}

// What is there expires while its renewal waits: that is said when it happens.
func TestExpiredWhileWaiting(t *testing.T) {
	l := newLab(t)
	l.start(unattended)
	l.ca()
	l.certificate("web", nil)
	l.decideRequest("web-1", cmapi.CertificateRequestConditionApproved, "ok", "")
	l.ready("web", 1)
	l.clock.jump(61 * day)
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Labels = map[string]string{"wake": "up"} })
	l.says("web", cmapi.CertificateConditionIssuing, cmmeta.ConditionTrue, "Renewing")
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionTrue, reasonReady)
	l.clock.jump(30 * day)
	l.says("web", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "Expired")
}

// The annotation decides whether a Secret goes with its Certificate, whatever the daemon's setting is.
func TestDeletionPolicy(t *testing.T) {
	l := newLab(t)
	l.start(func(c *Certificates, _ *Requests) { c.OwnSecrets = true })
	l.ca()
	l.certificate("goes", nil)
	l.certificate("stays", func(c *cmapi.Certificate) { c.Annotations = map[string]string{annDeletion: "Retain"} })
	l.ready("goes", 1)
	l.ready("stays", 1)
	owners := func(name string) int { return len(must(get(l, name, &corev1.Secret{})).OwnerReferences) }
	if owners("goes") != 1 || owners("stays") != 0 {
		t.Errorf("owners: %d and %d", owners("goes"), owners("stays"))
	}
	change(l, "stays", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Annotations[annDeletion] = "Delete" })
	testenv.Eventually(t, "an owner", func() error {
		if owners("stays") != 1 {
			return errors.New("none")
		}
		return nil
	})
	change(l, "stays", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Annotations[annDeletion] = "Perhaps" })
	if c := l.says("stays", cmapi.CertificateConditionReady, cmmeta.ConditionFalse, "InvalidSpec"); !strings.Contains(c.Message, annDeletion) {
		t.Error(c.Message)
	}
}

// Somebody who undoes every issuance is named, and the issuing ends for a while; an edit starts it again.
func TestLoopBreaker(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.certificate("web", nil)
	l.ready("web", 1)
	other := must(pki.EncodeKey(must(pki.GenerateKey(pki.KeySpecOf(ecdsaKey()))), ""))
	testenv.Eventually(t, "an end of the loop", func() error {
		cert, err := get(l, "web", &cmapi.Certificate{})
		if err != nil {
			return err
		}
		if c := condition(cert, cmapi.CertificateConditionReady); c != nil && c.Reason == reasonLoop {
			return nil
		}
		change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["tls.key"] = other })
		return fmt.Errorf("status %+v", cert.Status)
	})
	if e := l.event("Certificate/web Warning IssuanceLoop "); !strings.Contains(e, `"issuance.test" writes Secret web too`) {
		t.Error(e)
	}
	cert := must(get(l, "web", &cmapi.Certificate{}))
	if n := currentRevision(cert); n != loopCount {
		t.Errorf("it ended at revision %d", n)
	}
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.DNSNames = append(c.Spec.DNSNames, "b.example.org") })
	l.ready("web", loopCount+1)
}

// A cache that holds digests in place of CSRs leads to the same decisions.
func TestTrimRequest(t *testing.T) {
	w := goodOrder(t)
	w.Current.Spec.Username, w.Current.Labels = "somebody", map[string]string{"a": "b"}
	w.Current.Annotations["other"], w.Current.Annotations[annRenew] = "x", "y"
	full := w.Current.CSR
	size := len(w.Current.Spec.Request)
	TrimRequest(w.Current.CertificateRequest)
	if again := pki.NewRequestDigest(w.Current.Spec.Request); again != full {
		t.Errorf("the digest is %+v, was %+v", again, full)
	}
	if r := w.Current; len(r.Spec.Request) >= size || r.Status.Certificate != nil || r.Spec.Username != "" || r.Annotations["other"] != "" || r.Annotations[annRenew] != "y" || revisionOf(r.CertificateRequest) != 1 {
		t.Errorf("left: %+v", r.CertificateRequest)
	}
	own := w.request(1, w.pair)
	own.OwnerReferences = []metav1.OwnerReference{*controllerRef(w.Cert)}
	if TrimRequest(own.CertificateRequest); own.Annotations != nil || revisionOf(own.CertificateRequest) != 1 {
		t.Errorf("annotations %v, revision %d of one whose name says it", own.Annotations, revisionOf(own.CertificateRequest))
	}
	pending := &cmapi.CertificateRequest{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: cmapi.CertificateRequestSpec{Request: []byte("x"), Username: "u"}}
	TrimRequest(pending)
	if string(pending.Spec.Request) != "x" || pending.Spec.Username != "u" || pending.Labels == nil {
		t.Error("a request that waits was trimmed")
	}
}

// What cert-manager's users look for with kubectl describe.
func TestEventsOnTheWay(t *testing.T) {
	l := newLab(t)
	stop := l.start(unattended)
	l.ca()
	l.certificate("web", nil)
	l.event("CertificateRequest/web-1 Normal WaitingForApproval Not signing CertificateRequest until it is Approved")
	l.decideRequest("web-1", cmapi.CertificateRequestConditionApproved, "ok", "")
	l.ready("web", 1)
	stop()
	l.start(nil)
	l.issuer("self", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}})
	by := func(c *cmapi.Certificate) { c.Spec.IssuerRef.Name = "self" }
	l.certificate("named", func(c *cmapi.Certificate) { by(c); c.Spec.CommonName = "named" })
	l.ready("named", 1) // the cache has the issuer Ready: what comes next is signed at once
	l.certificate("anonymous", by)
	l.ready("anonymous", 1)
	l.event("Certificate/anonymous Warning BadConfig Certificate has an empty issuer DN")
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.PrivateKey.RotationPolicy = cmapi.RotationPolicyNever })
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["tls.key"] = []byte("garbage") })
	l.ready("web", 2)
	l.event("Certificate/web Warning DecodeFailed The private key in Secret web can't be decoded")
}
