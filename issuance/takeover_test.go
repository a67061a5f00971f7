package issuance

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
	"github.com/trustglass/trustglass/issuance/pki"
)

// left is what cert-manager 1.21 leaves of one Certificate, each object by its field manager.
type left struct {
	name   string
	set    func(*cmapi.Certificate)
	self   bool // signed by itself
	change func(*testing.T, map[string][]byte)
}

// An installation of cert-manager, whatever it issued, starts under our controllers without one write.
func TestTakeover(t *testing.T) {
	l := newLab(t)
	ca := l.caSecret("ca", 3650*day)
	l.leaveIssuer("ca", cmapi.IssuerConfig{CA: &cmapi.CAIssuer{SecretName: "ca"}}, "KeyPairVerified", "Signing CA verified")
	l.leaveIssuer("self", cmapi.IssuerConfig{SelfSigned: &cmapi.SelfSignedIssuer{}}, "IsReady", "")
	store := func(keys ...string) func(*testing.T, map[string][]byte) {
		return func(_ *testing.T, data map[string][]byte) {
			for _, k := range keys {
				data[k] = []byte("locked with a password that only cert-manager saw")
			}
		}
	}
	for _, was := range []left{
		{name: "leaf"},
		{name: "root", self: true, set: func(c *cmapi.Certificate) {
			c.Spec.IsCA, c.Spec.CommonName, c.Spec.IssuerRef = true, "root", cmmeta.IssuerReference{Name: "self", Kind: "Issuer", Group: "cert-manager.io"}
		}},
		{name: "rsa", set: func(c *cmapi.Certificate) { c.Spec.PrivateKey = nil }},
		{name: "named", set: func(c *cmapi.Certificate) {
			c.Spec.Subject = &cmapi.X509Subject{Organizations: []string{"Ex, Inc."}, Countries: []string{"CH"}}
			c.Spec.IPAddresses, c.Spec.EmailAddresses, c.Spec.URIs = []string{"10.0.0.1"}, []string{"a@example.org"}, []string{"spiffe://a/b"}
			c.Spec.Usages = []cmapi.KeyUsage{cmapi.UsageServerAuth}
		}},
		{name: "literal", set: func(c *cmapi.Certificate) {
			c.Spec.LiteralSubject = "CN=web,DC=example,DC=org"
			c.Spec.OtherNames = []cmapi.OtherName{{OID: "1.2.3", UTF8Value: "x"}}
		}},
		{name: "template", set: func(c *cmapi.Certificate) {
			c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}}
		}},
		{name: "formats", set: func(c *cmapi.Certificate) {
			c.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}, {Type: "CombinedPEM"}}
		}, change: func(_ *testing.T, data map[string][]byte) {
			maps.Copy(data, pki.OutputFormats(data["tls.key"], data["tls.crt"]))
		}},
		{name: "stores", set: func(c *cmapi.Certificate) {
			c.Spec.Keystores = &cmapi.CertificateKeystores{
				JKS:    &cmapi.JKSKeystore{Create: true, Password: ptr.To("a")},
				PKCS12: &cmapi.PKCS12Keystore{Create: true, Password: ptr.To("b")},
			}
		}, change: store("keystore.jks", "truststore.jks", "keystore.p12", "truststore.p12")},
		{name: "foreign", set: func(c *cmapi.Certificate) {
			c.Spec.IssuerRef = cmmeta.IssuerReference{Name: "x", Kind: "Theirs", Group: "issuers.example.org"}
		}},
		{name: "off", set: func(c *cmapi.Certificate) { c.Spec.Renewal = &cmapi.CertificateRenewal{Policy: "Disabled"} }},
	} {
		l.leave(was, &ca)
	}
	l.leaveUnderWay("half")

	before, writes := l.versions(), testenv.Writes(t)
	l.start(nil)
	l.certificate("probe", nil)
	l.ready("probe", 1)
	time.Sleep(time.Second) // what would be written wrongly would be by now
	after := l.versions()
	for key, version := range before {
		if after[key] != version {
			t.Errorf("%s was written: it was at %s and is at %s", key, version, after[key])
		}
	}
	n := 0
	for what, count := range testenv.Writes(t) {
		if d := count - writes[what]; d > 0 {
			n += d
			t.Logf("%d x %s", d, what)
		}
	}
	if n != 4 {
		t.Errorf("%d writes, the probe's own are 4", n)
	}
}

// versions returns the resourceVersion of every object of the lab.
func (l *lab) versions() map[string]string {
	l.t.Helper()
	out := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"Certificate": &cmapi.CertificateList{}, "CertificateRequest": &cmapi.CertificateRequestList{}, "Issuer": &cmapi.IssuerList{}, "Secret": &corev1.SecretList{},
	} {
		if err := testenv.Admin().List(ctx, list, client.InNamespace(l.ns)); err != nil {
			l.t.Fatal(err)
		}
		var items struct {
			Items []metav1.PartialObjectMetadata `json:"items"`
		}
		if err := json.Unmarshal(must(json.Marshal(list)), &items); err != nil {
			l.t.Fatal(err)
		}
		for _, i := range items.Items {
			out[kind+"/"+i.Name] = i.ResourceVersion
		}
	}
	return out
}

func (l *lab) leaveIssuer(name string, config cmapi.IssuerConfig, reason, message string) {
	l.t.Helper()
	i := &cmapi.Issuer{ObjectMeta: l.meta(name), Spec: cmapi.IssuerSpec{IssuerConfig: config}}
	l.create(i)
	i.Status.Conditions = []cmapi.IssuerCondition{{
		Type: "Ready", Status: "True", Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: ptr.To(metav1.Now()),
	}}
	l.status(i, "cert-manager-issuers")
}

func (l *lab) status(obj client.Object, manager string) {
	l.t.Helper()
	if err := testenv.Admin().Status().Update(ctx, obj, client.FieldOwner(manager)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) leave(was left, ca *pki.KeyPair) {
	l.t.Helper()
	c := &cmapi.Certificate{ObjectMeta: l.meta(was.name), Spec: cmapi.CertificateSpec{
		SecretName: was.name, DNSNames: []string{was.name + ".example.org"}, IssuerRef: cmmeta.IssuerReference{Name: "ca"}, PrivateKey: ecdsaKey(),
	}}
	if was.set != nil {
		was.set(c)
	}
	l.create(c)
	signer := ca
	if was.self {
		signer = nil
	}
	p := makePair(l.t, signer, &c.Spec, time.Now())
	l.leaveRequest(c, p)
	data := map[string][]byte{"tls.crt": p.chain, "tls.key": p.keyPEM, "ca.crt": p.ca}
	if was.change != nil {
		was.change(l.t, data)
	}
	m := issuedMetadata(c, c.Spec.IssuerRef)
	secret := corev1ac.Secret(was.name, l.ns).WithType(corev1.SecretTypeTLS).WithData(data).
		WithLabels(m.Labels).WithAnnotations(m.Annotations).WithAnnotations(pki.LeafAnnotations(p.chain))
	body := must(json.Marshal(secret))
	err := testenv.Admin().Patch(ctx, &corev1.Secret{ObjectMeta: l.meta(was.name)}, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		l.t.Fatal(err)
	}
	leaf := must(pki.ParseCertificates(p.chain))[0]
	c.Status = cmapi.CertificateStatus{
		Revision: ptr.To(1), NotBefore: ptr.To(metav1.NewTime(leaf.NotBefore)), NotAfter: ptr.To(metav1.NewTime(leaf.NotAfter)),
		Conditions: []cmapi.CertificateCondition{{
			Type: "Ready", Status: "True", Reason: "Ready", Message: "Certificate is up to date and has not expired",
			ObservedGeneration: c.Generation, LastTransitionTime: ptr.To(metav1.Now()),
		}},
	}
	if at := pki.RenewalTime(&c.Spec, leaf.NotBefore, leaf.NotAfter); !at.IsZero() {
		c.Status.RenewalTime = ptr.To(metav1.NewTime(at))
	}
	l.status(c, "cert-manager-certificates-readiness")
}

func (l *lab) leaveRequest(c *cmapi.Certificate, p pair) {
	l.t.Helper()
	r := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.ns, Name: c.Name + "-1",
			Annotations:     map[string]string{annCertificate: c.Name, annRevision: "1", annKeySecret: c.Name + "-x8wkz"},
			OwnerReferences: []metav1.OwnerReference{*controllerRef(c)},
		},
		Spec: requestSpec(c, p.csr),
	}
	if err := testenv.Admin().Create(ctx, r, client.FieldOwner("cert-manager-certificates-request-manager")); err != nil {
		l.t.Fatal(err)
	}
	setApproved(&r.Status, time.Now())
	l.status(r, "cert-manager-certificaterequests-approver")
	r.Status.Certificate, r.Status.CA = p.chain, p.ca
	setRequestCondition(&r.Status, time.Now(), "Ready", cmmeta.ConditionTrue, "Issued", "Certificate fetched from issuer successfully")
	l.status(r, "cert-manager-certificaterequests-issuer-ca")
}

// leaveUnderWay is a Certificate whose external issuer has not answered yet: its key is persisted, its request is approved.
func (l *lab) leaveUnderWay(name string) {
	l.t.Helper()
	c := &cmapi.Certificate{ObjectMeta: l.meta(name), Spec: cmapi.CertificateSpec{
		SecretName: name, DNSNames: []string{name + ".example.org"}, PrivateKey: ecdsaKey(),
		IssuerRef: cmmeta.IssuerReference{Name: "x", Kind: "Theirs", Group: "issuers.example.org"},
	}}
	l.create(c)
	p := makePair(l.t, nil, &c.Spec, time.Now())
	key := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.ns, Name: name + "-q5v7c", Labels: map[string]string{labelNextKey: "true", labelManaged: "true"},
			OwnerReferences: []metav1.OwnerReference{*controllerRef(c)},
		},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"tls.key": p.keyPEM},
	}
	if err := testenv.Admin().Create(ctx, key, client.FieldOwner("cert-manager-certificates-key-manager")); err != nil {
		l.t.Fatal(err)
	}
	r := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.ns, Name: name + "-1",
			Annotations:     map[string]string{annCertificate: name, annRevision: "1", annKeySecret: key.Name},
			OwnerReferences: []metav1.OwnerReference{*controllerRef(c)},
		},
		Spec: requestSpec(c, p.csr),
	}
	if err := testenv.Admin().Create(ctx, r, client.FieldOwner("cert-manager-certificates-request-manager")); err != nil {
		l.t.Fatal(err)
	}
	setApproved(&r.Status, time.Now())
	l.status(r, "cert-manager-certificaterequests-approver")
	message := "Issuing certificate as Secret does not exist"
	c.Status.NextPrivateKeySecretName = &key.Name
	for _, kind := range []cmapi.CertificateConditionType{"Issuing", "Ready"} {
		status := cmmeta.ConditionTrue
		if kind == "Ready" {
			status = cmmeta.ConditionFalse
		}
		c.Status.Conditions = append(c.Status.Conditions, cmapi.CertificateCondition{
			Type: kind, Status: status, Reason: "DoesNotExist", Message: message, ObservedGeneration: 1, LastTransitionTime: ptr.To(metav1.Now()),
		})
	}
	l.status(c, "cert-manager-certificates-trigger")
}
