package issuance

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// What an issued Secret looks like, for every kind of key.
func TestIssuedSecret(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	ca := l.ca()
	for _, tc := range []struct {
		name  string
		key   *cmapi.CertificatePrivateKey
		block string
		spec  pki.KeySpec
	}{
		{"rsa", nil, "RSA PRIVATE KEY", pki.KeySpec{Algorithm: "RSA", Size: 2048}},
		{"ecdsa", &cmapi.CertificatePrivateKey{Algorithm: "ECDSA", Size: 384, Encoding: cmapi.PKCS1}, "EC PRIVATE KEY", pki.KeySpec{Algorithm: "ECDSA", Size: 384}},
		{"ed25519", &cmapi.CertificatePrivateKey{Algorithm: "Ed25519"}, "PRIVATE KEY", pki.KeySpec{Algorithm: "Ed25519"}},
		{"pkcs8", &cmapi.CertificatePrivateKey{Algorithm: "ECDSA", Encoding: cmapi.PKCS8}, "PRIVATE KEY", pki.KeySpec{Algorithm: "ECDSA", Size: 256}},
	} {
		l.certificate(tc.name, func(c *cmapi.Certificate) {
			c.Labels, c.Annotations = map[string]string{"team": "a"}, map[string]string{"example.org/a": "1", "kubectl.kubernetes.io/b": "2"}
			c.Spec.PrivateKey = tc.key
			c.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}, {Type: "CombinedPEM"}}
		})
		cert, leaf := l.ready(tc.name, 1)
		s, err := get(l, tc.name, &corev1.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		if got := pki.SpecOfKey(leaf.PublicKey); got != tc.spec || !strings.HasPrefix(string(s.Data["tls.key"]), "-----BEGIN "+tc.block+"-----") {
			t.Errorf("%s: key %v as %.30s", tc.name, got, s.Data["tls.key"])
		}
		var keys []string
		for k := range s.Data {
			keys = append(keys, k)
		}
		if d := pki.NewDigest(s.Data); len(keys) != 5 || !d.DER || !d.Combined || !d.FormatsCurrent {
			t.Errorf("%s: entries %v", tc.name, keys)
		}
		if string(s.Data["ca.crt"]) != string(pki.EncodeCertificates(ca.Certs[0])) || s.Type != corev1.SecretTypeTLS {
			t.Errorf("%s: type %s, ca.crt\n%s", tc.name, s.Type, s.Data["ca.crt"])
		}
		wantAnnotations := map[string]string{
			"cert-manager.io/certificate-name": tc.name, "cert-manager.io/issuer-name": "ca", "cert-manager.io/issuer-kind": "", "cert-manager.io/issuer-group": "",
			"cert-manager.io/common-name": "", "cert-manager.io/alt-names": tc.name + ".example.org", "cert-manager.io/ip-sans": "", "cert-manager.io/uri-sans": "",
		}
		if diff := cmp.Diff(wantAnnotations, s.Annotations); diff != "" {
			t.Errorf("%s: annotations -want +got\n%s", tc.name, diff)
		}
		if diff := cmp.Diff(map[string]string{"controller.cert-manager.io/fao": "true"}, s.Labels); diff != "" || len(s.OwnerReferences) != 0 {
			t.Errorf("%s: owners %v, labels -want +got\n%s", tc.name, s.OwnerReferences, diff)
		}
		if len(s.ManagedFields) != 1 || s.ManagedFields[0].Manager != "cert-manager-certificates-issuing" || s.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("%s: managed by %+v", tc.name, s.ManagedFields)
		}
		if !cert.Status.NotBefore.Time.Equal(leaf.NotBefore) || !cert.Status.NotAfter.Time.Equal(leaf.NotAfter) || !cert.Status.RenewalTime.Time.Equal(leaf.NotBefore.Add(60*day)) {
			t.Errorf("%s: dates %+v", tc.name, cert.Status)
		}
		if leaf.NotAfter.Sub(leaf.NotBefore) != 90*day {
			t.Errorf("%s: a lifetime of %s", tc.name, leaf.NotAfter.Sub(leaf.NotBefore))
		}
	}
	request, err := get(l, "rsa-1", &cmapi.CertificateRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if request.Labels["team"] != "a" || request.Annotations["example.org/a"] != "1" || request.Annotations["kubectl.kubernetes.io/b"] != "" {
		t.Errorf("the request's labels are %v, its annotations %v", request.Labels, request.Annotations)
	}
	owner := metav1.GetControllerOf(request)
	if request.Annotations["cert-manager.io/certificate-name"] != "rsa" || request.Annotations["cert-manager.io/certificate-revision"] != "1" ||
		request.Annotations["cert-manager.io/private-key-secret-name"] == "" || owner == nil || owner.Kind != "Certificate" || !isTrue(&request.Status, "Approved") {
		t.Errorf("request %+v", request)
	}
	l.event("Certificate/rsa Normal Issuing The certificate has been successfully issued")
}

// The clock jumps; the certificate follows, stays Ready, and leaves no more behind than its history limit.
func TestRenewalOnTime(t *testing.T) {
	for _, way := range []struct {
		name  string
		start func(*Certificates, *Requests)
	}{{"at once", nil}, {"with a persisted key", func(c *Certificates, _ *Requests) { c.SignAtOnce = false }}} {
		t.Run(way.name, func(t *testing.T) {
			l := newLab(t)
			l.start(way.start)
			l.ca()
			l.certificate("web", nil)
			l.certificate("kept", func(c *cmapi.Certificate) { c.Spec.RevisionHistoryLimit = ptr.To[int32](2) })
			l.certificate("off", func(c *cmapi.Certificate) { c.Spec.Renewal = &cmapi.CertificateRenewal{Policy: "Disabled"} })
			first, leaf := l.ready("web", 1)
			l.ready("kept", 1)
			_, offLeaf := l.ready("off", 1)
			readySince := condition(first, "Ready").LastTransitionTime
			if off, err := get(l, "off", &cmapi.Certificate{}); err != nil || off.Status.RenewalTime != nil {
				t.Errorf("renewal is off, and due at %v (%v)", off.Status.RenewalTime, err)
			}

			l.clock.jump(59 * day)
			l.certificate("probe", nil) // goes through the same queue
			l.ready("probe", 1)
			if _, again := l.ready("web", 1); !again.Equal(leaf) {
				t.Error("renewed a day early")
			}
			for revision := 2; revision <= 4; revision++ {
				if revision > 2 {
					l.clock.jump(59 * day)
				}
				l.clock.jump(2 * day)
				cert, renewed := l.ready("web", revision)
				l.ready("kept", revision)
				if renewed.SerialNumber.Cmp(leaf.SerialNumber) == 0 || pki.KeyIDOf(renewed.PublicKey) == pki.KeyIDOf(leaf.PublicKey) {
					t.Errorf("revision %d has the serial number or the key of the one before", revision)
				}
				if !condition(cert, "Ready").LastTransitionTime.Equal(readySince) {
					t.Errorf("revision %d: Ready was False in between", revision)
				}
				leaf = renewed
			}
			l.says("off", "Ready", cmmeta.ConditionFalse, "Expired")
			if s, err := get(l, "off", &corev1.Secret{}); err != nil || !must(soundLeaf(s)).Equal(offLeaf) {
				t.Errorf("renewal is off, and the Secret changed (%v)", err)
			}
			testenv.Eventually(t, "the history limits", func() error {
				have := map[string]bool{}
				for _, r := range l.requests() {
					have[r] = true
				}
				for _, want := range []string{"web-4", "kept-3", "kept-4", "off-1"} {
					if !have[want] {
						return fmt.Errorf("%s is missing among %v", want, have)
					}
				}
				if have["web-3"] || have["kept-2"] {
					return fmt.Errorf("there are %v", have)
				}
				return nil
			})
			if n := len(l.nextKeys()); n != 0 {
				t.Errorf("%d temporary Secrets", n)
			}
		})
	}
}

// Everything that makes a certificate unfit brings a new one; the old one stays in place until then.
func TestReissue(t *testing.T) {
	l := newLab(t)
	l.start(nil)
	l.ca()
	l.caSecret("ca2", 3650*day)
	l.issuer("ca2", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca2"}})
	l.issuerReady("ca2", cmmeta.ConditionTrue, "KeyPairVerified")
	l.certificate("web", nil)
	_, leaf := l.ready("web", 1)
	edit := func(f func(*cmapi.CertificateSpec)) func() {
		return func() { change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { f(&c.Spec) }) }
	}
	spoil := func(f func(*corev1.Secret)) func() {
		return func() { change(l, "web", &corev1.Secret{}, f) }
	}
	stranger := makePair(t, nil, &cmapi.CertificateSpec{CommonName: "stranger", PrivateKey: ecdsaKey()}, time.Now())
	for i, step := range []struct {
		what string
		do   func()
		fits func(*x509.Certificate) bool
	}{
		{"another name", edit(func(s *cmapi.CertificateSpec) { s.DNSNames = []string{"new.example.org"} }), func(c *x509.Certificate) bool { return c.DNSNames[0] == "new.example.org" }},
		{"another issuer", edit(func(s *cmapi.CertificateSpec) { s.IssuerRef.Name = "ca2" }), func(c *x509.Certificate) bool { return c.Issuer.CommonName == "test-ca" }},
		{"another key size", edit(func(s *cmapi.CertificateSpec) { s.PrivateKey.Size = 384 }), func(c *x509.Certificate) bool { return pki.SpecOfKey(c.PublicKey).Size == 384 }},
		{"another duration", edit(func(s *cmapi.CertificateSpec) { s.Duration = &metav1.Duration{Duration: 30 * day} }), nil},
		{"a shorter one", edit(func(s *cmapi.CertificateSpec) { s.Duration = &metav1.Duration{Duration: 20 * day} }), func(c *x509.Certificate) bool { return c.NotAfter.Sub(c.NotBefore) == 20*day }},
		{"the Secret is deleted", func() { l.delete(&corev1.Secret{ObjectMeta: l.meta("web")}) }, nil},
		{"tls.crt is blanked", spoil(func(s *corev1.Secret) { s.Data["tls.crt"] = []byte{} }), nil},
		{"the key is blanked", spoil(func(s *corev1.Secret) { s.Data["tls.key"] = []byte{} }), nil},
		{"garbage", spoil(func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("x") }), nil},
		{"a foreign key pair", spoil(func(s *corev1.Secret) { s.Data["tls.crt"], s.Data["tls.key"] = stranger.chain, stranger.keyPEM }), nil},
		{"a foreign key", spoil(func(s *corev1.Secret) { s.Data["tls.key"] = stranger.keyPEM }), nil},
		{"by hand", func() {
			changeStatus(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
				setIssuing(&c.Status, State{Cert: c, Now: l.clock.now()}, cmmeta.ConditionTrue, "ManuallyTriggered", "Certificate re-issuance manually triggered")
			})
		}, nil},
	} {
		if step.what == "another duration" { // the request had none: no reason
			step.do()
			l.certificate("probe", nil)
			l.ready("probe", 1)
			if _, same := l.ready("web", i+1); !same.Equal(leaf) {
				t.Error("a duration where the request had none led to another certificate")
			}
			// From here on the request has one; the next step counts from there.
			edit(func(s *cmapi.CertificateSpec) { s.CommonName = "web" })()
			_, leaf = l.ready("web", i+2)
			continue
		}
		step.do()
		_, now := l.ready("web", i+2)
		if now.Equal(leaf) {
			t.Errorf("%s: the certificate is the same", step.what)
		}
		if step.fits != nil && !step.fits(now) {
			t.Errorf("%s: the new certificate does not fit", step.what)
		}
		leaf = now
	}
	s, err := get(l, "web", &corev1.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Annotations[annIssuerName] != "ca2" {
		t.Errorf("issued by %q", s.Annotations[annIssuerName])
	}
	l.tidy("probe-1", "web-13")
}

// Labels, annotations and formats are repaired in place: the key pair stays.
func TestRepairInPlace(t *testing.T) {
	l := newLab(t)
	stop := l.start(nil)
	l.ca()
	l.certificate("web", func(c *cmapi.Certificate) {
		c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "1"}, Annotations: map[string]string{"b": "1"}}
	})
	_, leaf := l.ready("web", 1)
	change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) {
		s.Labels["theirs"], s.Annotations["theirs"], s.Data["theirs"] = "x", "x", []byte("x")
	})
	template := func(labels, annotations map[string]string) func() {
		return func() {
			change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
				c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: labels, Annotations: annotations}
			})
		}
	}
	type m = map[string]string
	for _, step := range []struct {
		what                string
		do                  func()
		labels, annotations m
		formats             int
	}{
		{"added, changed and removed", template(m{"a": "2", "c": "3"}, nil), m{"a": "2", "c": "3"}, m{"b": ""}, 0},
		{"removed while we look away", func() { stop(); template(m{"c": "3"}, m{"d": "4"})(); stop = l.start(nil) }, m{"a": "", "c": "3"}, m{"d": "4"}, 0},
		{"the base label lost", func() {
			change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { delete(s.Labels, labelManaged) })
		}, m{"c": "3"}, m{"d": "4"}, 0},
		{"the base label falsified, by a template", template(m{labelManaged: "false", "e": "5"}, nil), m{"e": "5"}, m{"d": ""}, 0},
		{"a label of the template overwritten", func() {
			change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Labels["e"] = "x" })
		}, m{"e": "5"}, nil, 0},
		{"a derived annotation falsified", func() {
			change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Annotations["cert-manager.io/alt-names"] = "x" })
		}, nil, m{"cert-manager.io/alt-names": "web.example.org"}, 0},
		{"formats", func() {
			change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
				c.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}, {Type: "CombinedPEM"}}
			})
		}, nil, nil, 2},
		{"a format spoilt", func() {
			change(l, "web", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["key.der"] = []byte("x") })
		}, nil, nil, 2},
		{"no formats", func() {
			change(l, "web", &cmapi.Certificate{}, func(c *cmapi.Certificate) { c.Spec.AdditionalOutputFormats = nil })
		}, nil, nil, 0},
	} {
		step.do()
		testenv.Eventually(t, step.what, func() error {
			s, err := get(l, "web", &corev1.Secret{})
			if err != nil {
				return err
			}
			for k, v := range step.labels {
				if s.Labels[k] != v {
					return fmt.Errorf("labels %v", s.Labels)
				}
			}
			for k, v := range step.annotations {
				if s.Annotations[k] != v {
					return fmt.Errorf("annotations %v", s.Annotations)
				}
			}
			if d := pki.NewDigest(s.Data); d.DER != (step.formats == 2) || d.Combined != (step.formats == 2) || !d.FormatsCurrent || s.Labels[labelManaged] != "true" {
				return fmt.Errorf("DER %t, combined %t, current %t, labels %v", d.DER, d.Combined, d.FormatsCurrent, s.Labels)
			}
			if s.Labels["theirs"]+s.Annotations["theirs"]+string(s.Data["theirs"]) != "xxx" {
				return fmt.Errorf("what is not ours is gone: %v %v", s.Labels, s.Annotations)
			}
			return nil
		})
		if _, now := l.ready("web", 1); !now.Equal(leaf) {
			t.Fatalf("%s: the certificate is another one", step.what)
		}
	}
}
