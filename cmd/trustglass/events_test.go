package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A flood of successes holds back neither those who tell of it nor a failure.
func TestEventsOfFailureOvertake(t *testing.T) {
	client := fake.NewClientset()
	s := &eventSink{
		events:   client.CoreV1().Events(""),
		warnings: make(chan job, 8), normal: make(chan job, 8),
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
	sent := make(chan struct{})
	client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if a.(clienttesting.CreateAction).GetObject().(*corev1.Event).Name == "failure" {
			close(sent)
		}
		return false, nil, nil // and on to what keeps it
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Start(ctx) }) // it returns nil
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		t.Fatal("the Event of the failure was not sent")
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

// One more of an Event that the API server has let expire is sent anew.
func TestEventThatExpired(t *testing.T) {
	client := fake.NewClientset()
	s := &eventSink{
		events: client.CoreV1().Events(""), warnings: make(chan job, 8), normal: make(chan job, 8),
		limit: rate.NewLimiter(rate.Inf, 1),
	}
	again := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "failure", ResourceVersion: "7"}, Type: corev1.EventTypeWarning, Count: 2,
	}
	if _, err := s.Patch(again, []byte(`{"count":2}`)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Start(ctx); err != nil { // what was waiting is sent before it returns
		t.Fatal(err)
	}
	got := must(client.CoreV1().Events("shop").Get(context.Background(), "failure", metav1.GetOptions{}))
	if got.Count != 2 || got.ResourceVersion == "7" {
		t.Errorf("sent: %+v", got)
	}
}

// What an Event of success tells of comes first: the Event waits a moment. A failure is told at once.
func TestEventsOfSuccessWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		s := &eventSink{
			events: client.CoreV1().Events(""), warnings: make(chan job, 8), normal: make(chan job, 8), limit: rate.NewLimiter(rate.Inf, 1),
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = s.Start(ctx) }() // it returns nil
		for _, kind := range []string{corev1.EventTypeNormal, corev1.EventTypeWarning} {
			e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "of-type-" + strings.ToLower(kind)}, Type: kind}
			must(s.Create(e))
		}
		sent := func() (names []string) {
			for _, e := range must(client.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})).Items {
				names = append(names, e.Name)
			}
			return names
		}
		time.Sleep(eventPause - time.Millisecond)
		synctest.Wait()
		if got := sent(); !slices.Equal(got, []string{"of-type-warning"}) {
			t.Errorf("sent before the pause is over: %q", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := sent(); len(got) != 2 {
			t.Errorf("sent when it is over: %q", got)
		}
		cancel()
		synctest.Wait()
	})
}
