package main

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type fakeInformer struct {
	synced  bool
	version string
}

func (f *fakeInformer) HasSynced() bool                 { return f.synced }
func (f *fakeInformer) LastSyncResourceVersion() string { return f.version }

func TestWatchdogNoticesADeadWatch(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	alive, dead := &fakeInformer{synced: true, version: "1"}, &fakeInformer{synced: true, version: "1"}
	d := &watchdog{now: func() time.Time { return now }, gather: prometheus.NewRegistry(), watches: []*watched{
		{name: "Alive", informer: alive, since: now}, {name: "Dead", informer: dead, since: now},
	}}
	for range 4 {
		d.look()
		if err := d.check(nil); err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		now = now.Add(watchSilence / 4)
		alive.version += "1"
	}
	now = now.Add(time.Minute)
	d.look()
	err := d.check(nil)
	if err == nil || !strings.Contains(err.Error(), "Dead") || strings.Contains(err.Error(), "Alive") {
		t.Errorf("with one dead watch: %v", err)
	}
	dead.version = "9"
	d.look()
	if err := d.check(nil); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestWatchdogNoticesAStalledWorker(t *testing.T) {
	reg := prometheus.NewRegistry()
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "workqueue_longest_running_processor_seconds"}, []string{"name"})
	reg.MustRegister(running)
	d := &watchdog{now: time.Now, gather: reg}
	running.WithLabelValues("certificates").Set(30)
	if err := d.check(nil); err != nil {
		t.Errorf("a worker busy for 30 s: %v", err)
	}
	running.WithLabelValues("certificates").Set(3600)
	if err := d.check(nil); err == nil || !strings.Contains(err.Error(), "certificates") {
		t.Errorf("a worker busy for an hour: %v", err)
	}
}

func TestReadyWaitsForEveryCache(t *testing.T) {
	f := &fakeInformer{}
	d := &watchdog{now: time.Now, watches: []*watched{{name: "Secret", informer: f}}}
	if err := d.ready(nil); err == nil || !strings.Contains(err.Error(), "Secret") {
		t.Errorf("before the cache is filled: %v", err)
	}
	f.synced = true
	if err := d.ready(nil); err != nil {
		t.Errorf("after: %v", err)
	}
}
