package issuance

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

// State is all that a decision about a Certificate depends on.
type State struct {
	Now  time.Time
	Cert *cmapi.Certificate
	// Owner names another Certificate to which spec.secretName belongs; empty when it is this one's.
	Owner  string
	Secret *SecretView // nil: there is none
	// Current is the request of status.revision and Next the one of the revision to come; nil: there is none.
	Current, Next *Request
	// NextKey is the private key persisted for Next; nil: there is none.
	NextKey *NextKey
	BackOff BackOff
	// OwnSecret says that the Secret is to go with its Certificate, by an owner reference.
	OwnSecret bool
	Keystores Keystores
	// LoopUntil is when the Certificate may be issued again after a loop; zero if there is none. See breaker.
	LoopUntil time.Time
}

// Request is a CertificateRequest with its CSR decoded.
type Request struct {
	*cmapi.CertificateRequest
	CSR pki.RequestDigest
}

// NextKey is a private key in its temporary Secret.
type NextKey struct {
	Name            string
	UID             types.UID
	ResourceVersion string
	Digest          pki.Digest
}

// BackOff is how long a Certificate waits after a failed issuance: Base, doubling with each failure up to Max.
type BackOff struct{ Base, Max time.Duration }

// Wait returns the pause after so many failures.
func (b BackOff) Wait(attempts int) time.Duration {
	wait := b.Base
	for i := 1; i < attempts && wait < b.Max; i++ {
		wait *= 2
	}
	return min(wait, b.Max)
}

// Decision is what is to be done about a Certificate: one of the types below.
type Decision interface{ decision() }

type (
	// Keep leaves the key pair as it is until a time (zero: until something changes). Repair, where not empty, says why
	// the Secret's labels, annotations or formats are to be applied again.
	Keep struct {
		Until  time.Time
		Repair string
	}
	// Issue starts an issuance because of Reason.
	Issue struct{ Reason, Message string }
	// Wait lets the next request be approved and signed by whoever does that.
	Wait struct{ Reason, Message string }
	// Complete puts the signed certificate of the next request, and the persisted key, into the Secret.
	Complete struct{}
	// Adopt takes note that the Secret holds the next request's key pair already: a crash came between two writes.
	Adopt struct{}
	// Fail records that the next request failed.
	Fail struct{ Reason, Message string }
	// Pause waits out the back-off after a failure.
	Pause struct {
		Until           time.Time
		Reason, Message string
	}
	// Halt ends a loop of issuances for a while.
	Halt struct {
		Until           time.Time
		Reason, Message string
	}
	// Reject says that the spec can't be issued until somebody changes it.
	Reject struct{ Reason, Message string }
	// Yield leaves the Secret to the Certificate that it belongs to.
	Yield struct{ Owner string }
)

func (Keep) decision()     {}
func (Issue) decision()    {}
func (Wait) decision()     {}
func (Complete) decision() {}
func (Adopt) decision()    {}
func (Fail) decision()     {}
func (Pause) decision()    {}
func (Halt) decision()     {}
func (Reject) decision()   {}
func (Yield) decision()    {}

// decide says what is to be done, and which request, if any, is of no more use and has to go first.
func decide(s State) (_ Decision, discard *Request) {
	if err := validate(s.Cert); err != nil {
		return Reject{Reason: reasonInvalidSpec, Message: err.Error()}, nil
	}
	if s.Owner != "" {
		return Yield{Owner: s.Owner}, nil
	}
	if s.Next != nil {
		if d := followRequest(s); d != nil {
			return d, nil
		}
		// It failed, or it is not the request that the spec asks for now, or its key is lost.
		discard = s.Next
	}
	d := decideAnew(s)
	switch d.(type) {
	case Pause, Halt:
		discard = nil // the failed request stays for people to look at until the next attempt
	}
	return d, discard
}

// decideAnew decides as if there were no next request.
func decideAnew(s State) Decision {
	asked, byHand := issuing(s.Cert)
	reason, message := trigger(s)
	switch {
	case reason == "" && !byHand:
		return Keep{Until: nextRenewal(s), Repair: repair(s)}
	case reason == "":
		reason, message = asked.Reason, asked.Message
	}
	if until := backOffEnd(s); !byHand && s.Now.Before(until) {
		return Pause{Until: until, Reason: reason, Message: message}
	}
	if !byHand && s.Now.Before(s.LoopUntil) {
		return Halt{Until: s.LoopUntil, Reason: reasonLoop, Message: loopMessage(s, message)}
	}
	if s.Keystores.Problem != "" {
		return Reject{Reason: s.Keystores.Reason, Message: s.Keystores.Problem}
	}
	if keepsKey(s) {
		if _, text := keyOutdated(s); text != "" {
			return Reject{Reason: reasonCannotRegenerate, Message: text + ": with spec.privateKey.rotationPolicy Never the key stays; set Always, or delete the Secret"}
		}
	}
	return Issue{Reason: reason, Message: message}
}

// keepsKey tells whether the next certificate is for the key that the Secret holds.
func keepsKey(s State) bool {
	k := s.Cert.Spec.PrivateKey
	return k != nil && k.RotationPolicy == cmapi.RotationPolicyNever && s.Secret != nil && s.Secret.Digest.Key != (pki.KeyID{})
}

// followRequest decides about an issuance under way; nil when the next request is of no use.
func followRequest(s State) Decision {
	if requestStale(s) {
		return nil
	}
	outcome, reason, message := outcomeOf(&s.Next.Status)
	if outcome != outcomeFailed && filled(s) {
		return Adopt{}
	}
	if outcome == outcomeFailed {
		if failureRecorded(s.Cert) {
			return nil
		}
		return Fail{Reason: reason, Message: message}
	}
	if s.NextKey == nil || s.NextKey.Digest.Key != s.Next.CSR.Key {
		return nil // its key was only in memory, of a process that is gone
	}
	if outcome == outcomeIssued {
		problem := unusable(s)
		switch {
		case problem == "":
			return Complete{}
		case failureRecorded(s.Cert):
			return nil
		}
		return Fail{Reason: reasonInvalidCertificate, Message: problem}
	}
	why, text := whyIssuing(s)
	if message != "" {
		text += waitingMark + message
	} else if c, on := issuing(s.Cert); on { // nobody has looked at the request yet: what we waited for when making it still holds
		text = c.Message
	}
	return Wait{Reason: why, Message: text}
}

// requestStale tells whether the next request asks for something else than the spec does now.
func requestStale(s State) bool {
	return s.Next != nil && len(pki.Mismatches(&s.Cert.Spec, &s.Next.Spec, s.Next.CSR)) > 0
}

// unusable says why a signed certificate can't be used; empty when it can. Without this check an issuer that returns
// another key's certificate would be asked again for ever.
func unusable(s State) string {
	key, notAfter, err := pki.LeafKey(s.Next.Status.Certificate)
	switch {
	case err != nil:
		return "the issuer returned no readable certificate: " + err.Error()
	case key != s.Next.CSR.Key:
		return "the issuer returned a certificate for another key than the request's"
	case !s.Now.Before(notAfter):
		return "the issuer returned a certificate that expired at " + notAfter.UTC().Format(time.RFC3339)
	}
	return ""
}

// filled tells whether the Secret has the key pair of the next request already: the very certificate of its status or, where the
// status was not written or is another signature's, a certificate for a key that came with this request.
func filled(s State) bool {
	if s.Secret == nil || s.Secret.Digest.Flaw != pki.Sound || s.Secret.Digest.Key != s.Next.CSR.Key || s.Secret.Digest.Temporary {
		return false
	}
	if leaf, ok := pki.LeafOf(s.Next.Status.Certificate); ok && leaf == s.Secret.Digest.Leaf {
		return true
	}
	isNew := !keepsKey(s) && (s.Current == nil || s.Current.CSR.Key != s.Next.CSR.Key)
	return isNew && s.Secret.Annotations.get(annCertificate) == s.Cert.Name
}

// issuing returns the Issuing condition and whether an issuance is to go on because of it.
func issuing(cert *cmapi.Certificate) (cmapi.CertificateCondition, bool) {
	c := condition(cert, cmapi.CertificateConditionIssuing)
	if c == nil {
		return cmapi.CertificateCondition{}, false
	}
	return *c, c.Status == cmmeta.ConditionTrue
}

// failureRecorded tells whether the failure of the next request, or that what it brought is of no use, has been written to the status:
// Issuing is then False, or True again without the key that an issuance under way has, because somebody asked for another attempt.
// No times are compared, since they come from different clocks. After a crash at a second failure in a row this says yes too early,
// which costs one attempt more.
func failureRecorded(cert *cmapi.Certificate) bool {
	c := condition(cert, cmapi.CertificateConditionIssuing)
	return c != nil && (c.Status == cmmeta.ConditionFalse || cert.Status.NextPrivateKeySecretName == nil)
}

// whyIssuing returns the reason of an issuance under way.
func whyIssuing(s State) (reason, message string) {
	if c, on := issuing(s.Cert); on {
		message, _, _ = strings.Cut(c.Message, waitingMark)
		return c.Reason, message
	}
	if reason, message = trigger(s); reason != "" {
		return reason, message
	}
	return reasonManual, "Issuing certificate for a request that is under way"
}

// backOffEnd returns when the next attempt may start. An edit of the Certificate since the failed request ends the wait.
func backOffEnd(s State) time.Time {
	if s.Cert.Status.LastFailureTime == nil || requestStale(s) {
		return time.Time{}
	}
	attempts := 1
	if n := s.Cert.Status.FailedIssuanceAttempts; n != nil {
		attempts = *n
	}
	return s.Cert.Status.LastFailureTime.Add(s.BackOff.Wait(attempts))
}

func scheduleOf(s State) pki.Schedule {
	if s.Secret == nil || s.Secret.Digest.Flaw != pki.Sound {
		return pki.Schedule{}
	}
	return pki.NewSchedule(&s.Cert.Spec, string(s.Cert.UID), s.Secret.Digest.NotBefore, s.Secret.Digest.NotAfter)
}

// nextRenewal returns when a Certificate in good order is to be looked at again.
func nextRenewal(s State) time.Time {
	at := scheduleOf(s).Start
	if at.IsZero() && s.Secret != nil { // renewal is off: come back to say that it has expired
		at = s.Secret.Digest.NotAfter.Add(time.Second)
		if !s.Now.Before(at) {
			return time.Time{}
		}
	}
	return at
}

// expiry returns when a Certificate that waits has to say that what it has is expired; zero if it has nothing, or says so already.
func expiry(s State) time.Time {
	if s.Secret == nil || s.Secret.Digest.Flaw != pki.Sound || !s.Now.Before(s.Secret.Digest.NotAfter) {
		return time.Time{}
	}
	return s.Secret.Digest.NotAfter.Add(time.Second)
}

// sooner returns the earlier of two times that are not zero.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// repair says what of the Secret's labels, annotations and formats is not as the spec asks; empty when all is.
func repair(s State) string {
	want := desiredMetadata(s.Cert, s.Secret)
	switch {
	case s.Secret.Labels.get(labelManaged) != "true" || !s.Secret.DerivedCurrent:
		return "SecretManagedMetadataMismatch"
	case !s.Secret.Labels.holds(want.Labels) || !s.Secret.Annotations.holds(want.Annotations) || !sameKeys(s.Secret.Managed, want):
		return "SecretTemplateMismatch"
	case !formatsFit(&s.Cert.Spec, s.Secret.Digest):
		return "AdditionalOutputFormatsMismatch"
	case s.OwnSecret != ownedBy(s.Secret.OwnerReferences, s.Cert):
		return "SecretOwnerRefMismatch"
	case s.Keystores.Problem == "" && !keystoresFit(s):
		return "KeystoresMismatch"
	}
	return ""
}

// keystoresFit tells whether the Secret has the keystores that the spec asks for, made with the settings and passwords of now. What
// they were made with is known of our own only: another's are good when they are there.
func keystoresFit(s State) bool {
	if s.Secret.Digest.Keystores != pki.WantedKeystores(&s.Cert.Spec, s.Secret.Digest.HasCA) {
		return false
	}
	made := s.Secret.Annotations.get(annKeystores)
	return made == s.Keystores.Digest || made == ""
}

func ownedBy(refs []metav1.OwnerReference, cert *cmapi.Certificate) bool {
	for _, r := range refs {
		if r.UID == cert.UID {
			return true
		}
	}
	return false
}

func formatsFit(spec *cmapi.CertificateSpec, d pki.Digest) bool {
	der, combined := wantedFormats(spec)
	return d.DER == der && d.Combined == combined && d.FormatsCurrent
}

func wantedFormats(spec *cmapi.CertificateSpec) (der, combined bool) {
	for _, f := range spec.AdditionalOutputFormats {
		der = der || f.Type == cmapi.CertificateOutputFormatDER
		combined = combined || f.Type == cmapi.CertificateOutputFormatCombinedPEM
	}
	return der, combined
}

// trigger returns why a certificate has to be issued; empty when it has not. The checks are cert-manager's, in its order.
func trigger(s State) (reason, message string) {
	for _, check := range []func(State) (string, string){secretMissing, dataMissing, pairInvalid, temporary, otherIssuer, otherCertificate, keyOutdated, requestKeyDiffers, requestChanged, namesDiffer, renewalDue, renewalAsked} {
		if reason, message = check(s); reason != "" {
			return reason, message
		}
	}
	return "", ""
}

// readiness returns why a Certificate is not Ready; empty when it is. A renewal that is due does not count, an expired
// certificate does.
func readiness(s State) (reason, message string) {
	for _, check := range []func(State) (string, string){secretMissing, dataMissing, pairInvalid, temporary, otherIssuer, otherCertificate, keyOutdated, requestKeyDiffers, requestChanged, namesDiffer, expired, windowMissing} {
		if reason, message = check(s); reason != "" {
			return reason, message
		}
	}
	return "", ""
}

func secretMissing(s State) (string, string) {
	if s.Secret == nil {
		return "DoesNotExist", "Issuing certificate as Secret does not exist"
	}
	return "", ""
}

func dataMissing(s State) (string, string) {
	switch s.Secret.Digest.Flaw {
	case pki.NoData:
		return "MissingData", "Issuing certificate as Secret does not contain any data"
	case pki.NoKey:
		return "MissingData", "Issuing certificate as Secret does not contain a private key"
	case pki.NoCert:
		return "MissingData", "Issuing certificate as Secret does not contain a certificate"
	}
	return "", ""
}

func pairInvalid(s State) (string, string) {
	switch d := s.Secret.Digest; d.Flaw {
	case pki.BadKey, pki.KeyMismatch:
		return "InvalidKeyPair", "Issuing certificate as Secret contains an invalid key pair: " + d.Detail
	case pki.BadCert:
		return reasonInvalidCertificate, "Issuing certificate as Secret contains an invalid certificate: " + d.Detail
	}
	return "", ""
}

func temporary(s State) (string, string) {
	if s.Secret.Digest.Temporary {
		return "TemporaryCertificate", "Issuing certificate as Secret contains a temporary certificate"
	}
	return "", ""
}

func otherIssuer(s State) (string, string) {
	a := s.Secret.Annotations
	was := cmmeta.IssuerReference{Name: a.get(annIssuerName), Kind: a.get(annIssuerKind), Group: a.get(annIssuerGroup)}
	if was.Name == "" && was.Kind == "" && was.Group == "" { // put there by hand: fits what is the default
		was.Name = s.Cert.Spec.IssuerRef.Name
	}
	if pki.SameIssuer(was, s.Cert.Spec.IssuerRef) {
		return "", ""
	}
	was = pki.WithDefaults(was)
	return "IncorrectIssuer", fmt.Sprintf("Issuing certificate as Secret was previously issued by %q", was.Kind+"."+was.Group+"/"+was.Name)
}

func otherCertificate(s State) (string, string) {
	name, ok := s.Secret.Annotations.lookup(annCertificate)
	if !ok || name == s.Cert.Name {
		return "", ""
	}
	return "IncorrectCertificate", fmt.Sprintf("Secret was issued for Certificate %q; if that one still exists, give each a secretName of its own", name)
}

func keyOutdated(s State) (string, string) {
	want, have := pki.KeySpecOf(s.Cert.Spec.PrivateKey), s.Secret.Digest.KeySpec
	switch {
	case want.Algorithm != have.Algorithm:
		return reasonSecretMismatch, "Existing private key is not up to date for spec: [spec.privateKey.algorithm]"
	case want.Size != have.Size:
		return reasonSecretMismatch, "Existing private key is not up to date for spec: [spec.privateKey.size]"
	}
	return "", ""
}

func requestKeyDiffers(s State) (string, string) {
	switch {
	case s.Current == nil:
	case s.Current.CSR.Err() != nil:
		return "InvalidCertificateRequest", "Failed to decode the CSR of CertificateRequest " + s.Current.Name + ": " + s.Current.CSR.Err().Error()
	case s.Current.CSR.Key != s.Secret.Digest.Key:
		return reasonSecretMismatch, "Secret contains a private key that does not match the current CertificateRequest"
	}
	return "", ""
}

func requestChanged(s State) (string, string) {
	if s.Current == nil {
		return "", ""
	}
	if fields := pki.Mismatches(&s.Cert.Spec, &s.Current.Spec, s.Current.CSR); len(fields) > 0 {
		return "RequestChanged", fmt.Sprintf("Fields on existing CertificateRequest resource not up to date: [%s]", strings.Join(fields, " "))
	}
	return "", ""
}

// namesDiffer looks at the certificate itself where there is no request to compare with.
func namesDiffer(s State) (string, string) {
	if s.Current != nil {
		return "", ""
	}
	want, err := pki.NamesOf(&s.Cert.Spec)
	if err != nil || want == s.Secret.Digest.Names {
		return "", ""
	}
	return reasonSecretMismatch, "Issuing certificate as the names in the Secret's certificate are not those of the spec"
}

func renewalDue(s State) (string, string) {
	due := scheduleOf(s)
	if due.At.IsZero() || s.Now.Before(due.Start) {
		return "", ""
	}
	return "Renewing", "Renewing certificate as renewal was scheduled at " + due.At.UTC().Format(time.RFC3339)
}

// renewalAsked looks for a value of annRenew that the Secret's certificate was not issued for. The Secret keeps it, since requests
// may be deleted; those of a time when it did not are asked too.
func renewalAsked(s State) (string, string) {
	v := s.Cert.Annotations[annRenew]
	served := v == "" || s.Secret.Annotations.get(annRenew) == v || s.Current != nil && s.Current.Annotations[annRenew] == v
	if !served {
		return reasonManual, fmt.Sprintf("Renewing certificate as annotation %s asks: %q", annRenew, v)
	}
	return "", ""
}

func windowMissing(s State) (string, string) {
	if due := scheduleOf(s); due.NoWindow {
		return "WindowError", fmt.Sprintf("%s: it will be renewed at %s, outside of spec.renewal.windows; correct them", pki.ErrNoWindow, due.At.UTC().Format(time.RFC3339))
	}
	return "", ""
}

func expired(s State) (string, string) {
	if s.Now.After(s.Secret.Digest.NotAfter) {
		return "Expired", "Certificate expired on " + s.Secret.Digest.NotAfter.UTC().Format(time.RFC1123)
	}
	return "", ""
}
