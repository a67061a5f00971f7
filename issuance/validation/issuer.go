package validation

import (
	"crypto/x509"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// MaxBundleBytes is the largest bundle of CA certificates, in PEM, that an issuer's spec may hold.
const MaxBundleBytes = 1 << 20

// Issuer tells why an Issuer or ClusterIssuer, whose spec lies at path, can't work as it is written, and what in it does nothing.
func Issuer(spec *cmapi.IssuerSpec, path *field.Path) (_ field.ErrorList, warnings []string) {
	f := findings{base: path}
	kinds := f.oneOf("must say what kind of issuer it is: acme, ca, selfSigned, vault or venafi", nil,
		choice{"acme", spec.ACME != nil}, choice{"ca", spec.CA != nil}, choice{"selfSigned", spec.SelfSigned != nil},
		choice{"vault", spec.Vault != nil}, choice{"venafi", spec.Venafi != nil})
	if kinds != 1 {
		return f.list, nil
	}
	switch {
	case spec.ACME != nil:
		warnings = f.acme(spec.ACME)
	case spec.CA != nil:
		f.ca(spec.CA)
	case spec.Vault != nil:
		f.vault(spec.Vault)
	case spec.Venafi != nil:
		f.venafi(spec.Venafi)
	}
	return f.list, warnings
}

// choice is one of several fields that exclude each other.
type choice struct {
	field string
	set   bool
}

// oneOf reports when not exactly one of the choices below the path is set, and returns how many are.
func (f *findings) oneOf(none string, path []any, choices ...choice) int {
	n := f.atMostOne(path, choices...)
	if n == 0 {
		f.required(none, path...)
	}
	return n
}

// atMostOne reports every choice beyond the first, and returns how many are set.
func (f *findings) atMostOne(path []any, choices ...choice) (set int) {
	first := ""
	for _, c := range choices {
		if !c.set {
			continue
		}
		if set++; set == 1 {
			first = c.field
		} else {
			f.forbidden("excludes "+first+": set one of the two", append(append([]any{}, path...), c.field)...)
		}
	}
	return set
}

func (f *findings) ca(ca *cmapi.CAIssuer) {
	f.secretName(ca.SecretName, "ca", "secretName")
	for i, s := range ca.OCSPServers {
		f.url(s, "ca", "ocspServers", i)
	}
	for i, s := range ca.IssuingCertificateURLs {
		f.url(s, "ca", "issuingCertificateURLs", i)
	}
}

// secretRef checks a reference to a Secret that must be there; a key that is not named has a default, or is reported by whoever reads it.
func (f *findings) secretRef(ref *cmmeta.SecretKeySelector, steps ...any) {
	if ref == nil || ref.Name == "" {
		f.required("must name a Secret", append(steps, "name")...)
	}
}

// keyRef is secretRef where the key has no default.
func (f *findings) keyRef(ref *cmmeta.SecretKeySelector, steps ...any) {
	f.secretRef(ref, steps...)
	if ref != nil && ref.Name != "" && ref.Key == "" {
		f.required("must name the key in the Secret", append(steps, "key")...)
	}
}

// bundle checks CA certificates given in place, or the Secret that holds them: one of the two, or none.
func (f *findings) bundle(pem []byte, ref *cmmeta.SecretKeySelector, path ...any) {
	f.atMostOne(path, choice{"caBundle", len(pem) > 0}, choice{"caBundleSecretRef", ref != nil})
	f.certificates(pem, append(append([]any{}, path...), "caBundle")...)
	if ref != nil {
		f.secretRef(ref, append(append([]any{}, path...), "caBundleSecretRef")...)
	}
}

func (f *findings) certificates(pem []byte, steps ...any) {
	switch {
	case len(pem) == 0:
	case len(pem) > MaxBundleBytes:
		f.add(field.TooLong(f.at(steps), "", MaxBundleBytes))
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		f.wrong("must hold at least one certificate in PEM form", steps...)
	}
}

// apiPath checks a path that is put behind a server's address: it stays below it.
func (f *findings) apiPath(s string, steps ...any) {
	for part := range strings.SplitSeq(s, "/") {
		if part == ".." || strings.EqualFold(part, "%2e%2e") {
			f.invalid(s, `must not contain ".."`, steps...)
			return
		}
	}
}
