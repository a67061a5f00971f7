package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/issuance/source"
	"github.com/trustglass/trustglass/webhook"
)

// Names of the controllers that make Certificates for other objects, as --controllers takes them.
const (
	ctrlIngresses    = source.ControllerIngress
	ctrlGateways     = source.ControllerGateway
	ctrlListenerSets = source.ControllerListenerSet
)

// sourceKinds returns the kinds of objects that Certificates are made for: those of the Gateway API only where they are turned on
// and cert-manager's feature gates don't say otherwise.
func (a *app) sourceKinds() ([]string, error) {
	gates, err := parseGates(a.cfg.FeatureGates)
	if err != nil {
		return nil, fmt.Errorf("reading the feature gates: %w", err)
	}
	gateways := a.cfg.EnableGatewayAPI && gates[gateGatewayAPI]
	var out []string
	for _, k := range []struct {
		kind string
		on   bool
	}{
		{source.KindIngress, a.on[ctrlIngresses]},
		{source.KindGateway, a.on[ctrlGateways] && gateways},
		{source.KindListenerSet, a.on[ctrlListenerSets] && gateways && a.cfg.EnableGatewayAPIListenerSet && gates[gateListenerSets]},
	} {
		if k.on {
			out = append(out, k.kind)
		}
	}
	return out, nil
}

// sourceWatches lists what is watched for the objects that Certificates are made for. What the cluster does not serve is left out:
// what needs it says so when it starts.
func (a *app) sourceWatches(mapper meta.RESTMapper) (list []client.Object, err error) {
	kinds, err := a.sourceKinds()
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		objects, _, err := source.Watched(mapper, kind)
		if err != nil {
			return nil, fmt.Errorf("listing what %ss need: %w", kind, err)
		}
		list = append(list, objects...)
	}
	return list, nil
}

func (c *Config) sourcePolicy() source.Policy {
	return source.Policy{
		DefaultIssuer:                 cmmeta.IssuerReference{Name: c.DefaultIssuerName, Kind: c.DefaultIssuerKind, Group: c.DefaultIssuerGroup},
		AutoCertificateAnnotations:    c.AutoCertificateAnnotations,
		ExtraCertificateAnnotations:   c.ExtraCertificateAnnotations,
		GatewayAPIExtraProtocols:      c.GatewayAPIExtraProtocols,
		Namespace:                     c.Namespace,
		AllowSecretTemplateReflection: c.AllowSecretTemplateReflection,
	}
}

// startSources sets up what makes Certificates for other objects.
func (a *app) startSources() error {
	kinds, err := a.sourceKinds()
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		r := &source.Reconciler{
			Kind: kind, Client: a.mgr.GetClient(), Cache: a.mgr.GetCache(), Live: a.mgr.GetAPIReader(),
			Events: a.recorder(source.FieldManager(source.ControllerOf(kind))), Policy: a.cfg.sourcePolicy(), Workers: a.cfg.ConcurrentWorkers,
			ClusterNamespace: a.cfg.ClusterResourceNamespace,
			Reserved:         []types.NamespacedName{{Namespace: a.cfg.OwnNamespace, Name: webhook.SecretName}},
		}
		if err := r.Setup(a.mgr); err != nil {
			return err
		}
	}
	return nil
}
