package issuance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance/pki"
)

const (
	minDuration    = time.Hour
	minRenewBefore = 5 * time.Minute
	maxCommonName  = 64 // RFC 5280, upper bound ub-common-name
)

// validate tells whether a Certificate's spec can be issued. The error names every field at fault and what is wrong with it.
func validate(spec *cmapi.CertificateSpec) error {
	var errs []error
	for _, check := range []func(*cmapi.CertificateSpec) error{validateTarget, validateIdentity, validateKey, validateTimes, validateTemplate, validateServed} {
		errs = append(errs, check(spec))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

func validateTarget(spec *cmapi.CertificateSpec) error {
	var errs []error
	if msgs := validation.IsDNS1123Subdomain(spec.SecretName); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("spec.secretName: %q is not a Secret's name: %s", spec.SecretName, strings.Join(msgs, ", ")))
	}
	if spec.IssuerRef.Name == "" {
		errs = append(errs, errors.New("spec.issuerRef.name: name an Issuer or ClusterIssuer"))
	}
	if ref := pki.WithDefaults(spec.IssuerRef); ref.Group == pki.Group && ref.Kind != cmapi.IssuerKind && ref.Kind != cmapi.ClusterIssuerKind {
		errs = append(errs, fmt.Errorf("spec.issuerRef.kind: %q is neither Issuer nor ClusterIssuer; an issuer of another kind needs its group in spec.issuerRef.group", ref.Kind))
	}
	return errors.Join(errs...)
}

func validateIdentity(spec *cmapi.CertificateSpec) error {
	if spec.CommonName == "" && len(spec.DNSNames)+len(spec.IPAddresses)+len(spec.URIs)+len(spec.EmailAddresses)+len(spec.OtherNames) == 0 && spec.LiteralSubject == "" {
		return errors.New("spec: a certificate needs a name: set at least one of commonName, dnsNames, ipAddresses, uris or emailAddresses")
	}
	if len(spec.CommonName) > maxCommonName {
		return fmt.Errorf("spec.commonName: %d bytes are more than the %d allowed; put long names into spec.dnsNames", len(spec.CommonName), maxCommonName)
	}
	_, err := pki.ParseNames(spec)
	return err
}

func validateKey(spec *cmapi.CertificateSpec) error {
	key := pki.KeySpecOf(spec.PrivateKey)
	if err := key.Validate(); err != nil {
		return fmt.Errorf("spec.privateKey: %w", err)
	}
	if spec.SignatureAlgorithm != "" && !strings.Contains(strings.ToUpper(string(spec.SignatureAlgorithm)), strings.ToUpper(string(key.Algorithm))) {
		return fmt.Errorf("spec.signatureAlgorithm: %s does not go with a key of algorithm %s", spec.SignatureAlgorithm, key.Algorithm)
	}
	if _, err := pki.ParseUsages(spec.Usages, spec.IsCA); err != nil {
		return fmt.Errorf("spec.usages: %w", err)
	}
	return nil
}

func validateTimes(spec *cmapi.CertificateSpec) error {
	duration := pki.DefaultDuration
	if spec.Duration != nil {
		duration = spec.Duration.Duration
	}
	switch {
	case duration < minDuration:
		return fmt.Errorf("spec.duration: %s is less than %s", duration, minDuration)
	case spec.RenewBefore != nil && spec.RenewBeforePercentage != nil:
		return errors.New("spec.renewBefore and spec.renewBeforePercentage exclude each other")
	case spec.RenewBefore != nil && spec.RenewBefore.Duration < minRenewBefore:
		return fmt.Errorf("spec.renewBefore: %s is less than %s", spec.RenewBefore.Duration, minRenewBefore)
	case spec.RenewBefore != nil && spec.RenewBefore.Duration >= duration:
		return fmt.Errorf("spec.renewBefore: %s is not less than the duration %s", spec.RenewBefore.Duration, duration)
	case spec.RenewBeforePercentage != nil && (*spec.RenewBeforePercentage < 1 || *spec.RenewBeforePercentage > 99):
		return fmt.Errorf("spec.renewBeforePercentage: %d is not between 1 and 99", *spec.RenewBeforePercentage)
	case spec.RenewBeforePercentage != nil && duration/100*time.Duration(*spec.RenewBeforePercentage) < minRenewBefore:
		return fmt.Errorf("spec.renewBeforePercentage: %d percent of %s are less than %s", *spec.RenewBeforePercentage, duration, minRenewBefore)
	case spec.RevisionHistoryLimit != nil && *spec.RevisionHistoryLimit < 1:
		return fmt.Errorf("spec.revisionHistoryLimit: %d is less than 1", *spec.RevisionHistoryLimit)
	}
	return nil
}

// validateTemplate keeps users from forging what we write about a Secret.
func validateTemplate(spec *cmapi.CertificateSpec) error {
	if spec.SecretTemplate == nil {
		return nil
	}
	for key := range spec.SecretTemplate.Annotations {
		if strings.HasPrefix(key, pki.Group+"/") && key != cmapi.AllowsInjectionFromSecretAnnotation {
			return fmt.Errorf("spec.secretTemplate.annotations: %s is reserved", key)
		}
	}
	for key, value := range spec.SecretTemplate.Labels {
		if msgs := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(msgs) > 0 {
			return fmt.Errorf("spec.secretTemplate.labels: %s=%s is not a label: %s", key, value, strings.Join(msgs, ", "))
		}
	}
	return nil
}

// validateServed refuses what this version does not do: a certificate without what was asked for is worse than none.
func validateServed(spec *cmapi.CertificateSpec) error {
	for field, used := range map[string]bool{
		"literalSubject":  spec.LiteralSubject != "",
		"otherNames":      len(spec.OtherNames) > 0,
		"nameConstraints": spec.NameConstraints != nil,
		"keystores":       spec.Keystores != nil && (spec.Keystores.JKS != nil && spec.Keystores.JKS.Create || spec.Keystores.PKCS12 != nil && spec.Keystores.PKCS12.Create),
		"renewal.windows": spec.Renewal != nil && len(spec.Renewal.Windows) > 0,
	} {
		if used {
			return fmt.Errorf("spec.%s is not served by this version of trustglass: leave it out", field)
		}
	}
	return nil
}
