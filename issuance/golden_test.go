package issuance

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// atOnce is every write of an issuance that an issuer answers at once.
var atOnce = map[string]int{
	"create certificaterequests": 1, "update certificaterequests/status": 1, "apply secrets": 1, "update certificates/status": 1,
}

// since returns the writes made since before.
func since(t *testing.T, before map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range testenv.Writes(t) {
		if n -= before[k]; n != 0 {
			out[k] = n
		}
	}
	return out
}

func times(writes map[string]int, n int) map[string]int {
	out := map[string]int{}
	for k := range writes {
		out[k] = n * writes[k]
	}
	return out
}

// exactly waits until the writes since before are want, then lets another Certificate come and go through the same queues, and
// finds that there were no others.
func (l *lab) exactly(what string, before, want map[string]int) {
	l.t.Helper()
	testenv.Eventually(l.t, what, func() error {
		if diff := cmp.Diff(want, since(l.t, before)); diff != "" {
			return fmt.Errorf("-want +got\n%s", diff)
		}
		return nil
	})
	before = testenv.Writes(l.t)
	name := fmt.Sprintf("probe-%d", len(before)+before["create certificaterequests"])
	l.certificate(name, nil)
	l.ready(name, 1)
	if diff := cmp.Diff(atOnce, since(l.t, before)); diff != "" {
		l.t.Errorf("after %s: -want +got\n%s", what, diff)
	}
}

func TestWritesOfAnIssuance(t *testing.T) {
	l := newLab(t)
	stop := l.start(nil)
	l.ca()

	before := testenv.Writes(t)
	for i := range 5 {
		l.certificate(fmt.Sprintf("web-%d", i), nil)
	}
	for i := range 5 {
		l.ready(fmt.Sprintf("web-%d", i), 1)
	}
	l.exactly("first issuances", before, times(atOnce, 5))

	before = testenv.Writes(t)
	change(l, "web-0", &cmapi.Certificate{}, func(c *cmapi.Certificate) {
		c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "1"}}
	})
	testenv.Eventually(t, "the label", func() error {
		s, err := get(l, "web-0", &corev1.Secret{})
		if err == nil && s.Labels["a"] != "1" {
			err = fmt.Errorf("labels %v", s.Labels)
		}
		return err
	})
	l.exactly("a repair", before, map[string]int{"apply secrets": 1, "update certificates/status": 1}) // the status: observedGeneration

	stop()
	before = testenv.Writes(t)
	stop = l.start(nil)
	l.exactly("a restart with everything in place", before, map[string]int{})
	stop()

	// All of them, the probes too, are due.
	l.clock.jump(61 * day)
	var list cmapi.CertificateList
	if err := testenv.Admin().List(ctx, &list, client.InNamespace(l.ns)); err != nil {
		t.Fatal(err)
	}
	before = testenv.Writes(t)
	l.start(nil)
	for _, c := range list.Items {
		l.ready(c.Name, 2)
	}
	want := maps.Clone(atOnce)
	want["delete certificaterequests"] = 1
	l.exactly("renewals", before, times(want, len(list.Items)))
}

func TestWritesWhereApprovalIsAwaited(t *testing.T) {
	l := newLab(t)
	l.start(unattended)
	l.ca()
	before := testenv.Writes(t)
	l.certificate("web", nil)
	l.decideRequest("web-1", "Approved", "admin", "fine")
	l.ready("web", 1)
	l.tidy("web-1")
	want := map[string]int{
		"create secrets": 1, "create certificaterequests": 1, "update certificates/status": 2, // under way, issued
		"update certificaterequests/status": 1, "apply secrets": 1, "delete secrets": 1,
	}
	testenv.Eventually(t, "seven writes", func() error {
		if diff := cmp.Diff(want, since(t, before)); diff != "" {
			return fmt.Errorf("-want +got\n%s", diff)
		}
		return nil
	})
}

// sink keeps everything that is logged.
type sink struct {
	mu  sync.Mutex
	all strings.Builder
}

func (s *sink) logger() logr.Logger {
	return funcr.New(func(prefix, args string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprintln(&s.all, prefix, args)
	}, funcr.Options{Verbosity: 1})
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// No private key, in no form, leaves through an Event, a condition or a log line.
func TestKeysStayWhereTheyAre(t *testing.T) {
	var logs sink
	usual := log.Log
	log.Log = logs.logger()
	t.Cleanup(func() { log.Log = usual })
	l := newLab(t)
	l.start(func(c *Certificates, r *Requests) { c.SignAtOnce = false })
	l.ca()
	var keys [][]byte
	remember := func(name string) {
		s, err := get(l, name, &corev1.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(s.Data["tls.key"])
		keys = append(keys, block.Bytes)
	}
	remember("ca")
	for _, algorithm := range []cmapi.PrivateKeyAlgorithm{cmapi.RSAKeyAlgorithm, cmapi.ECDSAKeyAlgorithm, cmapi.Ed25519KeyAlgorithm} {
		name := strings.ToLower(string(algorithm))
		l.certificate(name, func(c *cmapi.Certificate) {
			c.Spec.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: algorithm, RotationPolicy: cmapi.RotationPolicyNever}
		})
		l.ready(name, 1)
		remember(name)
	}
	// Broken in every way that makes the code look into a key and complain.
	change(l, "rsa", &corev1.Secret{}, func(s *corev1.Secret) { s.Data["tls.key"] = s.Data["tls.key"][:len(s.Data["tls.key"])-60] })
	change(l, "ecdsa", &corev1.Secret{}, func(s *corev1.Secret) {
		s.Data["tls.key"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: keys[2]})
	})
	change(l, "ca", &corev1.Secret{}, func(s *corev1.Secret) {
		s.Data["tls.key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keys[0]})
	})
	l.issuerReady("ca", cmmeta.ConditionFalse, "ErrInvalidKeyPair")
	l.ready("ed25519", 1)

	var said strings.Builder
	said.WriteString(logs.String())
	fmt.Fprintln(&said, l.saw.all())
	var certificates cmapi.CertificateList
	var requests cmapi.CertificateRequestList
	var issuers cmapi.IssuerList
	for _, list := range []client.ObjectList{&certificates, &requests, &issuers} {
		if err := testenv.Admin().List(ctx, list, client.InNamespace(l.ns)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%+v\n", list)
	}
	if logs.String() == "" {
		t.Error("nothing was logged: the test looks at nothing")
	}
	for i, key := range keys {
		for form, text := range forms(key) {
			for _, part := range text {
				if strings.Contains(said.String(), part) {
					t.Errorf("key %d in %s came out", i, form)
					break
				}
			}
		}
	}
}

// forms returns pieces of a key as it may look in a text. The first and last bytes are the encoding's, and the same in many keys;
// a public key is in every encoded private key, at its end.
func forms(key []byte) map[string][]string {
	out := map[string][]string{"hex": nil, "base64": nil, "bytes": nil, "decimals": nil}
	middle := key[len(key)/8 : len(key)/2]
	if len(key) > 500 { // RSA: the modulus, which is public, comes first
		middle = key[len(key)/2 : len(key)-16]
	}
	for i := 0; i+12 <= len(middle); i += 3 {
		part := middle[i : i+12]
		out["hex"] = append(out["hex"], hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)))
		out["bytes"] = append(out["bytes"], string(part))
		out["decimals"] = append(out["decimals"], strings.Trim(fmt.Sprint(part), "[]"))
	}
	text := base64.StdEncoding.EncodeToString(key)
	for i := len(text) / 8; i+16 <= len(text)/2; i++ {
		if len(key) <= 500 {
			out["base64"] = append(out["base64"], text[i:i+16])
		}
	}
	for i := len(text) / 2; len(key) > 500 && i+16 < len(text)-24; i++ {
		out["base64"] = append(out["base64"], text[i:i+16])
	}
	if !bytes.Contains(key, middle) {
		panic("no part of the key")
	}
	return out
}
