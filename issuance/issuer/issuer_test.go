package issuer

import (
	"context"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// store is a namespace's Secrets; an error stands for an API server that does not answer.
type store struct {
	secrets map[string]map[string][]byte
	err     error
}

func (s store) Payload(_ context.Context, key types.NamespacedName) (map[string][]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	if data, ok := s.secrets[key.String()]; ok {
		return data, nil
	}
	return nil, apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
}

// asks returns a request for a spec with a new key.
func asks(spec *cmapi.CertificateSpec) (Request, crypto.Signer) {
	key := must(pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}))
	csr := must(pki.NewRequest(spec, key))
	request := &cmapi.CertificateRequestSpec{Request: csr, IsCA: spec.IsCA, Usages: spec.Usages, Duration: spec.Duration}
	return Request{Namespace: "ns", Spec: request, CSR: must(pki.ParseRequest(csr)), Now: now}, key
}

// authority returns a CA Secret's data, valid from an hour ago for so long.
func authority(lifetime time.Duration) map[string][]byte {
	req, key := asks(&cmapi.CertificateSpec{CommonName: "ca", IsCA: true, Duration: &metav1.Duration{Duration: lifetime + time.Hour}})
	req.Key, req.Now = key, now.Add(-time.Hour)
	signed := must(must(New(&cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}, "", nil, Kept)).Sign(context.Background(), req))
	return map[string][]byte{"tls.crt": signed.Chain, "tls.key": must(pki.EncodeKey(key, "")), "ca.crt": signed.CA}
}

func caSpec() *cmapi.IssuerSpec {
	return &cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}}}
}

func TestNew(t *testing.T) {
	for reason, config := range map[string]cmapi.IssuerConfig{
		"IssuerTypeMissing":      {},
		"IssuerTypeNotSupported": {Vault: &cmapi.VaultIssuer{}},
	} {
		_, err := New(&cmapi.IssuerSpec{IssuerConfig: config}, "ns", nil, Kept)
		if p, ok := asProblem(err); !ok || p.Reason != reason || !p.Pending {
			t.Errorf("%s: %v", reason, err)
		}
	}
	for _, config := range []cmapi.IssuerConfig{{Venafi: &cmapi.VenafiIssuer{}}, {ACME: nil, Vault: &cmapi.VaultIssuer{}}} {
		if _, err := New(&cmapi.IssuerSpec{IssuerConfig: config}, "ns", nil, Kept); err == nil || !strings.Contains(err.Error(), "use selfSigned or ca") {
			t.Errorf("%v", err)
		}
	}
}

func TestCA(t *testing.T) {
	lost := errors.New("the connection was lost")
	good, short, expired := authority(1000*24*time.Hour), authority(10*24*time.Hour), authority(-time.Minute)
	with := func(data map[string][]byte, caCRT []byte) map[string][]byte {
		return map[string][]byte{"tls.crt": data["tls.crt"], "tls.key": data["tls.key"], "ca.crt": caCRT}
	}
	in := func(data map[string][]byte) store {
		return store{secrets: map[string]map[string][]byte{"ns/ca": data}}
	}
	for _, tc := range []struct {
		reason   string
		store    store
		lifetime Lifetime
		health   Health // without its message
		problem  string // of signing
		note     string
	}{
		{"a good one", in(good), Kept, Health{Ready: true, Reason: "KeyPairVerified", Recheck: now.Add(1000*24*time.Hour + time.Second)}, "", ""},
		{"one that ends before the leaf", in(short), Kept, Health{Ready: true, Reason: "KeyPairVerified", Recheck: now.Add(10*24*time.Hour + time.Second)}, "", "valid only until "},
		{"ca.crt does not parse", in(with(good, []byte("x"))), Kept, Health{Ready: true, Reason: "KeyPairVerified", Recheck: now.Add(1000*24*time.Hour + time.Second)}, "", ""},
		{"ca.crt is of somebody else", in(with(good, short["tls.crt"])), Kept, Health{Ready: true, Reason: "KeyPairVerified", Recheck: now.Add(1000*24*time.Hour + time.Second)}, "", ""},
		{"an expired one", in(expired), Kept, Health{Reason: "ErrInvalidKeyPair"}, "SecretInvalidData", ""},
		{"none", store{}, Kept, Health{Reason: "ErrGetKeyPair"}, "SecretMissing", ""},
		{"garbage", in(map[string][]byte{"tls.crt": []byte("x")}), Kept, Health{Reason: "ErrInvalidKeyPair"}, "SecretInvalidData", ""},
		{"one that ends before the leaf, which may be longer", in(short), Outlived, Health{Ready: true, Reason: "KeyPairVerified", Recheck: now.Add(10*24*time.Hour + time.Second)}, "", "of use only until "},
		{"an expired one, whatever may be longer", in(expired), Outlived, Health{Reason: "ErrInvalidKeyPair"}, "SecretInvalidData", ""},
		{"an expired one, and nobody minds", in(expired), Ignored, Health{Ready: true, Reason: "KeyPairVerified"}, "", ""},
	} {
		issuer := must(New(caSpec(), "ns", tc.store, tc.lifetime))
		health, err := issuer.Check(context.Background(), now)
		health.Message = ""
		if diff := cmp.Diff(tc.health, health); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got\n%s", tc.reason, err, diff)
		}
		req, _ := asks(&cmapi.CertificateSpec{CommonName: "web"})
		signed, err := issuer.Sign(context.Background(), req)
		if p, ok := asProblem(err); ok != (tc.problem != "") || ok && (p.Reason != tc.problem || !p.Pending) || !ok && err != nil {
			t.Errorf("%s: signing: %v, want %q", tc.reason, err, tc.problem)
		}
		if tc.problem == "" {
			leaf, ca := must(pki.ParseCertificates(signed.Chain))[0], must(pki.ParseCertificates(tc.store.secrets["ns/ca"]["tls.crt"]))[0]
			if leaf.NotAfter.After(ca.NotAfter) && tc.lifetime == Kept || tc.lifetime != Kept && leaf.NotAfter.Sub(now) != 90*24*time.Hour {
				t.Errorf("%s: the leaf ends at %s, the CA at %s", tc.reason, leaf.NotAfter, ca.NotAfter)
			}
		}
		if !strings.HasPrefix(signed.Note, tc.note) || (tc.note == "") != (signed.Note == "") || tc.problem == "" && len(signed.CA) == 0 {
			t.Errorf("%s: note %q, CA of %d bytes", tc.reason, signed.Note, len(signed.CA))
		}
	}
	broken := must(New(caSpec(), "ns", store{err: lost}, Kept))
	if _, err := broken.Check(context.Background(), now); !errors.Is(err, lost) {
		t.Errorf("checking without the API server: %v", err)
	}
	req, _ := asks(&cmapi.CertificateSpec{CommonName: "web"})
	if _, err := broken.Sign(context.Background(), req); !errors.Is(err, lost) {
		t.Errorf("signing without the API server: %v", err)
	}
	req.Spec.Usages = []cmapi.KeyUsage{"all"}
	_, err := must(New(caSpec(), "ns", in(good), Kept)).Sign(context.Background(), req)
	if p, ok := asProblem(err); !ok || p.Pending || p.Reason != "SigningError" {
		t.Errorf("a request that can't be signed: %v", err)
	}
}

func TestSelfSigned(t *testing.T) {
	lost := errors.New("the connection was lost")
	req, key := asks(&cmapi.CertificateSpec{CommonName: "root", IsCA: true})
	_, other := asks(&cmapi.CertificateSpec{CommonName: "other"})
	pem := func(k crypto.Signer) store {
		return store{secrets: map[string]map[string][]byte{"ns/key": {"tls.key": must(pki.EncodeKey(k, ""))}}}
	}
	for _, tc := range []struct {
		reason  string
		secret  string
		key     crypto.Signer
		store   store
		problem Problem
	}{
		{"the caller holds the key", "", key, store{err: lost}, Problem{}},
		{"the key is in the Secret", "key", nil, pem(key), Problem{}},
		{"no Secret is named", "", nil, pem(key), Problem{Reason: "MissingAnnotation"}},
		{"the Secret is missing", "none", nil, pem(key), Problem{Reason: "MissingSecret", Pending: true}},
		{"another key", "key", nil, pem(other), Problem{Reason: "ErrorKeyMatch"}},
		{"no key", "key", nil, store{secrets: map[string]map[string][]byte{"ns/key": nil}}, Problem{Reason: "ErrorParsingKey", Pending: true}},
	} {
		issuer := must(New(&cmapi.IssuerSpec{IssuerConfig: cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}}, "ns", tc.store, Kept))
		r := req
		r.KeySecret, r.Key = tc.secret, tc.key
		signed, err := issuer.Sign(context.Background(), r)
		p, ok := asProblem(err)
		if ok {
			p = &Problem{Reason: p.Reason, Pending: p.Pending}
		} else {
			p = &Problem{}
		}
		if diff := cmp.Diff(tc.problem, *p); diff != "" || !ok && err != nil {
			t.Errorf("%s: %v, -want +got\n%s", tc.reason, err, diff)
		}
		if !ok && string(signed.Chain) != string(signed.CA) {
			t.Errorf("%s: it is not its own CA", tc.reason)
		}
	}
	r := req
	r.KeySecret = "key"
	if _, err := (selfSigned{spec: &cmapi.SelfSignedIssuer{}, secrets: store{err: lost}}).Sign(context.Background(), r); !errors.Is(err, lost) {
		t.Errorf("without the API server: %v", err)
	}
	r.Key, r.Spec = key, &cmapi.CertificateRequestSpec{Usages: []cmapi.KeyUsage{"all"}}
	if p, ok := asProblem(errOf(selfSigned{spec: &cmapi.SelfSignedIssuer{}}.Sign(context.Background(), r))); !ok || p.Reason != "ErrorGenerating" {
		t.Errorf("a request that can't be signed: %v", p)
	}
}

func errOf[T any](_ T, err error) error { return err }
