package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-system,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=cert-manager,resources=leases,verbs=get;create;update

// The Leases' names. The first two are those of the programs whose work we do: old and new exclude each other, and going back
// is a matter of starting the old one and stopping this one.
const (
	leaseIssuance  = "cert-manager-controller"
	leaseTrust     = "trust-manager-leader-election"
	leaseReflector = "trustglass-reflector"
)

// election starts a feature when its Lease is held.
type election struct {
	namespace, lease string
	start            func() error
}

// elections runs one elector per feature; features don't wait for each other.
type elections struct {
	list     []election
	enabled  bool
	config   *rest.Config
	duration time.Duration
	stop     context.CancelCauseFunc
}

func newElections(a *app, stop context.CancelCauseFunc) *elections {
	e := &elections{enabled: a.cfg.LeaderElect, config: a.config, duration: a.cfg.LeaseDuration.Duration, stop: stop}
	if a.issues() {
		e.list = append(e.list, election{a.cfg.LeaderElectionNamespace, leaseIssuance, a.startIssuance})
	}
	if a.on[ctrlSecrets] || a.on[ctrlConfigMaps] {
		e.list = append(e.list, election{a.cfg.LeaderElectionNamespace, leaseReflector, a.startReflector})
	}
	if a.on[ctrlBundles] {
		e.list = append(e.list, election{a.cfg.TrustNamespace, leaseTrust, a.startTrust})
	}
	if len(a.injected()) > 0 {
		e.list = append(e.list, election{a.cfg.LeaderElectionNamespace, leaseInjector, a.startInjectors})
	}
	return e
}

// Start takes part in every election until ctx ends; losing a Lease stops the daemon.
func (e *elections) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, el := range e.list {
		if !e.enabled {
			if err := el.start(); err != nil {
				return err
			}
			continue
		}
		elector, err := e.elector(ctx, el)
		if err != nil {
			return err
		}
		wg.Go(func() { elector.Run(ctx) })
	}
	return nil
}

func (e *elections) elector(ctx context.Context, el election) (*leaderelection.LeaderElector, error) {
	logger := log.FromContext(ctx).WithValues("lease", el.namespace+"/"+el.lease)
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the host's name: %w", err)
	}
	c, err := coordinationv1.NewForConfig(e.config)
	if err != nil {
		return nil, fmt.Errorf("building the Lease client: %w", err)
	}
	identity := host + "_" + string(uuid.NewUUID())
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: el.lease,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: el.namespace, Name: el.lease},
			Client:     c,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: e.duration, RenewDeadline: e.duration * 2 / 3, RetryPeriod: e.duration / 6,
		ReleaseOnCancel: true,
		Callbacks:       e.callbacks(logger, el, identity),
	})
	if err != nil {
		return nil, fmt.Errorf("building the election for Lease %s/%s: %w", el.namespace, el.lease, err)
	}
	return elector, nil
}

func (e *elections) callbacks(logger logr.Logger, el election, identity string) leaderelection.LeaderCallbacks {
	return leaderelection.LeaderCallbacks{
		OnStartedLeading: func(context.Context) {
			logger.Info("holding the Lease")
			if err := el.start(); err != nil {
				e.stop(fmt.Errorf("starting what Lease %s/%s guards: %w", el.namespace, el.lease, err))
			}
		},
		OnStoppedLeading: func() {
			e.stop(fmt.Errorf("lost Lease %s/%s", el.namespace, el.lease))
		},
		OnNewLeader: func(holder string) {
			if holder != identity {
				logger.Info("waiting for the Lease", "holder", holder)
			}
		},
	}
}
