package issuance

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

var ctx = context.Background()

// lab is a namespace on the real API server, and the issuance controllers with a clock that tests set.
type lab struct {
	t     *testing.T
	ns    string
	clock clock
	saw   recorder
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, ns: testenv.Namespace(t, nil)}
	t.Cleanup(func() { // else the next test's controllers would work on what this one leaves
		for _, obj := range []client.Object{&cmapi.Certificate{}, &cmapi.CertificateRequest{}, &cmapi.Issuer{}} {
			if err := testenv.Admin().DeleteAllOf(ctx, obj, client.InNamespace(l.ns)); err != nil {
				t.Errorf("clearing: %v", err)
			}
		}
	})
	return l
}

// clock runs, from where it is set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// recorder keeps Events as "Certificate/web Warning Reason message".
type recorder struct {
	mu   sync.Mutex
	list []string
}

func (r *recorder) Event(obj runtime.Object, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1.")
	r.list = append(r.list, fmt.Sprintf("%s/%s %s %s %s", what, obj.(client.Object).GetName(), kind, reason, message))
}

func (r *recorder) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}

// start runs the controllers, wired as the daemon wires them, after change has had its way with them.
func (l *lab) start(change func(*Certificates, *Requests)) (stop func()) {
	l.t.Helper()
	return testenv.Manager(l.t, func(mgr ctrl.Manager) error {
		if err := IndexFields(ctx, mgr.GetFieldIndexer()); err != nil {
			return err
		}
		secrets := &Secrets{Live: mgr.GetAPIReader(), Cache: mgr.GetCache()}
		signer := &Signer{Cache: mgr.GetCache(), Secrets: secrets, ClusterNamespace: l.ns}
		approver := Approver{Enabled: true, Signers: DefaultSigners()}
		certificates := &Certificates{
			Client: mgr.GetClient(), Cache: mgr.GetCache(), Secrets: secrets, Signer: signer, Events: &l.saw, Now: l.clock.now,
			Approver: approver, SignAtOnce: true, BackOff: BackOff{Base: time.Hour, Max: 32 * time.Hour},
			CopiedAnnotations: []string{"*", "-kubectl.kubernetes.io/"}, Recheck: 200 * time.Millisecond, Workers: 2,
		}
		requests := &Requests{
			Client: mgr.GetClient(), Cache: mgr.GetCache(), Secrets: secrets, Signer: signer, Events: &l.saw, Now: l.clock.now,
			Approver: approver, Sign: true, Workers: 2,
		}
		if change != nil {
			change(certificates, requests)
		}
		if err := errors.Join(certificates.Setup(mgr), requests.Setup(mgr, certificates)); err != nil {
			return err
		}
		for _, kind := range []string{cmapi.IssuerKind, cmapi.ClusterIssuerKind} {
			r := &Issuers{
				Kind: kind, Client: mgr.GetClient(), Cache: mgr.GetCache(), Secrets: secrets, Events: &l.saw, Now: l.clock.now,
				ClusterNamespace: l.ns, Recheck: 200 * time.Millisecond,
			}
			if err := r.Setup(mgr); err != nil {
				return err
			}
		}
		return nil
	})
}

// unattended turns approval off: requests wait for somebody.
func unattended(c *Certificates, r *Requests) { c.Approver.Enabled, r.Approver.Enabled = false, false }

func (l *lab) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.ns, Name: name}
}

func (l *lab) create(obj client.Object) {
	l.t.Helper()
	if err := testenv.Admin().Create(ctx, obj); err != nil {
		l.t.Fatal(err)
	}
}

// get reads an object of the lab's namespace.
func get[T client.Object](l *lab, name string, obj T) (T, error) {
	return obj, testenv.Admin().Get(ctx, keyOf(l.ns, name), obj)
}

// change reads, changes and writes an object until nobody else has interfered.
func change[T client.Object](l *lab, name string, obj T, f func(T)) {
	l.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if _, err := get(l, name, obj); err != nil {
			return err
		}
		f(obj)
		return testenv.Admin().Update(ctx, obj)
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// changeStatus is change for the status.
func changeStatus[T client.Object](l *lab, name string, obj T, f func(T)) {
	l.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if _, err := get(l, name, obj); err != nil {
			return err
		}
		f(obj)
		return testenv.Admin().Status().Update(ctx, obj)
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) delete(obj client.Object) {
	l.t.Helper()
	if err := testenv.Admin().Delete(ctx, obj); err != nil {
		l.t.Fatal(err)
	}
}

// caSecret writes a CA valid from an hour ago for so long, as Secret name, and returns it.
func (l *lab) caSecret(name string, lifetime time.Duration) pki.KeyPair {
	l.t.Helper()
	ca := makeCA(l.t, l.clock.now().Add(-time.Hour), lifetime+time.Hour)
	data := map[string][]byte{"tls.crt": pki.EncodeCertificates(ca.Certs...), "tls.key": must(pki.EncodeKey(ca.Key, ""))}
	err := testenv.Admin().Create(ctx, &corev1.Secret{ObjectMeta: l.meta(name), Type: corev1.SecretTypeTLS, Data: data})
	if apierrors.IsAlreadyExists(err) {
		change(l, name, &corev1.Secret{}, func(s *corev1.Secret) { s.Data = data })
	} else if err != nil {
		l.t.Fatal(err)
	}
	return ca
}

func (l *lab) issuer(name string, spec cmapi.IssuerConfig) {
	l.t.Helper()
	l.create(&cmapi.Issuer{ObjectMeta: l.meta(name), Spec: cmapi.IssuerSpec{IssuerConfig: spec}})
}

// ca makes an Issuer "ca" that is Ready, with a CA good for ten years, and returns that.
func (l *lab) ca() pki.KeyPair {
	l.t.Helper()
	ca := l.caSecret("ca", 3650*day)
	l.issuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.issuerReady("ca", cmmeta.ConditionTrue, "KeyPairVerified")
	return ca
}

func (l *lab) issuerReady(name string, status cmmeta.ConditionStatus, reason string) cmapi.IssuerCondition {
	l.t.Helper()
	var c *cmapi.IssuerCondition
	testenv.Eventually(l.t, "Issuer "+name+" "+reason, func() error {
		i, err := get(l, name, &cmapi.Issuer{})
		if err != nil {
			return err
		}
		if c = issuerCondition(&i.Status); c == nil || c.Status != status || c.Reason != reason {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
	return *c
}

// certificate creates one that Issuer "ca" is to sign, with its name as secretName and only DNS name.
func (l *lab) certificate(name string, set func(*cmapi.Certificate)) {
	l.t.Helper()
	c := &cmapi.Certificate{ObjectMeta: l.meta(name), Spec: cmapi.CertificateSpec{
		SecretName: name, DNSNames: []string{name + ".example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"}, PrivateKey: ecdsaKey(),
	}}
	if set != nil {
		set(c)
	}
	l.create(c)
}

// ready waits until a Certificate has reached a revision, is Ready and at rest, and returns it with its leaf.
func (l *lab) ready(name string, revision int) (*cmapi.Certificate, *x509.Certificate) {
	l.t.Helper()
	var cert *cmapi.Certificate
	var leaf *x509.Certificate
	testenv.Eventually(l.t, fmt.Sprintf("Certificate %s Ready at revision %d", name, revision), func() (err error) {
		if cert, err = get(l, name, &cmapi.Certificate{}); err != nil {
			return err
		}
		c := condition(cert, cmapi.CertificateConditionReady)
		if c == nil || c.Status != cmmeta.ConditionTrue || c.ObservedGeneration != cert.Generation || currentRevision(cert) != revision || condition(cert, cmapi.CertificateConditionIssuing) != nil {
			return fmt.Errorf("generation %d, status %+v", cert.Generation, cert.Status)
		}
		secret, err := get(l, cert.Spec.SecretName, &corev1.Secret{})
		if err != nil {
			return err
		}
		leaf, err = soundLeaf(secret)
		return err
	})
	return cert, leaf
}

// soundLeaf returns the leaf of a Secret that is a key pair.
func soundLeaf(s *corev1.Secret) (*x509.Certificate, error) {
	if d := pki.NewDigest(s.Data); d.Flaw != pki.Sound {
		return nil, fmt.Errorf("Secret %s is no key pair: flaw %d %s", s.Name, d.Flaw, d.Detail)
	}
	return must(pki.ParseCertificates(s.Data["tls.crt"]))[0], nil
}

// says waits until a Certificate's condition has a status and reason, and returns it.
func (l *lab) says(name string, kind cmapi.CertificateConditionType, status cmmeta.ConditionStatus, reason string) cmapi.CertificateCondition {
	l.t.Helper()
	var c *cmapi.CertificateCondition
	testenv.Eventually(l.t, fmt.Sprintf("Certificate %s %s=%s %s", name, kind, status, reason), func() error {
		cert, err := get(l, name, &cmapi.Certificate{})
		if err != nil {
			return err
		}
		if c = condition(cert, kind); c == nil || c.Status != status || c.Reason != reason {
			return fmt.Errorf("status %+v", cert.Status)
		}
		return nil
	})
	return *c
}

// requestSays waits until a CertificateRequest is Ready or not for a reason, and returns it.
func (l *lab) requestSays(name, reason string) *cmapi.CertificateRequest {
	l.t.Helper()
	var r *cmapi.CertificateRequest
	testenv.Eventually(l.t, "CertificateRequest "+name+" "+reason, func() (err error) {
		if r, err = get(l, name, &cmapi.CertificateRequest{}); err != nil {
			return err
		}
		if c := requestCondition(&r.Status, cmapi.CertificateRequestConditionReady); c == nil || c.Reason != reason {
			return fmt.Errorf("status %+v", r.Status)
		}
		return nil
	})
	return r
}

// event waits for an Event whose text begins with prefix, and returns it.
func (l *lab) event(prefix string) string {
	l.t.Helper()
	var found string
	testenv.Eventually(l.t, "an Event "+prefix, func() error {
		for _, e := range l.saw.all() {
			if strings.HasPrefix(e, prefix) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("there are %q", l.saw.all())
	})
	return found
}

// requests lists the names of the CertificateRequests that there are.
func (l *lab) requests() []string {
	l.t.Helper()
	var list cmapi.CertificateRequestList
	if err := testenv.Admin().List(ctx, &list, client.InNamespace(l.ns)); err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, r := range list.Items {
		out = append(out, r.Name)
	}
	return out
}

// nextKeys lists the temporary Secrets that there are.
func (l *lab) nextKeys() []corev1.Secret {
	l.t.Helper()
	var list corev1.SecretList
	if err := testenv.Admin().List(ctx, &list, client.InNamespace(l.ns), client.MatchingLabels{labelNextKey: "true"}); err != nil {
		l.t.Fatal(err)
	}
	return list.Items
}

// gone waits until there is no temporary Secret, and no CertificateRequest but these.
func (l *lab) tidy(requests ...string) {
	l.t.Helper()
	testenv.Eventually(l.t, fmt.Sprintf("only requests %q and no temporary Secret", requests), func() error {
		if have := l.requests(); fmt.Sprint(have) != fmt.Sprint(requests) {
			return fmt.Errorf("requests %q", have)
		}
		if n := len(l.nextKeys()); n > 0 {
			return fmt.Errorf("%d temporary Secrets", n)
		}
		return nil
	})
}

// approve approves a request as an administrator does, once it is there.
func (l *lab) decideRequest(name string, kind cmapi.CertificateRequestConditionType, reason, message string) {
	l.t.Helper()
	testenv.Eventually(l.t, "CertificateRequest "+name, func() error {
		_, err := get(l, name, &cmapi.CertificateRequest{})
		return err
	})
	changeStatus(l, name, &cmapi.CertificateRequest{}, func(r *cmapi.CertificateRequest) {
		setRequestCondition(&r.Status, l.clock.now(), kind, cmmeta.ConditionTrue, reason, message)
	})
}
