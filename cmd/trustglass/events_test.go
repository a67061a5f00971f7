package main

import (
	"context"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// A flood of successes holds back neither those who tell of it nor a failure.
func TestEventsOfFailureOvertake(t *testing.T) {
	client := fake.NewClientset()
	s := &eventSink{
		events:   client.CoreV1().Events(""),
		warnings: make(chan func(context.Context), 8), normal: make(chan func(context.Context), 8),
		limit: rate.NewLimiter(rate.Every(time.Hour), 1),
	}
	event := func(name, kind string) *corev1.Event {
		e := &corev1.Event{Type: kind}
		e.Namespace, e.Name = "shop", name
		return e
	}
	for i := range 100 { // more than the queue holds: dropped, not waited for
		if _, err := s.Create(event(string(rune('a'+i%26))+"-normal", corev1.EventTypeNormal)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(event("failure", corev1.EventTypeWarning)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Start(ctx) }) // it returns nil
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := client.Tracker().Get(corev1.SchemeGroupVersion.WithResource("events"), "shop", "failure"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the Event of the failure was not sent")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait() // what was waiting is sent before it returns
	list, err := client.CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 9 {
		t.Errorf("%d Events were sent, want the failure and the 8 that the queue holds", len(list.Items))
	}
}
