package source

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// standing is what a plan needs to know of a Secret that is there before the Certificate is.
type standing struct {
	Type corev1.SecretType
	// Keys are those of its entries; their values are not looked at.
	Keys []string
	// NextKey says that it holds a private key for a certificate under way.
	NextKey bool
	// IssuedFor is the Certificate that it was issued for, Elsewhere whether that still is there and wants this Secret.
	IssuedFor string
	Elsewhere bool
	// Signs is the issuer whose CA it holds.
	Signs string
	// MirrorOf is the Secret that it is a copy of.
	MirrorOf string
}

// taken returns why a source may not have its certificate issued into a Secret; "" when it may.
//
// Who may edit an Ingress names any Secret of the namespace in it, and issuing replaces what a Secret holds. So only one that was
// issued for the same name, or that looks like a place for a certificate, is taken over: of type kubernetes.io/tls, as made by
// hand before or instead of issuing, or with nothing in it but a key pair. cert-manager takes over every Secret.
func taken(name string, s standing) string {
	switch {
	case s.Signs != "":
		return fmt.Sprintf("it holds the CA of %s", s.Signs)
	case s.NextKey:
		return "it holds the private key of a certificate that is being issued"
	case s.MirrorOf != "":
		return fmt.Sprintf("it is a mirror of %s", s.MirrorOf)
	case s.IssuedFor == name:
		return ""
	case s.IssuedFor != "" && s.Elsewhere:
		return fmt.Sprintf("it is that of Certificate %s", s.IssuedFor)
	case s.IssuedFor != "", s.Type == corev1.SecretTypeTLS:
		return ""
	case slices.Contains(untouchable, s.Type):
		return fmt.Sprintf("it is of type %s", s.Type)
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
		MirrorOf:  cmp.Or(s.Annotations["reflector.v1.k8s.emberstack.com/reflects"], s.Annotations["replicator.v1.mittwald.de/replicate-from"]),
	}
	for key := range s.Data {
		out.Keys = append(out.Keys, key)
	}
	slices.Sort(out.Keys)
	return out
}
