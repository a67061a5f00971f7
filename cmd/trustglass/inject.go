package main

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/trust/inject"
)

// leaseInjector is the Lease of cert-manager's cainjector, so that it and this daemon exclude each other.
const leaseInjector = "cert-manager-cainjector-leader-election"

// injectorNames are the names of the controllers that inject CAs, one for each kind of targets.
func injectorNames() (names []string) {
	for _, k := range inject.Kinds() {
		names = append(names, k.Controller())
	}
	return names
}

// injected lists the kinds of targets that are switched on.
func (a *app) injected() (kinds []inject.Kind) {
	for _, k := range inject.Kinds() {
		if a.on[k.Controller()] {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// injectorWatches lists what is watched for injection alone.
func (a *app) injectorWatches() (list []client.Object) {
	for _, k := range a.injected() {
		list = append(list, k.Metadata())
	}
	if len(list) > 0 && !a.issues() && !a.injectorOptions().withoutCertificates {
		list = append(list, &cmapi.Certificate{})
	}
	return list
}

// injectorOptions are the settings of all injectors.
type injectorOptions struct {
	ignoreNamespaces    []string
	withoutCertificates bool
}

func (a *app) injectorOptions() injectorOptions {
	return injectorOptions{ignoreNamespaces: a.cfg.IgnoreNamespaces, withoutCertificates: !a.cfg.EnableCertificatesDataSource}
}

// startInjectors sets up what injects CAs.
func (a *app) startInjectors() error {
	o := a.injectorOptions()
	for _, kind := range a.injected() {
		r := &inject.Reconciler{
			Kind: kind, Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Live: a.mgr.GetAPIReader(),
			Events: a.recorder(inject.FieldManager), APIServerCA: inject.CAOf(a.config),
			IgnoreNamespaces: o.ignoreNamespaces, WithoutCertificates: o.withoutCertificates,
		}
		if err := r.Setup(a.mgr); err != nil {
			return err
		}
	}
	return nil
}
