package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Limits of the Events that tell of success. What failed is not held back.
const (
	eventRate  = 10 // a second, once a burst is used up
	eventBurst = 20
	eventQueue = 8192
	sendTime   = 10 * time.Second // for one
	// eventPause is how long an Event that tells of success waits: what goes on beside it, often the next step of the same work, comes first.
	eventPause = 100 * time.Millisecond
)

var eventsDropped = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "trustglass_events_dropped_total", Help: "Events that were not sent because too many were waiting, by type.",
}, []string{"type"})

// eventSink sends Events from queues of its own, failures before successes, and successes slowly: telling of a thousand
// issuances must not cost the thousand that wait. It never blocks; what finds its queue full is counted and dropped.
type eventSink struct {
	events   typedcorev1.EventInterface
	warnings chan job
	normal   chan job
	limit    *rate.Limiter
}

// job sends one Event, no sooner than due unless the daemon stops.
type job struct {
	send func(context.Context)
	due  time.Time
}

func newEventSink(config *rest.Config) (*eventSink, error) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	c, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the Events client: %w", err)
	}
	return &eventSink{
		events:   c.Events(""),
		warnings: make(chan job, eventQueue), normal: make(chan job, eventQueue),
		limit: rate.NewLimiter(eventRate, eventBurst),
	}, nil
}

var _ record.EventSink = (*eventSink)(nil)

// Create implements record.EventSink.
func (s *eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	s.enqueue(e, func(ctx context.Context) error {
		_, err := s.events.CreateWithEventNamespaceWithContext(ctx, e)
		return err
	})
	return e, nil
}

// Update implements record.EventSink.
func (s *eventSink) Update(e *corev1.Event) (*corev1.Event, error) { return s.Create(e) }

// Patch implements record.EventSink: one more of an Event that was sent before. If that has expired meanwhile, or never got through, it is
// sent anew.
func (s *eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	s.enqueue(e, func(ctx context.Context) error {
		_, err := s.events.PatchWithEventNamespaceWithContext(ctx, e, data)
		if apierrors.IsNotFound(err) {
			anew := e.DeepCopy()
			anew.ResourceVersion = ""
			_, err = s.events.CreateWithEventNamespaceWithContext(ctx, anew)
		}
		return err
	})
	return e, nil
}

func (s *eventSink) enqueue(e *corev1.Event, send func(context.Context) error) {
	queue, due := s.normal, time.Now().Add(eventPause)
	if e.Type == corev1.EventTypeWarning {
		queue, due = s.warnings, time.Time{}
	}
	attempt := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, sendTime)
		defer cancel()
		if err := send(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Info("sending an Event failed", "object", e.InvolvedObject.Namespace+"/"+e.InvolvedObject.Name,
				"reason", e.Reason, "message", e.Message, "error", err.Error())
		}
	}
	select {
	case queue <- job{send: attempt, due: due}:
	default:
		eventsDropped.WithLabelValues(e.Type).Inc()
	}
}

// flushTime bounds how long a daemon that stops goes on telling what it did.
const flushTime = 3 * time.Second

// Start sends until ctx ends, and then, without a pause, what is still waiting.
func (s *eventSink) Start(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { drain(ctx, s.warnings, nil) })
	wg.Go(func() { drain(ctx, s.normal, s.limit) })
	wg.Wait()
	return nil
}

func drain(ctx context.Context, queue <-chan job, limit *rate.Limiter) {
	for {
		select {
		case <-ctx.Done():
			flush(ctx, queue)
			return
		case next := <-queue:
			if !next.wait(ctx, limit) {
				flush(ctx, queue, next)
				return
			}
			next.send(ctx)
		}
	}
}

// wait returns when an Event is due and the limit lets it through, or false when ctx ends before.
func (j job) wait(ctx context.Context, limit *rate.Limiter) bool {
	if early := time.Until(j.due); early > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(early):
		}
	}
	return limit == nil || limit.Wait(ctx) == nil
}

// flush sends what waits although ctx has ended.
func flush(ctx context.Context, queue <-chan job, first ...job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	for _, next := range first {
		next.send(ctx)
	}
	for ctx.Err() == nil {
		select {
		case next := <-queue:
			next.send(ctx)
		default:
			return
		}
	}
}
