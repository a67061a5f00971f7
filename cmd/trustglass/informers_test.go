package main

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	fakesource "k8s.io/client-go/tools/cache/testing"

	"github.com/trustglass/trustglass/e2e/testenv"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// told writes down what a handler is told.
type told struct {
	mu   sync.Mutex
	list []string
}

func (h *told) add(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, fmt.Sprintf(format, args...))
}

func (h *told) OnAdd(obj any, initial bool) {
	h.add("add %s %t", obj.(*corev1.Namespace).Name, initial)
}
func (h *told) OnUpdate(was, is any) {
	h.add("update %s %s", was.(*corev1.Namespace).Labels["v"], is.(*corev1.Namespace).Labels["v"])
}
func (h *told) OnDelete(obj any) { h.add("delete %s", obj.(*corev1.Namespace).Name) }

func (h *told) sorted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.list))
}

func eventuallyTold(t *testing.T, who string, h *told, want ...string) {
	t.Helper()
	testenv.Eventually(t, who, func() error {
		if diff := cmp.Diff(want, h.sorted()); diff != "" {
			return fmt.Errorf("-want +got\n%s", diff)
		}
		return nil
	})
}

// Handlers hear of everything that there is and that happens, whenever they come, until they go.
func TestFanOut(t *testing.T) {
	namespace := func(name, v string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"v": v}}}
	}
	from := fakesource.NewFakeControllerSource()
	from.Add(namespace("a", "1"))
	whole := toolscache.NewSharedIndexInformer(from, &corev1.Namespace{}, 0, toolscache.Indexers{})
	sharing := &sharingCache{shared: map[toolscache.SharedIndexInformer]*fanOut{}}
	informer := must(sharing.share(whole))
	if again := must(sharing.share(whole)); again != informer {
		t.Error("an informer has two fan-outs")
	}
	early, late, gone := &told{}, &told{}, &told{}
	registration := must(informer.AddEventHandler(early))
	if registration.HasSynced() {
		t.Error("a handler has synced before the informer runs")
	}
	leaves := must(informer.AddEventHandlerWithResyncPeriod(gone, time.Hour))
	stop := make(chan struct{})
	defer close(stop)
	go whole.Run(stop)
	eventuallyTold(t, "the early one", early, "add a true")
	testenv.Eventually(t, "the early one to have synced", func() error {
		if !registration.HasSynced() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if registration := must(informer.AddEventHandlerWithOptions(late, toolscache.HandlerOptions{})); !registration.HasSynced() {
		t.Error("what there is has not been passed on at once")
	}
	if diff := cmp.Diff([]string{"add a true"}, late.sorted()); diff != "" {
		t.Errorf("the late one: -want +got\n%s", diff)
	}
	if err := informer.RemoveEventHandler(leaves); err != nil {
		t.Fatal(err)
	}
	from.Add(namespace("b", "1"))
	from.Modify(namespace("b", "2"))
	from.Delete(namespace("a", "1"))
	for who, h := range map[string]*told{"the early one": early, "the late one": late} {
		eventuallyTold(t, who, h, "add a true", "add b false", "delete a", "update 1 2")
	}
	if diff := cmp.Diff([]string{"add a true"}, gone.sorted()); diff != "" {
		t.Errorf("one that went: -want +got\n%s", diff)
	}
}
