package main

import (
	"github.com/trustglass/trustglass/issuance/issuer"
	"github.com/trustglass/trustglass/issuance/signingrequest"
)

// startSigningRequests sets up what signs Kubernetes' own CertificateSigningRequests. They are signed for as long as they ask, as
// cert-manager's conformance suite expects.
func (a *app) startSigningRequests() error {
	signer := *a.signer
	signer.Lifetime = max(signer.Lifetime, issuer.Outlived)
	r := &signingrequest.Reconciler{
		Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Live: a.mgr.GetAPIReader(), Signer: &signer,
		Events: a.recorder, ClusterNamespace: a.cfg.ClusterResourceNamespace, Workers: a.cfg.ConcurrentWorkers,
	}
	return r.Setup(a.mgr)
}
