package signingrequest

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance"
	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/pki"
)

var ctx = context.Background()

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// lab is a namespace with Issuers, another one for what ClusterIssuers need, and the reconciler on the real API server. Names of
// cluster-wide objects get the namespace's as a prefix.
type lab struct {
	t           *testing.T
	ns, cluster string
	saw         recorder
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{t: t, ns: testenv.Namespace(t, nil), cluster: testenv.Namespace(t, nil)}
}

// recorder keeps Events as "name component type reason message".
type recorder struct {
	mu   sync.Mutex
	list []string
}

func (r *recorder) component(name string) record.EventRecorder { return componentRecorder{r, name} }

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.list...)
}

type componentRecorder struct {
	*recorder
	component string
}

func (r componentRecorder) Event(obj runtime.Object, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, strings.Join([]string{obj.(client.Object).GetName(), r.component, kind, reason, message}, " "))
}

func (r componentRecorder) Eventf(obj runtime.Object, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

func (r componentRecorder) AnnotatedEventf(obj runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Event(obj, kind, reason, fmt.Sprintf(format, args...))
}

// trimmed is a cache that keeps as little of a request as the daemon's does.
type trimmed struct{ client.Reader }

func (c trimmed) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := c.Reader.Get(ctx, key, obj, opts...)
	if req, ok := obj.(*certificatesv1.CertificateSigningRequest); ok {
		Trim(req)
	}
	return err
}

// start runs the reconciler, wired as the daemon wires it, after change has had its way with it.
func (l *lab) start(change func(*Reconciler)) (stop func()) {
	l.t.Helper()
	return testenv.Manager(l.t, func(mgr ctrl.Manager) error {
		secrets := &issuance.Secrets{Live: mgr.GetAPIReader(), Cache: mgr.GetCache()}
		r := &Reconciler{
			Client: mgr.GetClient(), Cache: trimmed{mgr.GetCache()}, Live: mgr.GetAPIReader(), Events: l.saw.component, ClusterNamespace: l.cluster,
			Signer: &issuance.Signer{Cache: mgr.GetCache(), Secrets: secrets, ClusterNamespace: l.cluster, Lifetime: issuer.Outlived},
		}
		if change != nil {
			change(r)
		}
		// The daemon's caches are filled by the time that it holds its Lease.
		if _, err := mgr.GetCache().GetInformer(ctx, &certificatesv1.CertificateSigningRequest{}, cache.BlockUntilSynced(false)); err != nil {
			return err
		}
		return mgr.Add(manager.RunnableFunc(func(context.Context) error { return r.Setup(mgr) }))
	})
}

// create creates an object that goes with the test.
func (l *lab) create(obj client.Object) {
	l.t.Helper()
	if err := testenv.Admin().Create(ctx, obj); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
			l.t.Error(err)
		}
	})
}

func (l *lab) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: l.ns, Name: name}
}

// issuer creates an Issuer, and a ClusterIssuer alike, that nobody has looked at yet.
func (l *lab) issuer(name string, config cmapi.IssuerConfig) {
	l.t.Helper()
	l.create(&cmapi.Issuer{ObjectMeta: l.meta(name), Spec: cmapi.IssuerSpec{IssuerConfig: config}})
	l.create(&cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: l.ns + "." + name}, Spec: cmapi.IssuerSpec{IssuerConfig: config}})
}

// ready gives an Issuer and its ClusterIssuer the condition Ready.
func (l *lab) ready(name string, status cmmeta.ConditionStatus) {
	l.t.Helper()
	conditions := []cmapi.IssuerCondition{{Type: cmapi.IssuerConditionReady, Status: status, Reason: "Test", Message: "says the test"}}
	i := &cmapi.Issuer{ObjectMeta: l.meta(name)}
	c := &cmapi.ClusterIssuer{ObjectMeta: metav1.ObjectMeta{Name: l.ns + "." + name}}
	for obj, st := range map[client.Object]*cmapi.IssuerStatus{i: &i.Status, c: &c.Status} {
		if err := testenv.Admin().Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			l.t.Fatal(err)
		}
		st.Conditions = conditions
		if err := testenv.Admin().Status().Update(ctx, obj); err != nil {
			l.t.Fatal(err)
		}
	}
}

// ca makes an Issuer "ca" and its ClusterIssuer, both ready, and returns their root, good for a year.
func (l *lab) ca() *x509.Certificate {
	l.t.Helper()
	key := must(pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}))
	spec := &cmapi.CertificateRequestSpec{IsCA: true, Duration: &metav1.Duration{Duration: 8760 * time.Hour}}
	spec.Request = must(pki.NewRequest(&cmapi.CertificateSpec{CommonName: "root", IsCA: true}, key))
	root := must(pki.SelfSign(must(pki.NewTemplate(must(pki.ParseRequest(spec.Request)), spec, time.Now().Add(-time.Hour))), key))
	for _, ns := range []string{l.ns, l.cluster} {
		l.secret(ns, "ca", map[string][]byte{"tls.crt": root.Chain, "tls.key": must(pki.EncodeKey(key, ""))})
	}
	l.issuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}})
	l.ready("ca", cmmeta.ConditionTrue)
	return must(pki.ParseCertificates(root.Chain))[0]
}

func (l *lab) secret(namespace, name string, data map[string][]byte) {
	l.t.Helper()
	l.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
}

// issuerName is the signer name of an Issuer, clusterName that of its ClusterIssuer.
func (l *lab) issuerName(name string) string { return "issuers.cert-manager.io/" + l.ns + "." + name }
func (l *lab) clusterName(name string) string {
	return "clusterissuers.cert-manager.io/" + l.ns + "." + name
}

// ask creates a request as somebody and returns the key behind it.
func (l *lab) ask(as client.Client, name, signer string, set func(*certificatesv1.CertificateSigningRequest)) crypto.Signer {
	l.t.Helper()
	key := must(pki.GenerateKey(pki.KeySpec{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256}))
	req := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: l.ns + "." + name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer,
			Request:    must(pki.NewRequest(&cmapi.CertificateSpec{CommonName: name, DNSNames: []string{name + ".example.org"}}, key)),
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment},
		},
	}
	if set != nil {
		set(req)
	}
	if err := as.Create(ctx, req); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, req); client.IgnoreNotFound(err) != nil {
			l.t.Error(err)
		}
	})
	return key
}

// annotated sets one annotation.
func annotated(key, value string) func(*certificatesv1.CertificateSigningRequest) {
	return func(r *certificatesv1.CertificateSigningRequest) { r.Annotations = map[string]string{key: value} }
}

// judge approves or denies a request as an administrator does.
func (l *lab) judge(name string, kind certificatesv1.RequestConditionType) {
	l.t.Helper()
	req := l.get(name)
	req.Status.Conditions = append(req.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: "Test", Message: "says the test",
	})
	if err := testenv.Admin().SubResource("approval").Update(ctx, req); err != nil {
		l.t.Fatal(err)
	}
}

// request creates a request as the administrator and approves it.
func (l *lab) request(name, signer string, set func(*certificatesv1.CertificateSigningRequest)) crypto.Signer {
	l.t.Helper()
	key := l.ask(testenv.Admin(), name, signer, set)
	l.judge(name, certificatesv1.CertificateApproved)
	return key
}

func (l *lab) get(name string) *certificatesv1.CertificateSigningRequest {
	l.t.Helper()
	req := &certificatesv1.CertificateSigningRequest{}
	if err := testenv.Admin().Get(ctx, client.ObjectKey{Name: l.ns + "." + name}, req); err != nil {
		l.t.Fatal(err)
	}
	return req
}

// issued waits for a request's chain and returns it, leaf first.
func (l *lab) issued(name string) []*x509.Certificate {
	l.t.Helper()
	var chain []*x509.Certificate
	testenv.Eventually(l.t, name+" to be issued", func() (err error) {
		req := l.get(name)
		if len(req.Status.Certificate) == 0 {
			return fmt.Errorf("conditions %+v, Events %q", req.Status.Conditions, l.saw.all())
		}
		chain, err = pki.ParseCertificates(req.Status.Certificate)
		return err
	})
	return chain
}

// failed waits until a request has failed for a reason and returns the message.
func (l *lab) failed(name, reason string) string {
	l.t.Helper()
	var message string
	testenv.Eventually(l.t, name+" to fail with "+reason, func() error {
		req := l.get(name)
		for _, c := range req.Status.Conditions {
			if c.Type == certificatesv1.CertificateFailed && c.Status == corev1.ConditionTrue && c.Reason == reason && !c.LastTransitionTime.IsZero() {
				message = c.Message
				return nil
			}
		}
		return fmt.Errorf("conditions %+v, certificate of %d bytes", req.Status.Conditions, len(req.Status.Certificate))
	})
	return message
}

// event waits for an Event on a request whose component, type, reason and message begin with rest.
func (l *lab) event(name, rest string) {
	l.t.Helper()
	testenv.Eventually(l.t, "an Event "+rest+" on "+name, func() error {
		if all := l.saw.all(); !slices.ContainsFunc(all, func(e string) bool { return strings.HasPrefix(e, l.ns+"."+name+" "+rest) }) {
			return fmt.Errorf("there are %q", all)
		}
		return nil
	})
}

// user returns a client of a user who may create CertificateSigningRequests and nothing else.
func (l *lab) user(who rest.ImpersonationConfig) client.Client {
	l.t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: l.ns + "." + who.UserName},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create"}}},
	}
	l.create(role)
	l.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: who.UserName}},
	})
	l.waitAllowed(who.UserName, nil, &authorizationv1.ResourceAttributes{Group: "certificates.k8s.io", Resource: "certificatesigningrequests", Verb: "create"})
	config := testenv.AdminConfig()
	config.Impersonate = who
	return must(client.New(config, client.Options{Scheme: testenv.Scheme()}))
}

// mayReference gives a user or a group the verb "reference" on a signer's name in the lab's namespace.
func (l *lab) mayReference(kind, who, signer string) {
	l.t.Helper()
	rule := rbacv1.PolicyRule{APIGroups: []string{"cert-manager.io"}, Resources: []string{"signers"}, Verbs: []string{"reference"}, ResourceNames: []string{signer}}
	l.create(&rbacv1.Role{ObjectMeta: l.meta("may-" + who), Rules: []rbacv1.PolicyRule{rule}})
	l.create(&rbacv1.RoleBinding{
		ObjectMeta: l.meta("may-" + who),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "may-" + who},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: kind, Name: who}},
	})
	user, groups := who, []string(nil)
	if kind == "Group" {
		user, groups = "somebody", []string{who}
	}
	l.waitAllowed(user, groups, &authorizationv1.ResourceAttributes{Group: "cert-manager.io", Resource: "signers", Verb: "reference", Namespace: l.ns, Name: signer})
}

// waitAllowed waits until the API server has noticed a right: its authorizer follows the roles a little behind.
func (l *lab) waitAllowed(user string, groups []string, what *authorizationv1.ResourceAttributes) {
	l.t.Helper()
	testenv.Eventually(l.t, user+" to get the right", func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: what}}
		if err := testenv.Admin().Create(ctx, review); err != nil {
			return err
		}
		if !review.Status.Allowed {
			return fmt.Errorf("not yet: %s", review.Status.Reason)
		}
		return nil
	})
}
