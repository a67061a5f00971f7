package source

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// standing is what a plan needs to know of a Secret that no Certificate has been made for yet; nothing when there is no such Secret,
// and nobody waits for it.
type standing struct {
	// Own says that it is one that the daemon itself works with.
	Own bool
	// NamedBy is an issuer that works with it, NamedIn the field of the issuer that says so.
	NamedBy, NamedIn string

	Type corev1.SecretType
	// Keys are those of its entries; their values are not looked at.
	Keys []string
	// NextKey says that it holds a private key for a certificate under way.
	NextKey bool
	// IssuedFor is the Certificate that it was issued for, Elsewhere whether that still is there and wants this Secret.
	IssuedFor string
	Elsewhere bool
	// Injected says that its CA may be injected into what the API server calls.
	Injected bool
	// MirrorOf is the Secret that it is a copy of.
	MirrorOf string
}

// taken returns why a source may not have its certificate issued into a Secret; "" when it may.
//
// Who may edit an Ingress names any Secret of the namespace in it, and issuing replaces what a Secret holds. So only one that was
// issued for the same name, or that looks like a place for a certificate, is taken over: of type kubernetes.io/tls, as made by
// hand before or instead of issuing, or with nothing in it but a certificate and its key. A key alone is no place for a certificate:
// ACME accounts and signers of tokens look like that. cert-manager takes over every Secret.
func taken(name string, s standing) string {
	switch {
	case s.Own:
		return "it is this daemon's own"
	case s.NamedIn == fieldCA:
		return fmt.Sprintf("it holds the CA of %s", s.NamedBy)
	case s.NamedBy != "":
		return fmt.Sprintf("%s works with it, by %s", s.NamedBy, s.NamedIn)
	case s.NextKey:
		return "it holds the private key of a certificate that is being issued"
	case s.MirrorOf != "":
		return fmt.Sprintf("it is a mirror of %s", s.MirrorOf)
	case s.IssuedFor == name:
		return ""
	case s.IssuedFor != "" && s.Elsewhere:
		return fmt.Sprintf("it is that of Certificate %s", s.IssuedFor)
	case s.IssuedFor != "":
		return ""
	case s.Injected:
		return fmt.Sprintf("its CA may be injected, by its annotation %s", cmapi.AllowsInjectionFromSecretAnnotation)
	case s.Type == corev1.SecretTypeTLS:
		return ""
	case slices.Contains(untouchable, s.Type):
		return fmt.Sprintf("it is of type %s", s.Type)
	case slices.Contains(s.Keys, corev1.TLSPrivateKeyKey) && !slices.Contains(s.Keys, corev1.TLSCertKey):
		return fmt.Sprintf("it is of type %s, was issued for no Certificate, and holds a private key without a certificate", s.Type)
	}
	for _, key := range s.Keys {
		if key != corev1.TLSCertKey && key != corev1.TLSPrivateKeyKey && key != cmmeta.TLSCAKey {
			return fmt.Sprintf("it is of type %s, was issued for no Certificate, and holds something else than a key pair", s.Type)
		}
	}
	return ""
}

// untouchable are types whose Secrets mean something to the control plane.
var untouchable = []corev1.SecretType{corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken}

// standingOf describes a Secret by its metadata and the names of its entries. Its values are dropped with the Secret.
func standingOf(s *corev1.Secret) standing {
	out := standing{
		Type: s.Type, NextKey: s.Labels[cmapi.IsNextPrivateKeySecretLabelKey] == "true",
		IssuedFor: s.Annotations[cmapi.CertificateNameKey],
		Injected:  s.Annotations[cmapi.AllowsInjectionFromSecretAnnotation] == "true",
		MirrorOf:  cmp.Or(s.Annotations["reflector.v1.k8s.emberstack.com/reflects"], s.Annotations["replicator.v1.mittwald.de/replicate-from"]),
	}
	for key := range s.Data {
		out.Keys = append(out.Keys, key)
	}
	slices.Sort(out.Keys)
	return out
}

// fieldCA is where an issuer names the Secret that it signs with.
const fieldCA = "spec.ca.secretName"

// namedIn returns the field of an issuer that names a Secret; "" when none does. It goes by the names of fields, not by a list of
// them: those of issuers that are not served count, those of later versions, and those of a DNS solver's own configuration.
func namedIn(spec *cmapi.IssuerSpec, secret string) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("encoding it: %w", err)
	}
	if !bytes.Contains(text, []byte(`"`+secret+`"`)) {
		return "", nil
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return "", fmt.Errorf("decoding it: %w", err)
	}
	return findName(tree, "spec", "", secret), nil
}

// findName walks through a value in the order of its fields' names, so that the answer is always the same.
func findName(value any, path, field, secret string) string {
	field = strings.ToLower(field)
	switch v := value.(type) {
	case string:
		if v == secret && (strings.HasSuffix(field, "secretname") || strings.HasSuffix(field, "secretref")) {
			return path
		}
	case map[string]any:
		if v["name"] == secret && (strings.Contains(field, "secret") || field == "credentialsref") {
			return path
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at := findName(v[key], path+"."+key, key, secret); at != "" {
				return at
			}
		}
	case []any:
		for i := range v {
			if at := findName(v[i], fmt.Sprintf("%s[%d]", path, i), field, secret); at != "" {
				return at
			}
		}
	}
	return ""
}
