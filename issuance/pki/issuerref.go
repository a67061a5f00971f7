package pki

import (
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
)

// Group is the API group of the issuers that we serve.
const Group = "cert-manager.io"

// Annotations that tell of an issued Secret what it was issued for, beside cert-manager's: no template may set them.
const (
	// RenewAnnotation on a Certificate asks for a renewal whenever its value changes; on its Secret it is the value last served.
	RenewAnnotation = "trustglass.io/renew"
	// KeystoresAnnotation tells which settings and passwords the keystores were made with, as a digest.
	KeystoresAnnotation = "trustglass.io/keystores"
)

// WithDefaults fills a reference's kind (Issuer) and group (cert-manager.io). The API server stores references as users wrote
// them, so every comparison goes through here.
func WithDefaults(ref cmmeta.IssuerReference) cmmeta.IssuerReference {
	if ref.Kind == "" {
		ref.Kind = cmapi.IssuerKind
	}
	if ref.Group == "" {
		ref.Group = Group
	}
	return ref
}

// SameIssuer tells whether two references mean one issuer.
func SameIssuer(a, b cmmeta.IssuerReference) bool { return WithDefaults(a) == WithDefaults(b) }
