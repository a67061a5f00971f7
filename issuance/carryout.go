package issuance

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/pki"
)

// yieldRecheck is how often a Certificate looks whether the Secret that belongs to another has become free.
const yieldRecheck = 3 * time.Minute

// carryOut does what was decided and returns when to look again; zero for when something changes.
func (r *Certificates) carryOut(ctx context.Context, s State, d Decision, discard *Request) (time.Time, error) {
	if discard != nil {
		if moved, err := r.secretMoved(ctx, s, discard); moved || err != nil {
			return s.Now, err
		}
		if err := r.writer.deleteRequest(ctx, discard.CertificateRequest); err != nil {
			return time.Time{}, err
		}
		s.Next = nil
	}
	switch d := d.(type) {
	case Issue:
		return r.issue(ctx, s, d)
	case Complete:
		return r.complete(ctx, s)
	case Adopt:
		return r.finish(ctx, s, currentRevision(s.Cert)+1)
	case Keep:
		if d.Repair != "" {
			if err := r.repair(ctx, &s); err != nil {
				return time.Time{}, err
			}
		}
		return d.Until, r.report(ctx, s, d)
	case Pause:
		return sooner(d.Until, expiry(s)), r.report(ctx, s, d)
	case Halt:
		return sooner(d.Until, expiry(s)), r.report(ctx, s, d)
	case Wait:
		var err error
		if s.Secret, err = r.standIn(ctx, s); err != nil {
			return time.Time{}, err
		}
		return expiry(s), r.report(ctx, s, d)
	case Yield:
		return s.Now.Add(yieldRecheck), r.report(ctx, s, d)
	default:
		return time.Time{}, r.report(ctx, s, d)
	}
}

// secretMoved tells whether the Secret is no longer as the decision saw it: the cache may not have our own write of it yet, and
// then a signed request whose certificate the Secret has looks like one that is of no use.
func (r *Certificates) secretMoved(ctx context.Context, s State, discard *Request) (bool, error) {
	if signed, _, _ := outcomeOf(&discard.Status); signed != outcomeIssued {
		return false, nil
	}
	now, err := r.Secrets.Read(ctx, secretOf(s.Cert))
	if err != nil || now == nil || s.Secret == nil {
		return err == nil && (now == nil) != (s.Secret == nil), err
	}
	return now.ResourceVersion != s.Secret.ResourceVersion, nil
}

// report writes what a decision says into the status, and an Event where it is news.
func (r *Certificates) report(ctx context.Context, s State, d Decision) error {
	status := statusFor(s, d)
	if sameStatus(&s.Cert.Status, &status) {
		return nil
	}
	if _, err := r.writer.updateStatus(ctx, s.Cert, status); err != nil {
		return err
	}
	switch d := d.(type) {
	case Reject:
		r.warn(s.Cert, d.Reason, d.Message)
	case Halt:
		r.warn(s.Cert, d.Reason, d.Message)
	case Keep:
		if reason, message := windowMissing(s); reason != "" && s.Secret != nil {
			r.warn(s.Cert, reason, message)
		}
	case Yield:
		r.warn(s.Cert, "DuplicateSecretName", "Secret "+s.Cert.Spec.SecretName+" belongs to Certificate "+d.Owner)
	case Fail:
		r.warn(s.Cert, d.Reason, "The certificate request has failed to complete and will be retried: "+d.Message)
	case Wait:
		if _, waiting, ok := strings.Cut(d.Message, waitingMark); ok {
			r.warn(s.Cert, "Waiting", waiting)
		}
	}
	return nil
}

// tellObstacle says in the status, and in an Event, what an issuance does not get past. It is called when the same has failed before:
// what a moment later goes through is no news. That it can't be written is none either: the cause is reported by the caller.
func (r *Certificates) tellObstacle(ctx context.Context, s State, d Decision, cause error) {
	var wait Wait
	switch d := d.(type) {
	case Issue:
		wait = Wait(d)
	case Complete, Adopt:
		wait.Reason, wait.Message = whyIssuing(s)
	case Keep:
		r.warn(s.Cert, "SecretWriteFailed", cause.Error())
		return
	default:
		return
	}
	wait.Message += waitingMark + cause.Error()
	if err := r.report(ctx, s, wait); err != nil {
		log.FromContext(ctx).V(1).Info("the status does not say what an issuance waits for", "because", err.Error())
	}
}

// waitingMark comes between what an issuance is for and what it waits for.
const waitingMark = "; waiting: "

func (r *Certificates) warn(cert *cmapi.Certificate, reason, message string) {
	r.Events.Event(cert, corev1.EventTypeWarning, reason, message)
}

func (r *Certificates) tell(cert *cmapi.Certificate, reason, format string, args ...any) {
	r.Events.Eventf(cert, corev1.EventTypeNormal, reason, format, args...)
}

// issue starts an issuance: at once where the issuer can sign now, else by persisting the key first.
func (r *Certificates) issue(ctx context.Context, s State, d Issue) (time.Time, error) {
	if s.Secret == nil && s.Cert.Status.Revision != nil { // it was there: ask the API server, not the cache, whether it is gone
		seen, err := r.Secrets.Read(ctx, secretOf(s.Cert))
		if err != nil {
			return time.Time{}, err
		}
		if seen != nil {
			return s.Now, nil
		}
	}
	if s.NextKey != nil {
		return r.request(ctx, s, d)
	}
	key, reused, err := r.nextKey(ctx, s)
	if err != nil {
		return time.Time{}, err
	}
	csr, err := pki.NewRequest(&s.Cert.Spec, key)
	if err != nil {
		return time.Time{}, r.report(ctx, s, Reject{Reason: reasonInvalidSpec, Message: err.Error()})
	}
	if !r.SignAtOnce || !serves(s.Cert.Spec.IssuerRef) || !r.Approver.Approves(s.Cert.Spec.IssuerRef, s.Cert.Namespace) {
		return r.persist(ctx, s, d, key, reused, "")
	}
	signer, err := r.Signer.find(ctx, s.Cert.Spec.IssuerRef, s.Cert.Namespace)
	if err == nil {
		var after time.Time
		if after, err = r.issueAtOnce(ctx, s, key, csr, signer); err == nil {
			return after, nil
		}
	}
	if problem := problemOf(err); problem != nil {
		return r.persist(ctx, s, d, key, reused, problem.Message)
	}
	return time.Time{}, err
}

func secretOf(cert *cmapi.Certificate) types.NamespacedName {
	return keyOf(cert.Namespace, cert.Spec.SecretName)
}

// nextKey returns the key to certify: a new one, or the Secret's where it is to stay.
func (r *Certificates) nextKey(ctx context.Context, s State) (_ crypto.Signer, reused bool, err error) {
	if k := s.Cert.Spec.PrivateKey; k != nil && k.RotationPolicy == cmapi.RotationPolicyNever && s.Secret != nil && s.Secret.Digest.Flaw == pki.BadKey {
		r.warn(s.Cert, "DecodeFailed", "The private key in Secret "+s.Cert.Spec.SecretName+" can't be decoded, a new one takes its place: "+s.Secret.Digest.Detail)
	}
	if keepsKey(s) {
		data, err := r.Secrets.payloadAt(ctx, secretOf(s.Cert), s.Secret.ResourceVersion)
		if err != nil {
			return nil, false, err
		}
		key, err := pki.ParseKey(data[corev1.TLSPrivateKeyKey])
		return key, true, err
	}
	key, err := pki.GenerateKey(pki.KeySpecOf(s.Cert.Spec.PrivateKey))
	return key, false, err
}

// issueAtOnce has a request signed by an issuer that is ready, and records the signature or the refusal. The key is in memory only:
// a crash before the Secret is written costs the request, which the next decision discards. An *issuer.Problem says what the issuer
// waits for after all; there is no request then.
func (r *Certificates) issueAtOnce(ctx context.Context, s State, key crypto.Signer, csr []byte, signer issuer.Issuer) (time.Time, error) {
	created := r.createBeside(ctx, s.Cert, csr) // takes as long as reading the CA does
	spec := requestSpec(s.Cert, csr)
	signed, refusal := sign(ctx, signer, s.Cert.Namespace, &spec, s.Cert.Spec.SecretName, key, s.Now)
	req, err := created()
	if err != nil {
		return time.Time{}, err
	}
	problem := problemOf(refusal)
	if refusal != nil && (problem == nil || problem.Pending) {
		if err := r.writer.deleteRequest(ctx, req); err != nil {
			return time.Time{}, err
		}
		return time.Time{}, refusal
	}
	setApproved(&req.Status, s.Now)
	if problem != nil {
		setProblem(&req.Status, s.Now, problem)
	} else {
		setIssued(&req.Status, s.Now, signed)
	}
	s.Next = &Request{CertificateRequest: req, CSR: pki.NewRequestDigest(csr)}
	if problem != nil {
		if err := r.writer.updateRequestStatus(ctx, req); err != nil {
			return time.Time{}, err
		}
		return time.Time{}, r.report(ctx, s, Fail{Reason: cmapi.CertificateRequestReasonFailed, Message: problem.Message})
	}
	if signed.BadConfig != "" {
		r.warn(s.Cert, reasonBadConfig, signed.BadConfig)
	}
	// Neither write needs the other: a Secret without its request's status is adopted, a status without its Secret starts anew.
	recorded := make(chan error, 1)
	go func() { recorded <- r.writer.updateRequestStatus(ctx, req) }()
	s.Secret, err = r.fillSecret(ctx, s, key, signed.Bundle, signed.Note)
	if err = errors.Join(<-recorded, err); err != nil {
		return time.Time{}, err
	}
	return r.finish(ctx, s, revisionOf(req))
}

// createBeside starts to create a request that is held, and returns what waits for its end.
func (r *Certificates) createBeside(ctx context.Context, cert *cmapi.Certificate, csr []byte) func() (*cmapi.CertificateRequest, error) {
	var req *cmapi.CertificateRequest
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, err = r.createRequest(ctx, cert, csr, cert.Spec.SecretName, true)
	}()
	return func() (*cmapi.CertificateRequest, error) {
		<-done
		return req, err
	}
}

// fillSecret writes the key pair that was signed for the next request into the Secret.
func (r *Certificates) fillSecret(ctx context.Context, s State, key crypto.Signer, signed pki.Bundle, note string) (*SecretView, error) {
	keyPEM, err := pki.EncodeKey(key, encodingOf(s.Cert))
	if err != nil {
		return nil, err
	}
	data := material{key: keyPEM, chain: signed.Chain, ca: signed.CA}
	if err := r.addKeystores(ctx, s.Cert, &data, s.Now); err != nil {
		var missing *errPassword
		if errors.As(err, &missing) {
			r.warn(s.Cert, missing.reason, missing.message)
		}
		return nil, err
	}
	seen, err := r.writer.applySecret(ctx, s.Cert, s.Secret, issuedMetadata(s.Cert, s.Next.Spec.IssuerRef), data, s.OwnSecret)
	if err != nil {
		if !outdated(err) {
			r.warn(s.Cert, "SecretWriteFailed", err.Error())
		}
		return nil, err
	}
	if note != "" {
		r.warn(s.Cert, "ShortenedByCA", "Certificate "+note)
	}
	return seen, nil
}

// finish writes the status of a Certificate whose Secret holds revision's certificate.
func (r *Certificates) finish(ctx context.Context, s State, revision int) (time.Time, error) {
	cert, err := r.writer.updateStatus(ctx, s.Cert, issuedStatus(s, revision))
	if err != nil {
		return time.Time{}, err
	}
	r.breaker.record(s.Cert, s.Now)
	r.tell(cert, "Issuing", "The certificate has been successfully issued")
	return nextRenewal(s), nil
}

func encodingOf(cert *cmapi.Certificate) cmapi.PrivateKeyEncoding {
	if cert.Spec.PrivateKey == nil {
		return ""
	}
	return cert.Spec.PrivateKey.Encoding
}

// persist stores a key in a temporary Secret, says in the status that an issuance goes on and why it waits, and makes the
// request. From here on a crash loses nothing.
func (r *Certificates) persist(ctx context.Context, s State, d Issue, key crypto.Signer, reused bool, waiting string) (time.Time, error) {
	keyPEM, err := pki.EncodeKey(key, cmapi.PKCS8)
	if err != nil {
		return time.Time{}, err
	}
	if s.NextKey, err = r.writer.createNextKey(ctx, s.Cert, keyPEM); err != nil {
		r.warn(s.Cert, "SecretWriteFailed", err.Error())
		return time.Time{}, err
	}
	message := d.Message
	if waiting != "" {
		message += waitingMark + waiting
	}
	if condition(s.Cert, cmapi.CertificateConditionIssuing) == nil {
		r.tell(s.Cert, "Issuing", "%s", d.Message)
	}
	verb := "Generated"
	text := "Stored new private key in temporary Secret resource %q"
	if reused {
		verb, text = "Reused", "Reusing private key stored in existing Secret resource; copied to temporary Secret resource %q"
	}
	r.tell(s.Cert, verb, text, s.NextKey.Name)
	return r.request(ctx, s, Issue{Reason: d.Reason, Message: message})
}

// request makes the CertificateRequest for a persisted key.
func (r *Certificates) request(ctx context.Context, s State, d Issue) (time.Time, error) {
	cert, err := r.writer.updateStatus(ctx, s.Cert, statusFor(s, Wait(d)))
	if err != nil {
		return time.Time{}, err
	}
	key, err := r.persistedKey(ctx, s)
	if err != nil {
		return time.Time{}, err
	}
	csr, err := pki.NewRequest(&cert.Spec, key)
	if err != nil {
		return time.Time{}, fmt.Errorf("building the CSR: %w", err)
	}
	req, err := r.createRequest(ctx, cert, csr, s.NextKey.Name, false)
	if err != nil {
		return time.Time{}, err
	}
	r.tell(cert, "Requested", "Created new CertificateRequest resource %q", req.Name)
	if _, waiting, ok := strings.Cut(d.Message, waitingMark); ok {
		r.warn(cert, "Waiting", waiting)
	}
	return time.Time{}, nil
}

func (r *Certificates) createRequest(ctx context.Context, cert *cmapi.Certificate, csr []byte, keySecret string, hold bool) (*cmapi.CertificateRequest, error) {
	req, err := r.writer.createRequest(ctx, cert, csr, keySecret, r.copies, hold)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		r.warn(cert, "RequestFailed", err.Error())
	}
	if !apierrors.IsAlreadyExists(err) {
		return req, err
	}
	found := &cmapi.CertificateRequest{} // ours, where the cache does not have it yet
	key := keyOf(cert.Namespace, requestName(cert.Name, nextRevision(cert)))
	if r.Cache.Get(ctx, key, found) == nil && controllerOf(found, cmapi.CertificateKind) != cert.UID {
		r.warn(cert, "RequestFailed", "CertificateRequest "+key.Name+" exists and is not this Certificate's: delete it")
	}
	return nil, err
}

// copies tells whether a request inherits an annotation of its Certificate.
func (r *Certificates) copies(key string) bool {
	copied := false
	for _, prefix := range r.CopiedAnnotations {
		if p, minus := strings.CutPrefix(prefix, "-"); minus {
			if strings.HasPrefix(key, p) {
				return false
			}
		} else if prefix == "*" || strings.HasPrefix(key, prefix) {
			copied = true
		}
	}
	return copied
}

// persistedKey reads the private key in the temporary Secret.
func (r *Certificates) persistedKey(ctx context.Context, s State) (crypto.Signer, error) {
	data, err := r.Secrets.Payload(ctx, keyOf(s.Cert.Namespace, s.NextKey.Name))
	if err != nil {
		return nil, err
	}
	key, err := pki.ParseKey(data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("temporary Secret %s: %w", s.NextKey.Name, err)
	}
	return key, nil
}

// complete puts the signed certificate and the persisted key into the Secret.
func (r *Certificates) complete(ctx context.Context, s State) (time.Time, error) {
	key, err := r.persistedKey(ctx, s)
	if err != nil {
		return time.Time{}, err
	}
	if pki.KeyIDOf(key.Public()) != s.Next.CSR.Key {
		return time.Time{}, fmt.Errorf("temporary Secret %s no longer holds the key of CertificateRequest %s", s.NextKey.Name, s.Next.Name)
	}
	if s.Secret == nil {
		if s.Secret, err = r.Secrets.Read(ctx, secretOf(s.Cert)); err != nil {
			return time.Time{}, err
		}
	}
	_, _, message := outcomeOf(&s.Next.Status)
	_, note, _ := strings.Cut(message, issuedMessage+"; ")
	signed := pki.Bundle{Chain: s.Next.Status.Certificate, CA: s.Next.Status.CA}
	if s.Secret, err = r.fillSecret(ctx, s, key, signed, note); err != nil {
		return time.Time{}, err
	}
	return r.finish(ctx, s, revisionOf(s.Next.CertificateRequest))
}

// standIn puts a temporary certificate into the Secret while the issuer is waited for, where the Certificate asks for one and the
// Secret has no working key pair and its keystores can be made. It returns the Secret as it is then.
func (r *Certificates) standIn(ctx context.Context, s State) (*SecretView, error) {
	sound := s.Secret != nil && s.Secret.Digest.Flaw == pki.Sound
	if s.Cert.Annotations[annTemporary] != "true" || s.NextKey == nil || s.Keystores.Problem != "" || sound {
		return s.Secret, nil
	}
	key, err := r.persistedKey(ctx, s)
	if err != nil {
		return nil, err
	}
	chain, err := pki.Temporary(&s.Cert.Spec, key, s.Now)
	if err != nil {
		return nil, fmt.Errorf("making a temporary certificate: %w", err)
	}
	keyPEM, err := pki.EncodeKey(key, encodingOf(s.Cert))
	if err != nil {
		return nil, err
	}
	data := material{key: keyPEM, chain: chain}
	if err := r.addKeystores(ctx, s.Cert, &data, s.Now); err != nil {
		return nil, err
	}
	m := metadata{Labels: map[string]string{}, Annotations: map[string]string{annCertificate: s.Cert.Name}}
	m.addTemplate(s.Cert.Spec.SecretTemplate)
	seen, err := r.writer.applySecret(ctx, s.Cert, s.Secret, m, data, s.OwnSecret)
	if err != nil {
		return nil, err
	}
	r.tell(s.Cert, "Issuing", "Issued temporary certificate")
	return seen, nil
}

// repair applies the Secret's labels, annotations and formats again, from the key pair that it holds. Keystores that fit stay as they
// are: no two that are made alike are equal, and a repair that changes something each time would never come to an end.
func (r *Certificates) repair(ctx context.Context, s *State) error {
	data, err := r.Secrets.payloadAt(ctx, secretOf(s.Cert), s.Secret.ResourceVersion)
	if err != nil {
		return err
	}
	m := material{key: data[corev1.TLSPrivateKeyKey], chain: data[corev1.TLSCertKey], ca: data[cmmeta.TLSCAKey]}
	if s.Keystores.Problem != "" || keystoresFit(*s) {
		m.keystores, m.keystoreDigest = pki.Keystores(data), s.Secret.Annotations.get(annKeystores)
	} else if err := r.addKeystores(ctx, s.Cert, &m, s.Now); err != nil {
		return err
	}
	seen, err := r.writer.applySecret(ctx, s.Cert, s.Secret, desiredMetadata(s.Cert, s.Secret), m, s.OwnSecret)
	if err != nil {
		return err
	}
	s.Secret = seen
	return nil
}

// tidy deletes what is of no more use: temporary Secrets, and requests beyond the history limit.
func (r *Certificates) tidy(ctx context.Context, s *observed, d Decision, history []*Request) error {
	unused := s.strays
	switch d.(type) {
	case Issue, Wait, Halt:
	default:
		if s.NextKey != nil {
			unused = append(unused, s.NextKey)
		}
	}
	for _, k := range unused {
		if err := r.writer.deleteNextKey(ctx, s.Cert.Namespace, k); err != nil {
			return err
		}
	}
	if _, quiet := d.(Keep); !quiet {
		return nil
	}
	for _, old := range surplus(s.State, history) {
		if err := r.writer.deleteRequest(ctx, old.CertificateRequest); err != nil {
			return err
		}
	}
	return nil
}
