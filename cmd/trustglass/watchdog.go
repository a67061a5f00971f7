package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
)

var timeNow = time.Now

const (
	// watchSilence is how long a watch may show no progress. The API server sends a bookmark about every minute, and a
	// watch ends and starts anew after at most ten.
	watchSilence = 15 * time.Minute
	// workerSilence is how long one reconcile may take. A reconcile is cut off after half of it.
	workerSilence = 10 * time.Minute
	watchInterval = 15 * time.Second
)

// watchdog notices a watch that delivers nothing any more and a worker that does not come back: states in which a daemon looks
// healthy and does nothing.
type watchdog struct {
	now    func() time.Time
	gather prometheus.Gatherer

	mu      sync.Mutex
	watches []*watched // guarded by mu
}

// watched is an informer with the last resourceVersion that it was seen at, and since when.
type watched struct {
	name     string
	informer interface {
		HasSynced() bool
		LastSyncResourceVersion() string
	}
	version string
	since   time.Time
}

// newInformer is how the manager's cache makes every informer that it has. So none is forgotten: neither that of a kind that is
// watched only sometimes, nor one for a single namespace, which the cache wraps into something that can't tell its progress.
func (d *watchdog) newInformer(lw toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	informer := toolscache.NewSharedIndexInformer(lw, obj, resync, indexers)
	name := obj.GetObjectKind().GroupVersionKind().Kind
	if name == "" {
		name = strings.TrimPrefix(fmt.Sprintf("%T", obj), "*v1.")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watches = append(d.watches, &watched{name: name, informer: informer, since: d.now()})
	return informer
}

// Start looks at every watch from time to time until ctx ends.
func (d *watchdog) Start(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		d.look()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *watchdog) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watches {
		if v := w.informer.LastSyncResourceVersion(); v != w.version {
			w.version, w.since = v, d.now()
		}
	}
}

// check is /livez.
func (d *watchdog) check(*http.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, w := range d.watches {
		if silent := d.now().Sub(w.since); silent > watchSilence {
			errs = append(errs, fmt.Errorf("the watch of %s has shown no progress for %s", w.name, silent.Round(time.Second)))
		}
	}
	return errors.Join(append(errs, d.stalled())...)
}

// ready is /readyz: every cache is filled. A standby is ready too.
func (d *watchdog) ready(*http.Request) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watches {
		if !w.informer.HasSynced() {
			return fmt.Errorf("the cache of %s is not filled yet", w.name)
		}
	}
	return nil
}

// stalled reads the work queues' own metric of how long their longest running item has been worked on.
func (d *watchdog) stalled() error {
	families, err := d.gather.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	for _, f := range families {
		if f.GetName() != "workqueue_longest_running_processor_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			running := time.Duration(m.GetGauge().GetValue() * float64(time.Second))
			if running < workerSilence {
				continue
			}
			for _, l := range m.GetLabel() {
				if l.GetName() == "name" || l.GetName() == "controller" {
					return fmt.Errorf("a worker of %s has been at one object for %s", l.GetValue(), running.Round(time.Second))
				}
			}
			return fmt.Errorf("a worker has been at one object for %s", running.Round(time.Second))
		}
	}
	return nil
}
