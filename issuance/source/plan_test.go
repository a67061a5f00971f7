package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// applied is what the Ingress shim's field manager owns of a Certificate with these fields.
func applied(fields string) []metav1.ManagedFieldsEntry {
	return []metav1.ManagedFieldsEntry{{Manager: "cert-manager-ingress-shim", Operation: "Update", FieldsV1: metav1.NewFieldsV1(fields)}}
}

// made is the Certificate that cert-manager's shim makes of ingress(with(), entry(name, name+".example")).
func made(name string) *cmapi.Certificate {
	return &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, UID: "certificate", ResourceVersion: "7",
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "web", UID: "ingress", Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
			ManagedFields: applied(`{"f:spec":{".":{},"f:dnsNames":{},"f:issuerRef":{},"f:secretName":{},"f:usages":{}}}`),
		},
		Spec: cmapi.CertificateSpec{
			SecretName: name, DNSNames: []string{name + ".example"},
			IssuerRef: cmmeta.IssuerReference{Name: "ca", Kind: "Issuer", Group: "cert-manager.io"},
			Usages:    []cmapi.KeyUsage{cmapi.UsageDigitalSignature, cmapi.UsageKeyEncipherment},
		},
	}
}

func change(c *cmapi.Certificate, f func(*cmapi.Certificate)) *cmapi.Certificate {
	f(c)
	return c
}

func state(src *Source, certificates ...*cmapi.Certificate) State {
	s := State{Source: src, GVK: kinds[src.Kind].gvk, Manager: "cert-manager-ingress-shim", Certificates: map[string]*cmapi.Certificate{}, Taken: map[string]string{}}
	for _, c := range certificates {
		s.Certificates[c.Name] = c
	}
	return s
}

// short tells a plan as "Create a", "Update a spec.dnsNames", "Delete a", "Refuse a Reason message".
func short(todo []Action) []string {
	var out []string
	for _, a := range todo {
		switch a := a.(type) {
		case Create:
			out = append(out, "Create "+a.name())
		case Update:
			out = append(out, "Update "+a.name()+" "+strings.Join(a.Changed, " "))
		case Delete:
			out = append(out, "Delete "+a.name())
		case Refuse:
			out = append(out, fmt.Sprintf("Refuse %s %s %s", a.Name, a.Reason, a.Message))
		}
	}
	return out
}

func stranger(name string) *cmapi.Certificate {
	return change(made(name), func(c *cmapi.Certificate) { c.OwnerReferences = nil; c.Spec.DNSNames = []string{"other.example"} })
}

func TestPlan(t *testing.T) {
	web := ParseIngress(ingress(with(), entry("a", "a.example")), policy())
	both := ParseIngress(ingress(with(), entry("a", "a.example"), entry("b", "b.example")), policy())
	none := ParseIngress(ingress(with()), policy())
	broken := ParseIngress(ingress(with("cert-manager.io/duration", "x")), policy())
	silent := ParseIngress(ingress(nil, entry("a", "a.example")), policy())
	hostless := ParseIngress(ingress(with(), entry("a")), policy())
	occupied := state(web)
	occupied.Taken["a"] = "it is of type Opaque"
	moved := state(web, change(made("a"), func(c *cmapi.Certificate) { c.Spec.SecretName = "b" }))
	moved.Taken["a"] = "it is of type Opaque"
	for _, tc := range []struct {
		reason string
		state  State
		want   []string
	}{
		{"there is none", state(web), []string{"Create a"}},
		{"what the incumbent made needs nothing", state(both, made("a"), made("b")), nil},
		{"it differs", state(web, change(made("a"), func(c *cmapi.Certificate) { c.Spec.DNSNames = []string{"x"} })), []string{"Update a spec.dnsNames"}},
		{"a stranger's stays", state(both, stranger("a")), []string{
			"Refuse a CertificateConflict Certificate a stays as it is: it belongs to whoever made it by hand, not to this Ingress", "Create b"}},
		{"another Ingress's stays", state(web, change(stranger("a"), func(c *cmapi.Certificate) {
			c.OwnerReferences = []metav1.OwnerReference{{Kind: "Ingress", Name: "old", UID: "x", Controller: ptr.To(true)}}
		})), []string{"Refuse a CertificateConflict Certificate a stays as it is: it belongs to Ingress old, not to this Ingress"}},
		{"another's that serves as well is nobody's trouble", state(web, change(made("a"), func(c *cmapi.Certificate) {
			c.OwnerReferences[0].UID = "another"
			c.Spec.DNSNames = []string{"z.example", "a.example"}
		})), nil},
		{"an Ingress of the same name before us", state(web, change(stranger("a"), func(c *cmapi.Certificate) {
			c.OwnerReferences = made("a").OwnerReferences
			c.OwnerReferences[0].UID = "deleted"
		})), []string{"Refuse a CertificateConflict Certificate a stays as it is: it belongs to Ingress web, not to this Ingress"}},
		{"no longer wanted", state(web, made("a"), made("b")), []string{"Delete b"}},
		{"nothing is wanted any more", state(none, made("a")), []string{"Delete a"}},
		{"a stranger's is not ours to delete", state(none, stranger("a")), nil},
		{"already going", state(none, change(made("a"), func(c *cmapi.Certificate) { c.DeletionTimestamp = ptr.To(metav1.Now()) })), nil},
		{"going while it is wanted", state(web, change(made("a"), func(c *cmapi.Certificate) { c.DeletionTimestamp = ptr.To(metav1.Now()) })), nil},
		{"its Secret is named by hand elsewhere in the spec", state(web, made("a"), change(made("b"), func(c *cmapi.Certificate) { c.Spec.SecretName = "a" })), nil},
		{"annotations that can't be followed freeze everything", state(broken, made("a")), nil},
		{"it no longer asks", state(silent, made("a")), nil},
		{"an entry that can't be followed keeps its Certificate", state(hostless, made("a")), nil},
		{"a Secret is in the way", occupied, []string{
			"Refuse a SecretConflict no Certificate is made for Secret a: it is of type Opaque; choose another secretName, or delete the Secret if nobody needs it"}},
		{"a Secret is in the way of a Certificate that somebody pointed elsewhere", moved, []string{
			"Refuse a SecretConflict no Certificate is made for Secret a: it is of type Opaque; choose another secretName, or delete the Secret if nobody needs it"}},
	} {
		if diff := cmp.Diff(tc.want, short(plan(tc.state))); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

// What is made is, to the field, what cert-manager's shim makes.
func TestCreateIsTheIncumbents(t *testing.T) {
	todo := plan(state(ParseIngress(ingress(with(), entry("a", "a.example")), policy())))
	want := made("a")
	want.UID, want.ResourceVersion, want.ManagedFields = "", "", nil
	if diff := cmp.Diff([]Action{Create{want}}, todo); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Every field that a source decides on is compared, and written when it differs.
func TestEveryDerivedFieldIsCompared(t *testing.T) {
	full := with("cert-manager.io/common-name", "cn", "cert-manager.io/alt-names", "alt.example", "cert-manager.io/ip-sans", "10.0.0.1",
		"cert-manager.io/email-sans", "a@b.example", "cert-manager.io/subject-organizations", "o", "cert-manager.io/duration", "2160h",
		"cert-manager.io/renew-before-percentage", "20", "cert-manager.io/usages", "server auth", "cert-manager.io/private-key-algorithm", "ECDSA",
		"cert-manager.io/revision-history-limit", "3", "cert-manager.io/secret-template", `{"labels":{"a":"1"}}`,
		"acme.cert-manager.io/http01-edit-in-place", "true")
	ing := ingress(full, entry("a", "a.example"))
	ing.Labels = map[string]string{"l": "1"}
	want := certificateFor(ParseIngress(ing, policy()), kinds[KindIngress].gvk, Entry{SecretName: "a", DNSNames: []string{"a.example"}})
	for name, f := range map[string]func(*cmapi.Certificate){
		"spec.secretName":            func(c *cmapi.Certificate) { c.Spec.SecretName = "x" },
		"spec.issuerRef":             func(c *cmapi.Certificate) { c.Spec.IssuerRef.Group = "other.example" },
		"spec.commonName":            func(c *cmapi.Certificate) { c.Spec.CommonName = "" },
		"spec.dnsNames":              func(c *cmapi.Certificate) { c.Spec.DNSNames = c.Spec.DNSNames[:1] },
		"spec.ipAddresses":           func(c *cmapi.Certificate) { c.Spec.IPAddresses = nil },
		"spec.emailAddresses":        func(c *cmapi.Certificate) { c.Spec.EmailAddresses = []string{"x@b.example"} },
		"spec.subject":               func(c *cmapi.Certificate) { c.Spec.Subject.Organizations = []string{"x"} },
		"spec.duration":              func(c *cmapi.Certificate) { c.Spec.Duration = hours(1) },
		"spec.renewBeforePercentage": func(c *cmapi.Certificate) { c.Spec.RenewBeforePercentage = ptr.To[int32](21) },
		"spec.usages":                func(c *cmapi.Certificate) { c.Spec.Usages = append(c.Spec.Usages, "client auth") },
		"spec.privateKey":            func(c *cmapi.Certificate) { c.Spec.PrivateKey.Encoding = "PKCS8" },
		"spec.revisionHistoryLimit":  func(c *cmapi.Certificate) { c.Spec.RevisionHistoryLimit = ptr.To[int32](1) },
		"spec.secretTemplate":        func(c *cmapi.Certificate) { c.Spec.SecretTemplate.Labels["a"] = "2" },
		"metadata.labels":            func(c *cmapi.Certificate) { c.Labels["l"] = "2" },
		"metadata.annotations":       func(c *cmapi.Certificate) { c.Annotations["cert-manager.io/issue-temporary-certificate"] = "false" },
	} {
		have := want.DeepCopy()
		f(have)
		got, changed := merge(have, want, nil, func(...string) bool { return false })
		if !slices.Equal(changed, []string{name}) {
			t.Errorf("%s: changed %v", name, changed)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	before := want.DeepCopy()
	before.Spec.RenewBeforePercentage, before.Spec.RenewBefore = nil, hours(10)
	if got, changed := merge(before, want, nil, ownedBy("m", []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:renewBefore":{}}}`)}})); cmp.Diff(want, got) != "" {
		t.Errorf("one way to say when to renew takes the other's place: changed %v", changed)
	}
}

func TestMerge(t *testing.T) {
	want := made("a")
	mine := applied(`{"f:metadata":{"f:labels":{"f:old":{}},"f:annotations":{"f:acme.cert-manager.io/http01-override-ingress-name":{},"f:extra":{},"f:free":{}}},` +
		`"f:spec":{"f:subject":{},"f:secretTemplate":{}}}`)
	for _, tc := range []struct {
		reason string
		set    func(*cmapi.Certificate)
		want   []string
	}{
		{"order and repetition of names mean nothing", func(c *cmapi.Certificate) { c.Spec.DNSNames = []string{"a.example", "a.example"} }, nil},
		{"an issuer as older versions wrote it", func(c *cmapi.Certificate) { c.Spec.IssuerRef = cmmeta.IssuerReference{Name: "ca"} }, nil},
		{"usages that are the default", func(c *cmapi.Certificate) { c.Spec.Usages = nil }, nil},
		{"what somebody has added stays", func(c *cmapi.Certificate) {
			c.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: "DER"}}
			c.Spec.CommonName = "cn"
			c.Spec.EmailAddresses = []string{"a@b.example"}
			c.Labels = map[string]string{"x": "1"}
			c.Annotations = map[string]string{"x": "1", "cert-manager.io/issue-temporary-certificate": "true", "extra": "1"}
		}, nil},
		{"what came from us and is not wanted any more goes", func(c *cmapi.Certificate) {
			c.ManagedFields = mine
			c.Spec.Subject = &cmapi.X509Subject{Organizations: []string{"o"}}
			c.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "1"}}
			c.Labels = map[string]string{"old": "1"}
			c.Annotations = map[string]string{"acme.cert-manager.io/http01-override-ingress-name": "web", "extra": "1"}
		}, []string{"spec.subject", "spec.secretTemplate", "metadata.labels", "metadata.annotations"}},
		{"an annotation that nobody lets us derive stays", func(c *cmapi.Certificate) { c.ManagedFields = mine; c.Annotations = map[string]string{"free": "1"} }, nil},
		{"a field that is empty is one that is not there", func(c *cmapi.Certificate) {
			c.ManagedFields = mine
			c.Spec.PrivateKey, c.Spec.EmailAddresses, c.Labels = &cmapi.CertificatePrivateKey{}, []string{}, map[string]string{}
		}, nil},
		{"without managed fields anything may be ours: a live look decides", func(c *cmapi.Certificate) { c.ManagedFields = nil; c.Spec.CommonName = "cn" }, []string{"spec.commonName"}},
	} {
		have := change(made("a"), tc.set)
		_, changed := merge(have, want, []string{"extra"}, ownedBy("cert-manager-ingress-shim", have.ManagedFields))
		if diff := cmp.Diff(tc.want, changed); diff != "" {
			t.Errorf("%s: -want +got\n%s", tc.reason, diff)
		}
	}
}

func TestOwnedBy(t *testing.T) {
	fields := `{"f:spec":{".":{},"f:subject":{"f:countries":{}}}}`
	for _, tc := range []struct {
		reason string
		entry  metav1.ManagedFieldsEntry
		path   string
		want   bool
	}{
		{"a field", metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1(fields)}, "spec subject", true},
		{"a field in a field", metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1(fields)}, "spec subject countries", true},
		{"not there", metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1(fields)}, "spec duration", false},
		{"not beyond", metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1(fields)}, "spec subject countries x", false},
		{"another manager's", metav1.ManagedFieldsEntry{Manager: "n", FieldsV1: metav1.NewFieldsV1(fields)}, "spec subject", false},
		{"of the status", metav1.ManagedFieldsEntry{Manager: "m", Subresource: "status", FieldsV1: metav1.NewFieldsV1(fields)}, "spec subject", false},
		{"that does not parse", metav1.ManagedFieldsEntry{Manager: "m", FieldsV1: metav1.NewFieldsV1("{")}, "spec subject", false},
		{"without fields", metav1.ManagedFieldsEntry{Manager: "m"}, "spec subject", false},
	} {
		if got := ownedBy("m", []metav1.ManagedFieldsEntry{tc.entry})(strings.Fields(tc.path)...); got != tc.want {
			t.Errorf("%s: %t", tc.reason, got)
		}
	}
}
