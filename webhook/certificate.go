package webhook

import (
	"context"
	"crypto/tls"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// CertificateOptions are what a Certificate needs to know.
type CertificateOptions struct {
	// Secret is where the CA lies. Its ca.crt is what clients have to trust; it has the next CA for Lifetimes.Overlap before that signs.
	Secret types.NamespacedName
	// Names are the DNS names and IP addresses that clients call the server by. There must be one.
	Names []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Lifetimes are those of the certificates.
	Lifetimes Lifetimes
}

// Certificate is the certificate of a server of the daemon besides admission, such as that of its metrics. It is of a CA that the daemon
// keeps, as it keeps that of admission. It is a manager.Runnable.
type Certificate struct{ keeper *keeper }

// NewCertificate returns a Certificate that uses mgr's clients. Add it to the manager.
func NewCertificate(mgr ctrl.Manager, o CertificateOptions) *Certificate {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Certificate{&keeper{
		client: mgr.GetClient(), live: mgr.GetAPIReader(), config: mgr.GetConfig(), secret: o.Secret, names: o.Names, now: o.Now,
		lifetimes: o.Lifetimes.withDefaults(), recheck: recheck, poke: make(chan struct{}, 1),
	}}
}

// NeedLeaderElection is false: every replica serves.
func (c *Certificate) NeedLeaderElection() bool { return false }

// Start keeps the certificate until ctx ends.
func (c *Certificate) Start(ctx context.Context) error {
	return c.keeper.run(log.IntoContext(ctx, log.FromContext(ctx).WithName("certificate")))
}

// Get is a tls.Config.GetCertificate. It fails until the first certificate is there.
func (c *Certificate) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.keeper.certificate(hello)
}
