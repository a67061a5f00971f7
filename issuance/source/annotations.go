package source

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
	certvalidation "github.com/trustglass/trustglass/issuance/validation"
)

// Limits of what is parsed.
const (
	maxValue = 32 << 10 // bytes of one annotation
	maxNames = 1000     // entries of a list

	maxCommonName = 64 // RFC 5280, upper bound ub-common-name
)

// Policy is what an administrator lays down for every source.
type Policy struct {
	// DefaultIssuer signs for an Ingress that asks without naming an issuer.
	DefaultIssuer cmmeta.IssuerReference
	// AutoCertificateAnnotations are keys that, with a true value, make an Ingress ask.
	AutoCertificateAnnotations []string
	// ExtraCertificateAnnotations are keys that are copied from a source to its Certificates.
	ExtraCertificateAnnotations []string
	// GatewayAPIExtraProtocols are protocols of listeners that use TLS beside HTTPS and TLS.
	GatewayAPIExtraProtocols []string
	// Namespace is the only one that the daemon works in; empty means all.
	Namespace string
	// AllowSecretTemplateReflection lets a secret-template carry what reflectors act on. Then who may edit an Ingress may have
	// its Secret copied to other namespaces.
	AllowSecretTemplateReflection bool
}

// outOfReach tells whether an object lies where the daemon does not look.
func (p *Policy) outOfReach(key types.NamespacedName) bool {
	return p.Namespace != "" && key.Namespace != p.Namespace
}

// Wish is what the annotations of a source ask of its Certificates.
type Wish struct {
	// Spec has all but names from the source's spec, secretName and usages that were not asked for.
	Spec cmapi.CertificateSpec
	// IgnoredListeners are names of listeners to leave alone.
	IgnoredListeners []string
}

// ParseWish reads a source's annotations; nil when they don't ask for a Certificate. The error names every annotation at fault.
func ParseWish(kind string, a map[string]string, p Policy) (*Wish, error) {
	if !asks(kind, a, p) {
		return nil, nil
	}
	w := &Wish{}
	errs := []error{w.readIssuer(a, p)}
	for _, r := range readers {
		value, ok := a[r.key]
		if !ok {
			continue
		}
		err := fmt.Errorf("%d bytes are more than the %d allowed", len(value), maxValue)
		if len(value) <= maxValue {
			err = r.read(w, value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", r.key, err))
		}
	}
	if text, ok := a[cmapi.IngressSecretTemplate]; ok {
		template, err := parseTemplate(text, p.AllowSecretTemplateReflection)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", cmapi.IngressSecretTemplate, err))
		}
		w.Spec.SecretTemplate = template
	}
	errs = append(errs, w.check()...)
	if err := errors.Join(errs...); err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return w, nil
}

// readers has a parser for every annotation whose meaning is its own, in the order in which errors are told.
var readers = []struct {
	key  string
	read func(*Wish, string) error
}{
	{cmapi.CommonNameAnnotationKey, readCommonName},
	{cmapi.AltNamesAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.DNSNames, err = splitList(v, nil); return err }},
	{cmapi.IPSANAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.IPAddresses, err = splitList(v, checkIP); return err }},
	{cmapi.EmailsAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.EmailAddresses, err = splitList(v, checkEmail); return err }},
	{cmapi.SubjectOrganizationsAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.Organizations })},
	{cmapi.SubjectOrganizationalUnitsAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.OrganizationalUnits })},
	{cmapi.SubjectCountriesAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.Countries })},
	{cmapi.SubjectProvincesAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.Provinces })},
	{cmapi.SubjectLocalitiesAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.Localities })},
	{cmapi.SubjectPostalCodesAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.PostalCodes })},
	{cmapi.SubjectStreetAddressesAnnotationKey, subject(func(s *cmapi.X509Subject) *[]string { return &s.StreetAddresses })},
	{cmapi.SubjectSerialNumberAnnotationKey, readSerialNumber},
	{cmapi.DurationAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.Duration, err = parseDuration(v); return err }},
	{cmapi.RenewBeforeAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.RenewBefore, err = parseDuration(v); return err }},
	{cmapi.RenewBeforePercentageAnnotationKey, func(w *Wish, v string) (err error) { w.Spec.RenewBeforePercentage, err = parseInt(v, 99); return err }},
	{cmapi.RevisionHistoryLimitAnnotationKey, func(w *Wish, v string) (err error) {
		w.Spec.RevisionHistoryLimit, err = parseInt(v, 1<<31-1)
		return err
	}},
	{cmapi.UsagesAnnotationKey, readUsages},
	{cmapi.PrivateKeyAlgorithmAnnotationKey, readAlgorithm},
	{cmapi.PrivateKeyEncodingAnnotationKey, readEncoding},
	{cmapi.PrivateKeySizeAnnotationKey, readSize},
	{cmapi.PrivateKeyRotationPolicyAnnotationKey, readRotationPolicy},
	{cmapi.CertificateIgnoreTLSListeners, func(w *Wish, v string) (err error) { w.IgnoredListeners, err = splitList(v, nil); return err }},
}

func readCommonName(w *Wish, v string) error {
	if len(v) > maxCommonName {
		return fmt.Errorf("%d bytes are more than the %d that a common name can have; put long names into annotation %s", len(v), maxCommonName, cmapi.AltNamesAnnotationKey)
	}
	w.Spec.CommonName = v
	return nil
}

// splitList reads a comma-separated list. White space around entries and empty ones don't count.
func splitList(v string, check func(string) error) ([]string, error) {
	var out []string
	for entry := range strings.SplitSeq(v, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		if check != nil {
			if err := check(entry); err != nil {
				return nil, err
			}
		}
		if out = append(out, entry); len(out) > maxNames {
			return nil, fmt.Errorf("more than %d entries", maxNames)
		}
	}
	return out, nil
}

func checkIP(s string) error {
	if net.ParseIP(s) == nil {
		return fmt.Errorf("%q is not an IP address", s)
	}
	return nil
}

func checkEmail(s string) error {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return fmt.Errorf("%q is not a bare e-mail address", s)
	}
	return nil
}

// subject returns a reader for one list of the subject: a line of CSV, since a name may hold a comma.
func subject(list func(*cmapi.X509Subject) *[]string) func(*Wish, string) error {
	return func(w *Wish, v string) error {
		r := csv.NewReader(strings.NewReader(v))
		records, err := r.ReadAll()
		switch {
		case err != nil:
			return fmt.Errorf("parsing it as comma-separated values: %w", err)
		case len(records) > 1:
			return errors.New("more than one line")
		case len(records) == 0:
			return nil
		case len(records[0]) > maxNames:
			return fmt.Errorf("more than %d entries", maxNames)
		}
		*list(w.subject()) = records[0]
		return nil
	}
}

func (w *Wish) subject() *cmapi.X509Subject {
	if w.Spec.Subject == nil {
		w.Spec.Subject = &cmapi.X509Subject{}
	}
	return w.Spec.Subject
}

func readSerialNumber(w *Wish, v string) error {
	if v != "" {
		w.subject().SerialNumber = v
	}
	return nil
}

func parseDuration(v string) (*metav1.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration like 2160h or 36h30m", v)
	}
	return &metav1.Duration{Duration: d}, nil
}

// parseInt reads a whole number from 1 to most.
func parseInt(v string, most int64) (*int32, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 1 || n > most {
		return nil, fmt.Errorf("%q is not a whole number from 1 to %d", v, most)
	}
	i := int32(n)
	return &i, nil
}

func readUsages(w *Wish, v string) error {
	names, err := splitList(v, nil)
	if err != nil {
		return err
	}
	usages := make([]cmapi.KeyUsage, len(names))
	for i, name := range names {
		usages[i] = cmapi.KeyUsage(name)
	}
	if _, err := pki.ParseUsages(usages, false); err != nil {
		return err
	}
	w.Spec.Usages = usages
	return nil
}

func (w *Wish) privateKey() *cmapi.CertificatePrivateKey {
	if w.Spec.PrivateKey == nil {
		w.Spec.PrivateKey = &cmapi.CertificatePrivateKey{}
	}
	return w.Spec.PrivateKey
}

func oneOf[T ~string](to *T, v string, allowed ...T) error {
	if !slices.Contains(allowed, T(v)) {
		return fmt.Errorf("%q is none of %q", v, allowed)
	}
	*to = T(v)
	return nil
}

func readAlgorithm(w *Wish, v string) error {
	return oneOf(&w.privateKey().Algorithm, v, cmapi.RSAKeyAlgorithm, cmapi.ECDSAKeyAlgorithm, cmapi.Ed25519KeyAlgorithm)
}

func readEncoding(w *Wish, v string) error {
	return oneOf(&w.privateKey().Encoding, v, cmapi.PKCS1, cmapi.PKCS8)
}

func readRotationPolicy(w *Wish, v string) error {
	return oneOf(&w.privateKey().RotationPolicy, v, cmapi.RotationPolicyAlways, cmapi.RotationPolicyNever)
}

func readSize(w *Wish, v string) error {
	n, err := parseInt(v, 1<<16)
	if err == nil {
		w.privateKey().Size = int(*n)
	}
	return err
}

// check tells why no Certificate that is wished for could be issued, whatever names an entry adds.
func (w *Wish) check() []error {
	var errs []error
	for _, e := range certvalidation.Certificate(&cmapi.Certificate{Spec: specFor(w, Entry{SecretName: "any", DNSNames: []string{"any.example"}})}) {
		field := strings.TrimPrefix(e.Field, "spec.")
		if strings.HasPrefix(field, "issuerRef") || strings.HasPrefix(field, "secretTemplate") {
			continue // readIssuer and parseTemplate have said so
		}
		key := annotationOf[field]
		if at := strings.IndexAny(field, ".["); key == "" && at > 0 {
			key = annotationOf[field[:at]]
		}
		if key == "" {
			errs = append(errs, e)
			continue
		}
		errs = append(errs, fmt.Errorf("annotation %s: %s", key, e.ErrorBody()))
	}
	return errs
}

// annotationOf has the annotation that each field of a Certificate's spec is read from.
var annotationOf = map[string]string{
	"commonName":            cmapi.CommonNameAnnotationKey,
	"dnsNames":              cmapi.AltNamesAnnotationKey,
	"ipAddresses":           cmapi.IPSANAnnotationKey,
	"emailAddresses":        cmapi.EmailsAnnotationKey,
	"duration":              cmapi.DurationAnnotationKey,
	"renewBefore":           cmapi.RenewBeforeAnnotationKey,
	"renewBeforePercentage": cmapi.RenewBeforePercentageAnnotationKey,
	"revisionHistoryLimit":  cmapi.RevisionHistoryLimitAnnotationKey,
	"usages":                cmapi.UsagesAnnotationKey,
	"privateKey.algorithm":  cmapi.PrivateKeyAlgorithmAnnotationKey,
	"privateKey.size":       cmapi.PrivateKeySizeAnnotationKey,
}
