package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// newCache makes the caches: controller-runtime's, but for what tells the controllers of events. An informer keeps a queue for each
// handler, which grows to what a full list brings and never shrinks. Ten controllers follow Secrets; among 60,000 of those they would
// hold more memory in empty queues than in Certificates.
func newCache(config *rest.Config, opts cache.Options) (cache.Cache, error) {
	c, err := cache.New(config, opts)
	if err != nil {
		return nil, err
	}
	return &sharingCache{Cache: c, shared: map[toolscache.SharedIndexInformer]*fanOut{}}, nil
}

// sharingCache is a cache whose informers have one handler each, a fanOut.
type sharingCache struct {
	cache.Cache

	mu     sync.Mutex
	shared map[toolscache.SharedIndexInformer]*fanOut // guarded by mu
}

// GetInformer implements cache.Informers.
func (c *sharingCache) GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := c.Cache.GetInformer(ctx, obj, opts...)
	if err != nil {
		return nil, err
	}
	return c.share(informer)
}

// GetInformerForKind implements cache.Informers.
func (c *sharingCache) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := c.Cache.GetInformerForKind(ctx, gvk, opts...)
	if err != nil {
		return nil, err
	}
	return c.share(informer)
}

// share returns an informer's fanOut. One made of several, as for single namespaces, stays as it is.
func (c *sharingCache) share(informer cache.Informer) (cache.Informer, error) {
	whole, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return informer, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.shared[whole]; ok {
		return f, nil
	}
	f := &fanOut{SharedIndexInformer: whole}
	var err error
	if f.registration, err = whole.AddEventHandler(f); err != nil {
		return nil, fmt.Errorf("following an informer: %w", err)
	}
	c.shared[whole] = f
	return f, nil
}

// fanOut is an informer that passes each event on to all its handlers, one after the other. They only note what there is to do.
type fanOut struct {
	toolscache.SharedIndexInformer
	registration toolscache.ResourceEventHandlerRegistration

	mu       sync.Mutex
	handlers []*handlerOf // guarded by mu, which is held while they are called: what is there comes before what happens
}

// handlerOf is a handler's registration. It has synced when the fanOut has: what was there when it came it has been told at once.
type handlerOf struct {
	toolscache.ResourceEventHandlerRegistration
	toolscache.ResourceEventHandler
}

// AddEventHandlerWithOptions implements toolscache.SharedInformer. What is in the store is passed on before it returns.
func (f *fanOut) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, obj := range f.GetStore().List() {
		h.OnAdd(obj, true)
	}
	added := &handlerOf{f.registration, h}
	f.handlers = append(f.handlers, added)
	return added, nil
}

// AddEventHandler implements toolscache.SharedInformer.
func (f *fanOut) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return f.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod implements toolscache.SharedInformer. All handlers have the informer's own period.
func (f *fanOut) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return f.AddEventHandler(h)
}

// RemoveEventHandler implements toolscache.SharedInformer.
func (f *fanOut) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers = slices.DeleteFunc(f.handlers, func(h *handlerOf) bool { return toolscache.ResourceEventHandlerRegistration(h) == handle })
	return nil
}

// OnAdd implements toolscache.ResourceEventHandler.
func (f *fanOut) OnAdd(obj any, isInInitialList bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.handlers {
		h.OnAdd(obj, isInInitialList)
	}
}

// OnUpdate implements toolscache.ResourceEventHandler.
func (f *fanOut) OnUpdate(was, is any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.handlers {
		h.OnUpdate(was, is)
	}
}

// OnDelete implements toolscache.ResourceEventHandler.
func (f *fanOut) OnDelete(obj any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.handlers {
		h.OnDelete(obj)
	}
}
