package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/trustglass/trustglass/webhook"
)

// lingerAfterStop is how long a pod goes on answering after it was told to stop: API servers learn through their Service, a little
// later than the pod itself.
const lingerAfterStop = 3 * time.Second

// startWebhook adds the admission server to the manager. It serves on every replica, Lease or not, and before the caches are filled.
func (a *app) startWebhook(context.Context) error {
	if a.cfg.WebhookBindAddress == "0" {
		return nil
	}
	options := webhook.Options{Namespace: a.cfg.OwnNamespace, Address: a.cfg.WebhookBindAddress, URL: a.cfg.WebhookURL, Now: timeNow}
	if a.cfg.Kubeconfig == "" { // in a pod
		options.Linger = lingerAfterStop
	}
	server, err := webhook.New(a.mgr, options)
	if err != nil {
		return fmt.Errorf("building the admission server: %w", err)
	}
	if err := webhook.RegisterMetrics(metrics.Registry); err != nil {
		return fmt.Errorf("registering the admission server's metrics: %w", err)
	}
	if err := a.mgr.Add(server); err != nil {
		return fmt.Errorf("adding the admission server: %w", err)
	}
	return a.mgr.AddReadyzCheck("webhook", server.StartedChecker())
}
