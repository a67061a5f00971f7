package issuance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/pki"
)

// Each reason to issue, in the order in which they are looked for: every row's State has the later rows' reasons too.
func TestTriggersInOrder(t *testing.T) {
	strange := func(w *world, s *corev1.Secret) {
		s.Annotations[annIssuerName] = "old"
		s.Annotations[annCertificate] = "other"
		w.Cert.Spec.PrivateKey.Size = 384
		w.Cert.Spec.DNSNames = []string{"new.example.org"}
		w.Now = start.Add(61 * day)
	}
	for _, tc := range []struct {
		reason, message string
		set             func(*testing.T, *world)
	}{
		{"DoesNotExist", "Issuing certificate as Secret does not exist", func(_ *testing.T, w *world) { w.Secret = nil }},
		{"MissingData", "Issuing certificate as Secret does not contain any data", func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); s.Data = nil })
		}},
		{"MissingData", "Issuing certificate as Secret does not contain a private key", func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); delete(s.Data, "tls.key") })
		}},
		{"MissingData", "Issuing certificate as Secret does not contain a certificate", func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); s.Data["tls.crt"] = nil })
		}},
		{"InvalidKeyPair", "Issuing certificate as Secret contains an invalid key pair: no private key in PEM form found", func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); s.Data["tls.key"] = []byte("x") })
		}},
		{"InvalidCertificate", "Issuing certificate as Secret contains an invalid certificate: no certificate in PEM form found", func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); s.Data["tls.crt"] = []byte("x") })
		}},
		{"InvalidKeyPair", "Issuing certificate as Secret contains an invalid key pair: tls.key is not the key of the certificate in tls.crt", func(t *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) {
				strange(w, s)
				s.Data["tls.key"] = makePair(t, &w.ca, &w.Cert.Spec, start).keyPEM
			})
		}},
		{"IncorrectIssuer", `Issuing certificate as Secret was previously issued by "Issuer.cert-manager.io/old"`, func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s) })
		}},
		{"IncorrectCertificate", `Secret was issued for Certificate "other"; if that one still exists, give each a secretName of its own`, func(_ *testing.T, w *world) {
			w.seeSecret(func(s *corev1.Secret) { strange(w, s); s.Annotations[annIssuerName] = "ca" })
		}},
		{"SecretMismatch", "Existing private key is not up to date for spec: [spec.privateKey.size]", func(_ *testing.T, w *world) {
			w.seeSecret(nil)
			strange(w, w.secret())
		}},
		{"SecretMismatch", "Existing private key is not up to date for spec: [spec.privateKey.algorithm]", func(_ *testing.T, w *world) {
			w.Cert.Spec.PrivateKey = nil
		}},
		{"SecretMismatch", "Secret contains a private key that does not match the current CertificateRequest", func(t *testing.T, w *world) {
			w.Current = w.request(1, makePair(t, &w.ca, &w.Cert.Spec, start))
			w.Cert.Spec.DNSNames = []string{"new.example.org"}
		}},
		{"InvalidCertificateRequest", "Failed to decode the CSR of CertificateRequest web-1: no PEM block of type CERTIFICATE REQUEST found", func(_ *testing.T, w *world) {
			w.Current.CSR = pki.NewRequestDigest([]byte("x"))
		}},
		{"RequestChanged", "Fields on existing CertificateRequest resource not up to date: [spec.dnsNames spec.commonName]", func(_ *testing.T, w *world) {
			w.Cert.Spec.DNSNames, w.Cert.Spec.CommonName, w.Now = nil, "web", start.Add(61*day)
		}},
		{"SecretMismatch", "Issuing certificate as the names in the Secret's certificate are not those of the spec", func(_ *testing.T, w *world) {
			w.Current, w.Cert.Spec.DNSNames, w.Now = nil, []string{"new.example.org"}, start.Add(61*day)
		}},
		{"Renewing", "Renewing certificate as renewal was scheduled at 2026-04-30T12:00:00Z", func(_ *testing.T, w *world) { w.Now = start.Add(60 * day) }},
		{"ManuallyTriggered", `Renewing certificate as annotation trustglass.io/renew asks: "now"`, func(_ *testing.T, w *world) {
			w.Cert.Annotations = map[string]string{annRenew: "now"}
		}},
		{"ManuallyTriggered", `Renewing certificate as annotation trustglass.io/renew asks: "now"`, func(_ *testing.T, w *world) {
			w.Cert.Annotations, w.Current = map[string]string{annRenew: "now"}, nil
			w.seeSecret(func(s *corev1.Secret) { s.Annotations[annRenew] = "before" })
		}},
	} {
		w := goodOrder(t)
		tc.set(t, w)
		got, discard := decide(w.State)
		if diff := cmp.Diff(Issue{tc.reason, tc.message}, got); diff != "" || discard != nil {
			t.Errorf("%s: discard %v, -want +got\n%s", tc.reason, discard, diff)
		}
	}
}

func TestNoTrigger(t *testing.T) {
	later := start.Add(60 * day)
	for _, tc := range []struct {
		reason string
		set    func(*world)
		want   Keep
	}{
		{"all is well", func(*world) {}, Keep{Until: later}},
		{"a second before the renewal", func(w *world) { w.Now = later.Add(-time.Second) }, Keep{Until: later}},
		{"the request is gone, the names fit", func(w *world) { w.Current = nil }, Keep{Until: later}},
		{"the issuer's defaults spelled out", func(w *world) {
			w.Cert.Spec.IssuerRef.Kind, w.Cert.Spec.IssuerRef.Group = "Issuer", "cert-manager.io"
		}, Keep{Until: later}},
		{"a key pair put there by hand", func(w *world) {
			w.Current, w.Cert.Status.Revision = nil, nil
			w.seeSecret(func(s *corev1.Secret) { s.Labels, s.Annotations, s.ManagedFields = nil, nil, nil })
		}, Keep{Until: later, Repair: "SecretManagedMetadataMismatch"}},
		{"renewal is off: come back when it has expired", func(w *world) {
			w.Cert.Spec.Renewal = &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}
			w.Now = start.Add(80 * day)
		}, Keep{Until: start.Add(90*day + time.Second)}},
		{"renewal is off and it has expired: there is nothing to come back for", func(w *world) {
			w.Cert.Spec.Renewal = &cmapi.CertificateRenewal{Policy: cmapi.CertificateRenewalPolicyDisabled}
			w.Now = start.Add(91 * day)
		}, Keep{}},
		{"the renewal that was asked for has been made, says the Secret", func(w *world) {
			w.Cert.Annotations, w.Current = map[string]string{annRenew: "now"}, nil
			w.seeSecret(nil)
		}, Keep{Until: later}},
		{"the same, says the request", func(w *world) {
			w.seeSecret(nil)
			w.Cert.Annotations, w.Current.Annotations[annRenew] = map[string]string{annRenew: "now"}, "now"
		}, Keep{Until: later}},
		{"renewed late: the failure of long ago does not matter", func(w *world) { w.failed(start.Add(-day), 3) }, Keep{Until: later}},
	} {
		w := goodOrder(t)
		tc.set(w)
		got, discard := decide(w.State)
		if diff := cmp.Diff(Decision(tc.want), got); diff != "" || discard != nil {
			t.Errorf("%s: discard %v, -want +got\n%s", tc.reason, discard, diff)
		}
	}
}

func TestRepair(t *testing.T) {
	for _, tc := range []struct {
		want string
		set  func(*world, *corev1.Secret)
	}{
		{"", func(*world, *corev1.Secret) {}},
		{"", func(_ *world, s *corev1.Secret) { s.Labels["theirs"], s.Annotations["theirs"] = "x", "x" }},
		{"", func(w *world, s *corev1.Secret) { // the base label wins, or every repair would need another one
			w.Cert.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{labelManaged: "false"}}
		}},
		{"SecretManagedMetadataMismatch", func(_ *world, s *corev1.Secret) { delete(s.Labels, labelManaged) }},
		{"SecretManagedMetadataMismatch", func(_ *world, s *corev1.Secret) { s.Labels[labelManaged] = "false" }},
		{"SecretManagedMetadataMismatch", func(_ *world, s *corev1.Secret) { s.Annotations[cmapi.AltNamesAnnotationKey] = "forged" }},
		{"SecretManagedMetadataMismatch", func(_ *world, s *corev1.Secret) { delete(s.Annotations, cmapi.CommonNameAnnotationKey) }},
		{"SecretTemplateMismatch", func(w *world, _ *corev1.Secret) {
			w.Cert.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Labels: map[string]string{"a": "1"}}
		}},
		{"SecretTemplateMismatch", func(w *world, s *corev1.Secret) { // there, with another value
			w.Cert.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"a": "1"}}
			s.Annotations["a"] = "2"
		}},
		{"SecretTemplateMismatch", func(w *world, s *corev1.Secret) { // there, but somebody else's: nobody would take it away later
			w.Cert.Spec.SecretTemplate = &cmapi.CertificateSecretTemplate{Annotations: map[string]string{"a": "1"}}
			s.Annotations["a"] = "1"
		}},
		{"SecretTemplateMismatch", func(_ *world, s *corev1.Secret) { // ours, and no longer wanted
			m := metadata{Labels: map[string]string{labelManaged: "true", "old": "1"}, Annotations: s.Annotations}
			s.Labels["old"] = "1"
			s.ManagedFields[0].FieldsV1 = fieldsOf(m)
		}},
		{"SecretTemplateMismatch", func(_ *world, s *corev1.Secret) { s.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1("garbage") }},
		{"SecretTemplateMismatch", func(_ *world, s *corev1.Secret) { s.ManagedFields[0].Manager = "kubectl" }},
		{"AdditionalOutputFormatsMismatch", func(w *world, _ *corev1.Secret) {
			w.Cert.Spec.AdditionalOutputFormats = []cmapi.CertificateAdditionalOutputFormat{{Type: cmapi.CertificateOutputFormatDER}}
		}},
		{"AdditionalOutputFormatsMismatch", func(_ *world, s *corev1.Secret) { s.Data["tls-combined.pem"] = []byte("x") }},
		{"SecretOwnerRefMismatch", func(w *world, _ *corev1.Secret) { w.OwnSecret = true }},
		{"SecretOwnerRefMismatch", func(w *world, s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{*controllerRef(w.Cert)} }},
		{"", func(w *world, s *corev1.Secret) {
			w.OwnSecret, s.OwnerReferences = true, []metav1.OwnerReference{*controllerRef(w.Cert)}
		}},
	} {
		w := goodOrder(t)
		w.seeSecret(func(s *corev1.Secret) { tc.set(w, s) })
		got, _ := decide(w.State)
		if k, ok := got.(Keep); !ok || k.Repair != tc.want {
			t.Errorf("want a repair because of %q, got %+v", tc.want, got)
		}
	}
}

func TestBackOff(t *testing.T) {
	b := BackOff{Base: time.Hour, Max: 32 * time.Hour}
	for attempts, want := range map[int]time.Duration{
		0: time.Hour, 1: time.Hour, 2: 2 * time.Hour, 3: 4 * time.Hour, 6: 32 * time.Hour, 7: 32 * time.Hour, 1000: 32 * time.Hour, 1 << 40: 32 * time.Hour,
	} {
		if got := b.Wait(attempts); got != want {
			t.Errorf("after %d failures %s, want %s", attempts, got, want)
		}
	}
	if got := (BackOff{Base: 2 * time.Hour, Max: time.Hour}).Wait(1); got != time.Hour {
		t.Errorf("the cap is below the base: %s", got)
	}
}

func TestAfterFailure(t *testing.T) {
	missing := Issue{"DoesNotExist", "Issuing certificate as Secret does not exist"}
	at := func(d time.Duration) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.Now = start.Add(d) }
	}
	for _, tc := range []struct {
		reason  string
		set     func(*testing.T, *world)
		want    Decision
		discard bool
	}{
		{"the wait has just begun; the failed request stays for people to look at", at(0), Pause{start.Add(2 * time.Hour), missing.Reason, missing.Message}, false},
		{"a second to go", at(2*time.Hour - time.Second), Pause{start.Add(2 * time.Hour), missing.Reason, missing.Message}, false},
		{"it is over", at(2 * time.Hour), missing, true},
		{"somebody took the failed request away: that is no reason to hurry", func(_ *testing.T, w *world) { w.Next = nil }, Pause{start.Add(2 * time.Hour), missing.Reason, missing.Message}, false},
		{"the Certificate was edited", func(_ *testing.T, w *world) { w.Cert.Spec.DNSNames = []string{"new.example.org"} }, missing, true},
		{"another issuer was named", func(_ *testing.T, w *world) { w.Cert.Spec.IssuerRef.Name = "new" }, missing, true},
		{"what was signed is of no use, and that has been said", func(_ *testing.T, w *world) {
			setIssued(&w.Next.Status, start, issuer.Signed{Bundle: pki.Bundle{Chain: []byte("x")}})
			w.persist(w.pair)
		}, Pause{start.Add(2 * time.Hour), missing.Reason, missing.Message}, false},
		{"somebody asked for it", func(_ *testing.T, w *world) {
			w.Now = start.Add(time.Minute)
			w.issuing(cmmeta.ConditionTrue, "ManuallyTriggered", "please")
		}, missing, true},
		{"the cap", func(_ *testing.T, w *world) { w.failed(start, 40); w.Now = start.Add(32 * time.Hour) }, missing, true},
		{"no count counts as one", func(_ *testing.T, w *world) { w.Cert.Status.FailedIssuanceAttempts = nil; w.Now = start.Add(time.Hour) }, missing, true},
		{"meanwhile the Secret has come from elsewhere", func(t *testing.T, w *world) { w.seeSecret(nil) }, Keep{Until: start.Add(60 * day)}, true},
	} {
		w := goodOrder(t)
		w.Secret, w.Current, w.Cert.Status.Revision, w.Now = nil, nil, nil, start
		w.Next = w.request(1, w.pair)
		w.Next.Status = cmapi.CertificateRequestStatus{}
		setProblem(&w.Next.Status, start, &issuer.Problem{Reason: "SigningError", Message: "no"})
		w.failed(start, 2)
		tc.set(t, w)
		got, discard := decide(w.State)
		if diff := cmp.Diff(tc.want, got); diff != "" || (discard != nil) != tc.discard {
			t.Errorf("%s: discard %t, -want +got\n%s", tc.reason, discard != nil, diff)
		}
	}
}

func TestIssuanceUnderWay(t *testing.T) {
	waiting := Wait{"Renewing", "Renewing certificate"}
	renew := Issue{"Renewing", "Renewing certificate as renewal was scheduled at 2026-04-30T12:00:00Z"}
	signed := func(w *world, p pair) { w.Next = w.request(2, p) }
	for _, tc := range []struct {
		reason  string
		set     func(*testing.T, *world, pair)
		want    Decision
		discard bool
	}{
		{"approval is awaited", func(*testing.T, *world, pair) {}, waiting, false},
		{"the issuer says why it waits", func(_ *testing.T, w *world, _ pair) {
			setProblem(&w.Next.Status, w.Now, &issuer.Problem{Message: "no issuer", Pending: true})
		}, Wait{"Renewing", "Renewing certificate; waiting: no issuer"}, false},
		{"what it waited for has changed", func(_ *testing.T, w *world, _ pair) {
			w.issuing(cmmeta.ConditionTrue, "Renewing", "Renewing certificate; waiting: this")
			setProblem(&w.Next.Status, w.Now, &issuer.Problem{Message: "that", Pending: true})
		}, Wait{"Renewing", "Renewing certificate; waiting: that"}, false},
		{"nobody has looked at the request yet", func(_ *testing.T, w *world, _ pair) {
			w.issuing(cmmeta.ConditionTrue, "Renewing", "Renewing certificate; waiting: this")
		}, Wait{"Renewing", "Renewing certificate; waiting: this"}, false},
		{"a crash before the status told why: the trigger tells", func(_ *testing.T, w *world, _ pair) { w.Cert.Status.Conditions = nil }, Wait(renew), false},
		{"a request of unknown origin", func(_ *testing.T, w *world, _ pair) {
			w.Cert.Status.Conditions, w.Now = nil, start
		}, Wait{"ManuallyTriggered", "Issuing certificate for a request that is under way"}, false},
		{"signed", func(_ *testing.T, w *world, p pair) { signed(w, p) }, Complete{}, false},
		{"signed, and a crash after the Secret was written", func(_ *testing.T, w *world, p pair) {
			signed(w, p)
			w.pair = p
			w.seeSecret(nil)
		}, Adopt{}, false},
		{"the same without a persisted key", func(_ *testing.T, w *world, p pair) {
			signed(w, p)
			w.pair, w.NextKey = p, nil
			w.seeSecret(nil)
		}, Adopt{}, false},
		{"a crash after the Secret was written and before the request's status", func(_ *testing.T, w *world, p pair) {
			w.pair, w.NextKey = p, nil
			w.seeSecret(nil)
		}, Adopt{}, false},
		{"the same, and the request was signed once more since", func(t *testing.T, w *world, p pair) {
			w.Next.Status.Certificate = w.pair.chain // some other leaf
			setIssued(&w.Next.Status, w.Now, issuer.Signed{Bundle: pki.Bundle{Chain: w.pair.chain}})
			w.pair, w.NextKey = p, nil
			w.seeSecret(nil)
		}, Adopt{}, false},
		{"the same in a Secret of another Certificate", func(_ *testing.T, w *world, p pair) {
			w.pair, w.NextKey = p, nil
			w.seeSecret(func(s *corev1.Secret) { s.Annotations[annCertificate] = "other" })
		}, Issue{"IncorrectCertificate", `Secret was issued for Certificate "other"; if that one still exists, give each a secretName of its own`}, true},
		{"a request for the key that the Secret had before is not filled yet", func(_ *testing.T, w *world, _ pair) {
			w.Cert.Spec.PrivateKey.RotationPolicy = cmapi.RotationPolicyNever
			w.Next, w.NextKey = w.request(2, w.pair), nil
			w.Next.Status = cmapi.CertificateRequestStatus{}
		}, Issue{"Renewing", renew.Message}, true},
		{"signed, and the key was lost with its process", func(_ *testing.T, w *world, p pair) { signed(w, p); w.NextKey = nil },
			Issue{"Renewing", renew.Message}, true},
		{"not signed, and the key was lost", func(_ *testing.T, w *world, _ pair) { w.NextKey = nil }, Issue{"Renewing", renew.Message}, true},
		{"another key was persisted", func(t *testing.T, w *world, _ pair) { w.persist(makePair(t, &w.ca, &w.Cert.Spec, start)) }, Issue{"Renewing", renew.Message}, true},
		{"the Certificate was edited", func(_ *testing.T, w *world, _ pair) { w.Cert.Spec.DNSNames = []string{"new.example.org"} },
			Issue{"RequestChanged", "Fields on existing CertificateRequest resource not up to date: [spec.dnsNames]"}, true},
		{"the request does not decode", func(_ *testing.T, w *world, _ pair) { w.Next.CSR = pki.NewRequestDigest(nil) }, Issue{"Renewing", renew.Message}, true},
		{"an answer that is no certificate", func(_ *testing.T, w *world, p pair) { signed(w, p); w.Next.Status.Certificate = []byte("x") },
			Fail{"InvalidCertificate", "the issuer returned no readable certificate: no certificate in PEM form found"}, false},
		{"a certificate of another key", func(_ *testing.T, w *world, p pair) { signed(w, p); w.Next.Status.Certificate = w.pair.chain },
			Fail{"InvalidCertificate", "the issuer returned a certificate for another key than the request's"}, false},
		{"a certificate that has expired", func(_ *testing.T, w *world, p pair) { signed(w, p); w.Now = w.Now.Add(90 * day) },
			Fail{"InvalidCertificate", "the issuer returned a certificate that expired at 2026-07-29T12:00:00Z"}, false},
		{"failed", func(_ *testing.T, w *world, _ pair) {
			setProblem(&w.Next.Status, w.Now, &issuer.Problem{Message: "no"})
		}, Fail{"Failed", "no"}, false},
		{"denied, in the denier's words", func(_ *testing.T, w *world, _ pair) {
			setRequestCondition(&w.Next.Status, w.Now, cmapi.CertificateRequestConditionDenied, cmmeta.ConditionTrue, "Policy", "not this one")
			setDenied(&w.Next.Status, w.Now)
		}, Fail{"Policy", "not this one"}, false},
		{"denied outranks issued", func(_ *testing.T, w *world, p pair) {
			signed(w, p)
			setRequestCondition(&w.Next.Status, w.Now, cmapi.CertificateRequestConditionDenied, cmmeta.ConditionTrue, "Policy", "not this one")
		}, Fail{"Policy", "not this one"}, false},
		{"invalid", func(_ *testing.T, w *world, _ pair) {
			setRequestCondition(&w.Next.Status, w.Now, cmapi.CertificateRequestConditionInvalidRequest, cmmeta.ConditionTrue, "Bad", "unreadable")
		}, Fail{"Bad", "unreadable"}, false},
	} {
		w := goodOrder(t)
		w.Now = start.Add(60 * day)
		tc.set(t, w, w.underWay(t))
		got, discard := decide(w.State)
		if diff := cmp.Diff(tc.want, got); diff != "" || (discard != nil) != tc.discard {
			t.Errorf("%s: discard %t, -want +got\n%s", tc.reason, discard != nil, diff)
		}
	}
}

func TestExpiry(t *testing.T) {
	end := start.Add(90 * day)
	for _, tc := range []struct {
		reason string
		set    func(*world)
		want   time.Time
	}{
		{"in the midst of its life", func(*world) {}, end.Add(time.Second)},
		{"in its last second", func(w *world) { w.Now = end.Add(-time.Second) }, end.Add(time.Second)},
		{"expired", func(w *world) { w.Now = end }, time.Time{}},
		{"nothing to expire", func(w *world) { w.Secret = nil }, time.Time{}},
		{"nothing of use", func(w *world) { w.seeSecret(func(s *corev1.Secret) { s.Data["tls.key"] = []byte("x") }) }, time.Time{}},
	} {
		w := goodOrder(t)
		tc.set(w)
		if got := expiry(w.State); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", tc.reason, got, tc.want)
		}
	}
	for _, tc := range [][3]time.Time{{{}, {}, {}}, {start, {}, start}, {{}, start, start}, {start, end, start}, {end, start, start}} {
		if got := sooner(tc[0], tc[1]); !got.Equal(tc[2]) {
			t.Errorf("sooner(%s, %s) is %s", tc[0], tc[1], got)
		}
	}
}
