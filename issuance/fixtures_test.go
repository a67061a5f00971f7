package issuance

import (
	"crypto"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// certUID is an identity whose renewals begin at the second at which they are due, see pki.NewSchedule.
const certUID = "cert-1547"

// start is when the pure tests' certificates begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pair is a key pair as its PEM texts.
type pair struct {
	key            crypto.Signer
	keyPEM         []byte
	chain, ca, csr []byte
}

// makeCA returns a self-signed CA valid for so long.
func makeCA(t testing.TB, from time.Time, lifetime time.Duration) pki.KeyPair {
	t.Helper()
	p := makePair(t, nil, &cmapi.CertificateSpec{CommonName: "test-ca", IsCA: true, Duration: &metav1.Duration{Duration: lifetime}, PrivateKey: ecdsaKey()}, from)
	return pki.KeyPair{Certs: must(pki.ParseCertificates(p.chain)), Key: p.key}
}

// makePair issues a certificate for a spec with a new key, signed by ca or, where that is nil, by itself.
func makePair(t testing.TB, ca *pki.KeyPair, spec *cmapi.CertificateSpec, from time.Time) pair {
	t.Helper()
	key := must(pki.GenerateKey(pki.KeySpecOf(spec.PrivateKey)))
	csr := must(pki.NewRequest(spec, key))
	request := &cmapi.CertificateRequestSpec{Request: csr, IsCA: spec.IsCA, Usages: spec.Usages, Duration: spec.Duration}
	template := must(pki.NewTemplate(must(pki.ParseRequest(csr)), request, from))
	var bundle pki.Bundle
	var err error
	if ca == nil {
		bundle, err = pki.SelfSign(template, key)
	} else {
		bundle, err = ca.Sign(template)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair{key: key, keyPEM: must(pki.EncodeKey(key, "")), chain: bundle.Chain, ca: bundle.CA, csr: csr}
}

func ecdsaKey() *cmapi.CertificatePrivateKey {
	return &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm}
}

// world is a Certificate in good order: issued at start for 90 days, with its Secret and its request.
type world struct {
	State
	ca   pki.KeyPair
	pair pair
}

func goodOrder(t testing.TB) *world {
	t.Helper()
	w := &world{ca: makeCA(t, start.Add(-time.Hour), 1000*day)}
	w.Cert = &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: certUID, Generation: 1, ResourceVersion: "10", CreationTimestamp: metav1.NewTime(start)},
		Spec: cmapi.CertificateSpec{
			SecretName: "web-tls", DNSNames: []string{"web.example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"}, PrivateKey: ecdsaKey(),
		},
		Status: cmapi.CertificateStatus{Revision: ptr.To(1)},
	}
	w.Now = start.Add(time.Hour)
	w.BackOff = BackOff{Base: time.Hour, Max: 32 * time.Hour}
	w.pair = makePair(t, &w.ca, &w.Cert.Spec, start)
	w.Current = w.request(1, w.pair)
	w.seeSecret(nil)
	return w
}

// request returns the Certificate's issued request of a revision.
func (w *world) request(revision int, p pair) *Request {
	r := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: fmt.Sprintf("web-%d", revision), UID: "request", ResourceVersion: "11",
			Annotations: map[string]string{annRevision: fmt.Sprint(revision)},
		},
		Spec: requestSpec(w.Cert, p.csr),
	}
	setApproved(&r.Status, start)
	r.Status.Certificate, r.Status.CA = p.chain, p.ca
	setRequestCondition(&r.Status, start, cmapi.CertificateRequestConditionReady, cmmeta.ConditionTrue, cmapi.CertificateRequestReasonIssued, issuedMessage)
	return &Request{CertificateRequest: r, CSR: pki.NewRequestDigest(p.csr)}
}

// secret returns the Secret as we would write it for the Certificate's spec.
func (w *world) secret() *corev1.Secret {
	m := issuedMetadata(w.Cert, w.Cert.Spec.IssuerRef)
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web-tls", UID: "secret", ResourceVersion: "12", Labels: m.Labels, Annotations: m.Annotations,
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: FieldManager, FieldsV1: fieldsOf(m)}},
		},
		Type: corev1.SecretTypeTLS,
		Data: secretData(&w.Cert.Spec, material{key: w.pair.keyPEM, chain: w.pair.chain, ca: w.pair.ca}),
	}
	for k, v := range pki.LeafAnnotations(w.pair.chain) {
		s.Annotations[k] = v
	}
	return s
}

// seeSecret makes the State see the Secret as change leaves it.
func (w *world) seeSecret(change func(*corev1.Secret)) {
	s := w.secret()
	if change != nil {
		change(s)
	}
	w.Secret = (&Secrets{}).Remember(s)
}

// persist puts a pair's key into a temporary Secret.
func (w *world) persist(p pair) {
	w.NextKey = &NextKey{Name: "web-x", UID: "next", ResourceVersion: "13", Digest: pki.NewDigest(map[string][]byte{corev1.TLSPrivateKeyKey: p.keyPEM})}
}

// underWay makes an issuance of revision 2 go on, with a persisted key, and returns its pair.
func (w *world) underWay(t testing.TB) pair {
	p := makePair(t, &w.ca, &w.Cert.Spec, w.Now)
	w.Next = w.request(2, p)
	w.Next.Status = cmapi.CertificateRequestStatus{}
	w.persist(p)
	w.Cert.Status.NextPrivateKeySecretName = ptr.To(w.NextKey.Name)
	w.issuing(cmmeta.ConditionTrue, "Renewing", "Renewing certificate")
	return p
}

func (w *world) issuing(status cmmeta.ConditionStatus, reason, message string) {
	setIssuing(&w.Cert.Status, w.State, status, reason, message)
}

func (w *world) failed(at time.Time, attempts int) {
	w.issuing(cmmeta.ConditionFalse, "Failed", "The certificate request has failed to complete and will be retried: no")
	w.Cert.Status.LastFailureTime, w.Cert.Status.FailedIssuanceAttempts = ptr.To(metav1.NewTime(at)), ptr.To(attempts)
}
