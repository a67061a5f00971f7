package issuance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

func TestExistingSecrets(t *testing.T) {
	l := newLab(t)
	l.create(&corev1.Secret{ObjectMeta: l.meta("opaque"), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"mine": []byte("x")}})
	byHand := makePair(t, nil, &cmapi.CertificateSpec{CommonName: "seeded.example.org", DNSNames: []string{"seeded.example.org"}, PrivateKey: ecdsaKey()}, time.Now())
	l.create(&corev1.Secret{ObjectMeta: l.meta("seeded"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{"tls.crt": byHand.chain, "tls.key": byHand.keyPEM}})
	l.start(nil)
	l.ca()
	l.certificate("opaque", nil)
	l.ready("opaque", 1)
	s, err := get(l, "opaque", &corev1.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != corev1.SecretTypeOpaque || string(s.Data["mine"]) != "x" {
		t.Errorf("type %s, their entry %q", s.Type, s.Data["mine"])
	}
	l.certificate("seeded", nil)
	l.says("seeded", "Ready", cmmeta.ConditionTrue, "Ready")
	if s, err := get(l, "seeded", &corev1.Secret{}); err != nil || string(s.Data["tls.crt"]) != string(byHand.chain) {
		t.Errorf("a fitting key pair put there by hand was replaced (%v)", err)
	}

	// Two for one Secret: it stays with the one that it was issued for.
	l.certificate("late", func(c *cmapi.Certificate) { c.Spec.SecretName = "opaque" })
	c := l.says("late", "Ready", cmmeta.ConditionFalse, "IncorrectCertificate")
	if !strings.Contains(c.Message, "belongs to Certificate opaque") {
		t.Errorf("message %q", c.Message)
	}
	l.event("Certificate/late Warning DuplicateSecretName Secret opaque belongs to Certificate opaque")
	if _, err := get(l, "late-1", &cmapi.CertificateRequest{}); err == nil {
		t.Error("a request was made for a Secret of somebody else")
	}
}

func TestOwnedSecrets(t *testing.T) {
	l := newLab(t)
	own := func(c *Certificates, _ *Requests) { c.OwnSecrets = true }
	stop := l.start(own)
	l.ca()
	l.certificate("web", nil)
	owners := func(want int) {
		t.Helper()
		_, leaf := l.ready("web", 1)
		testenv.Eventually(t, fmt.Sprintf("%d owners", want), func() error {
			s, err := get(l, "web", &corev1.Secret{})
			if err == nil && (len(s.OwnerReferences) != want || !must(soundLeaf(s)).Equal(leaf)) {
				err = fmt.Errorf("owners %v", s.OwnerReferences)
			}
			return err
		})
	}
	owners(1)
	stop()
	stop = l.start(nil) // the setting is taken back
	owners(0)
	stop()
	l.start(own)
	owners(1)
	// A label that makes it look like one of our temporary Secrets must not get it deleted.
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Labels[labelNextKey] = "true" })
	l.certificate("probe", nil)
	l.ready("probe", 1)
	l.ready("web", 1)
}

func TestRotationPolicyNeverKeepsTheKey(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.certificate("web", func(c *cmapi.Certificate) { c.Spec.PrivateKey.RotationPolicy = cmapi.RotationPolicyNever })
	_, first := l.ready("web", 1)
	same := func(revision int) {
		t.Helper()
		if _, leaf := l.ready("web", revision); pki.KeyIDOf(leaf.PublicKey) != pki.KeyIDOf(first.PublicKey) || leaf.Equal(first) {
			t.Errorf("revision %d: the key or the certificate is wrong", revision)
		}
	}
	l.clock.jump(61 * day)
	same(2)
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["tls.crt"] = []byte{} })
	same(3)
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.PrivateKey.Size = 384 })
	l.says("web", "Ready", cmmeta.ConditionFalse, "CannotRegenerateKey")
	l.event("Certificate/web Warning CannotRegenerateKey Existing private key is not up to date")
	change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.PrivateKey.RotationPolicy = cmapi.RotationPolicyAlways })
	l.ready("web", 4)
}
