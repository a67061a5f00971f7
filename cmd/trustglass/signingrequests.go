package main

import (
	"github.com/trustglass/trustglass/issuance/signingrequest"
)

// startSigningRequests sets up what signs Kubernetes' own CertificateSigningRequests.
func (a *app) startSigningRequests() error {
	r := &signingrequest.Reconciler{
		Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Live: a.mgr.GetAPIReader(), Signer: a.signer,
		Events: a.recorder, ClusterNamespace: a.cfg.ClusterResourceNamespace, Workers: a.cfg.ConcurrentWorkers,
	}
	return r.Setup(a.mgr)
}
