package validation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

const (
	minDuration    = time.Hour
	minRenewBefore = 5 * time.Minute
)

var specPath = field.NewPath("spec")

// Certificate tells why a Certificate can't be issued as its spec asks.
func Certificate(c *cmapi.Certificate) field.ErrorList {
	f := findings{base: specPath}
	spec := &c.Spec
	f.secretName(spec.SecretName, "secretName")
	f.issuerRef(&spec.IssuerRef)
	f.subject(spec)
	f.names(spec)
	f.privateKey(spec)
	f.usages(spec.Usages)
	f.times(spec)
	f.renewal(spec.Renewal)
	f.secretTemplate(spec.SecretTemplate)
	f.nameConstraints(spec)
	f.outputFormats(spec.AdditionalOutputFormats)
	f.keystores(spec.Keystores)
	return f.list
}

// secretName checks the name of an object that is to be written or read.
func (f *findings) secretName(name string, steps ...any) {
	if name == "" {
		f.required("must be the name of a Secret in the same namespace", steps...)
		return
	}
	for _, msg := range validation.IsDNS1123Subdomain(name) {
		f.invalid(name, msg, steps...)
	}
}

// issuerRef checks a reference's name, and its kind where the group is ours: kinds of other groups are their controllers' business.
func (f *findings) issuerRef(ref *cmmeta.IssuerReference) {
	f.needs(ref.Name, "must name an issuer", "issuerRef", "name")
	full := pki.WithDefaults(*ref)
	if full.Group != pki.Group || full.Kind == cmapi.IssuerKind || full.Kind == cmapi.ClusterIssuerKind {
		return
	}
	detail := "must be Issuer or ClusterIssuer"
	if ref.Group == "" {
		detail += "; an issuer of another kind needs its group in spec.issuerRef.group"
	}
	f.invalid(ref.Kind, detail, "issuerRef", "kind")
}

// privateKey checks what kind of key is asked for, and that the signature algorithm goes with it.
func (f *findings) privateKey(spec *cmapi.CertificateSpec) {
	key := pki.KeySpecOf(spec.PrivateKey)
	if err := key.Validate(); err != nil {
		switch key.Algorithm {
		case cmapi.RSAKeyAlgorithm, cmapi.ECDSAKeyAlgorithm:
			f.invalid(fmt.Sprint(key.Size), err.Error(), "privateKey", "size")
		default:
			f.invalid(string(key.Algorithm), err.Error(), "privateKey", "algorithm")
		}
		return
	}
	if spec.SignatureAlgorithm == "" {
		return
	}
	switch of, known := signatureKeys[spec.SignatureAlgorithm]; {
	case !known:
		f.unsupported(string(spec.SignatureAlgorithm), signatureAlgorithms(), "signatureAlgorithm")
	case of != key.Algorithm:
		f.invalid(string(spec.SignatureAlgorithm), fmt.Sprintf("does not go with a key of algorithm %s", key.Algorithm), "signatureAlgorithm")
	}
}

// signatureKeys tells which keys make which signatures.
var signatureKeys = map[cmapi.SignatureAlgorithm]cmapi.PrivateKeyAlgorithm{
	cmapi.SHA256WithRSA:   cmapi.RSAKeyAlgorithm,
	cmapi.SHA384WithRSA:   cmapi.RSAKeyAlgorithm,
	cmapi.SHA512WithRSA:   cmapi.RSAKeyAlgorithm,
	cmapi.ECDSAWithSHA256: cmapi.ECDSAKeyAlgorithm,
	cmapi.ECDSAWithSHA384: cmapi.ECDSAKeyAlgorithm,
	cmapi.ECDSAWithSHA512: cmapi.ECDSAKeyAlgorithm,
	cmapi.PureEd25519:     cmapi.Ed25519KeyAlgorithm,
}

func signatureAlgorithms() []string {
	var out []string
	for a := range signatureKeys {
		out = append(out, string(a))
	}
	slices.Sort(out)
	return out
}

func (f *findings) usages(usages []cmapi.KeyUsage) {
	for i := range usages {
		if _, err := pki.ParseUsages(usages[i:i+1], false); err != nil {
			f.invalid(string(usages[i]), err.Error(), "usages", i)
		}
	}
}

// times checks durations. renewBeforePercentage is what the renewal makes of it: the part of the lifetime that must remain.
func (f *findings) times(spec *cmapi.CertificateSpec) {
	if n := spec.RevisionHistoryLimit; n != nil && *n < 1 {
		f.invalid(fmt.Sprint(*n), "must be at least 1", "revisionHistoryLimit")
	}
	duration := pki.DefaultDuration
	if spec.Duration != nil {
		duration = spec.Duration.Duration
	}
	if duration < minDuration {
		f.invalid(duration.String(), fmt.Sprintf("must be at least %s", minDuration), "duration")
		return
	}
	if before := spec.RenewBefore; before != nil {
		switch {
		case before.Duration < minRenewBefore:
			f.invalid(before.Duration.String(), fmt.Sprintf("must be at least %s", minRenewBefore), "renewBefore")
		case before.Duration >= duration:
			f.invalid(before.Duration.String(), fmt.Sprintf("must be less than the duration, %s", duration), "renewBefore")
		}
	}
	if percent := spec.RenewBeforePercentage; percent != nil {
		switch {
		case spec.RenewBefore != nil:
			f.forbidden("excludes renewBefore: set one of the two", "renewBeforePercentage")
		case *percent < 1 || *percent > 99:
			f.invalid(fmt.Sprint(*percent), "must be between 1 and 99", "renewBeforePercentage")
		case duration/100*time.Duration(*percent) < minRenewBefore:
			f.invalid(fmt.Sprint(*percent), fmt.Sprintf("leaves less than %s of %s", minRenewBefore, duration), "renewBeforePercentage")
		}
	}
}

// renewal checks policy and windows. The parser is the one by which windows are kept.
func (f *findings) renewal(r *cmapi.CertificateRenewal) {
	if r == nil {
		return
	}
	switch r.Policy {
	case cmapi.CertificateRenewalPolicyRenewBefore:
	case cmapi.CertificateRenewalPolicyDisabled:
		if len(r.Windows) > 0 {
			f.forbidden("no windows can be kept where renewal is Disabled", "renewal", "windows")
		}
	default:
		f.unsupported(string(r.Policy), []string{
			string(cmapi.CertificateRenewalPolicyRenewBefore), string(cmapi.CertificateRenewalPolicyDisabled),
		}, "renewal", "policy")
	}
	if n := len(r.Windows); n > pki.MaxWindows {
		f.invalid(fmt.Sprintf("%d windows", n), fmt.Sprintf("must be at most %d", pki.MaxWindows), "renewal", "windows")
		return
	}
	for i := range r.Windows {
		f.window(&r.Windows[i], i)
	}
}

func (f *findings) window(w *cmapi.CertificateRenewalWindows, i int) {
	switch {
	case w.WindowDuration == nil:
		f.required("must say how long the window is open", "renewal", "windows", i, "windowDuration")
		return
	case w.WindowDuration.Duration <= 0:
		f.invalid(w.WindowDuration.Duration.String(), "must be more than 0", "renewal", "windows", i, "windowDuration")
		return
	}
	if w.Timezone != "" {
		if _, err := time.LoadLocation(w.Timezone); err != nil || w.Timezone == "Local" {
			f.invalid(w.Timezone, "must be a time zone of the IANA database, such as Europe/Berlin", "renewal", "windows", i, "timezone")
			return
		}
	}
	if w.Cron == "" {
		f.required("must say when the window opens", "renewal", "windows", i, "cron")
		return
	}
	if _, err := pki.ParseWindows([]cmapi.CertificateRenewalWindows{*w}); err != nil {
		f.invalid(w.Cron, reasonOf(err), "renewal", "windows", i, "cron")
	}
}

// secretTemplate keeps users from forging what we write about a Secret, and from asking for metadata that no Secret can have.
func (f *findings) secretTemplate(t *cmapi.CertificateSecretTemplate) {
	if t == nil {
		return
	}
	size := 0
	for key, value := range t.Annotations {
		size += len(key) + len(value)
	}
	if size > apivalidation.TotalAnnotationSizeLimitB {
		f.wrong(fmt.Sprintf("are %d bytes, more than the %d that an object may have", size, apivalidation.TotalAnnotationSizeLimitB), "secretTemplate", "annotations")
	}
	for _, key := range slices.Sorted(maps.Keys(t.Annotations)) {
		if strings.HasPrefix(key, pki.Group+"/") && key != cmapi.AllowsInjectionFromSecretAnnotation {
			f.invalid(key, "annotations of cert-manager.io are reserved", "secretTemplate", "annotations")
			continue
		}
		if key == pki.RenewAnnotation || key == pki.KeystoresAnnotation {
			f.invalid(key, "says what the Secret was issued for and is reserved", "secretTemplate", "annotations")
			continue
		}
		for _, msg := range validation.IsQualifiedName(strings.ToLower(key)) {
			f.invalid(key, msg, "secretTemplate", "annotations")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(t.Labels)) {
		for _, msg := range validation.IsQualifiedName(key) {
			f.invalid(key, msg, "secretTemplate", "labels")
		}
		for _, msg := range validation.IsValidLabelValue(t.Labels[key]) {
			f.invalid(t.Labels[key], msg, "secretTemplate", "labels", mapKey(key))
		}
	}
}

func (f *findings) outputFormats(formats []cmapi.CertificateAdditionalOutputFormat) {
	for i := range formats {
		switch t := formats[i].Type; t {
		case cmapi.CertificateOutputFormatDER, cmapi.CertificateOutputFormatCombinedPEM:
			if slices.Contains(formats[:i], formats[i]) {
				f.add(field.Duplicate(f.at([]any{"additionalOutputFormats", i, "type"}), string(t)))
			}
		default:
			f.unsupported(string(t), []string{
				string(cmapi.CertificateOutputFormatDER), string(cmapi.CertificateOutputFormatCombinedPEM),
			}, "additionalOutputFormats", i, "type")
		}
	}
}

func (f *findings) keystores(k *cmapi.CertificateKeystores) {
	if k == nil {
		return
	}
	if k.JKS != nil {
		f.password(k.JKS.Create, k.JKS.Password, &k.JKS.PasswordSecretRef, "keystores", "jks")
	}
	if k.PKCS12 != nil {
		f.password(k.PKCS12.Create, k.PKCS12.Password, &k.PKCS12.PasswordSecretRef, "keystores", "pkcs12")
		if p := k.PKCS12.Password; p != nil && pki.PKCS12PasswordFlaw(*p) != "" {
			f.wrong(pki.PKCS12PasswordFlaw(*p), "keystores", "pkcs12", "password")
		}
		if known := pki.PKCS12Profiles(); k.PKCS12.Profile != "" && !slices.Contains(known, string(k.PKCS12.Profile)) {
			f.unsupported(string(k.PKCS12.Profile), known, "keystores", "pkcs12", "profile")
		}
	}
}

// password checks that a keystore has exactly one source of its password; one that is not created needs none.
func (f *findings) password(create bool, literal *string, ref *cmmeta.SecretKeySelector, store, kind string) {
	switch {
	case literal != nil && ref.Name != "":
		f.forbidden("excludes passwordSecretRef: set one of the two", store, kind, "password")
	case literal != nil && *literal == "":
		f.wrong("must not be empty", store, kind, "password")
	case literal == nil && ref.Name == "" && create:
		f.required("must name the Secret that holds the password, unless password is set", store, kind, "passwordSecretRef", "name")
	}
}
