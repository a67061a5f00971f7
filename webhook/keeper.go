package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=trustglass-webhook,verbs=get;list;watch;patch

const (
	// ConfigurationName is the name of both webhook configurations.
	ConfigurationName = "trustglass-webhook"
	// ServiceName is the Service that they call, unless they call a URL.
	ServiceName = "trustglass-webhook"
	// FieldManager is who writes caBundle.
	FieldManager = "trustglass-webhook"

	kindMutating   = "MutatingWebhookConfiguration"
	kindValidating = "ValidatingWebhookConfiguration"
)

// settle is how long API servers may take to hear of a configuration's change.
const settle = 5 * time.Second

// recheck is how often the keeper looks without being told: a timer knows nothing of a clock that was set.
const recheck = 10 * time.Minute

// keeper keeps the CA, this replica's leaf, and the trust in both.
type keeper struct {
	client client.Client
	live   client.Reader
	config *rest.Config         // for watching
	secret types.NamespacedName // of the CA
	url    string               // see Options
	// names are those of the leaf. None: it is of the webhook, whose names and trust the configurations have.
	names     []string
	now       func() time.Time
	lifetimes Lifetimes
	recheck   time.Duration

	poke  chan struct{}
	state atomic.Pointer[serving]
	held  holdings // reconcile's alone
}

// serving is what the server answers with, and who has to trust it.
type serving struct {
	leaf    *tls.Certificate
	ca      *x509.Certificate // which signed it
	names   []string
	trusted [][]byte // the caBundles that must
}

// run keeps everything true until ctx ends. It is told of changes by watches, which it does not depend on.
func (k *keeper) run(ctx context.Context) error {
	if err := k.watch(ctx); err != nil {
		return err
	}
	const firstDelay, maxDelay = 200 * time.Millisecond, 30 * time.Second
	delay := firstDelay
	for {
		due, err := k.reconcile(ctx)
		wait := max(time.Second, min(due.Sub(k.now()), k.recheck))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) { // another replica was quicker
				log.FromContext(ctx).Error(err, "keeping a server's certificates", "secret", k.secret.String())
			}
			wait, delay = delay, min(2*delay, maxDelay)
		default:
			delay = firstDelay
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-k.poke:
			timer.Stop()
		}
	}
}

// reconcile observes, decides and applies once, and says when to look again. Where a write fails, it still serves a leaf of a CA that
// every configuration trusts, and renews it: whatever is in the way must not end what works.
func (k *keeper) reconcile(ctx context.Context) (due time.Time, err error) {
	s, err := k.observe(ctx)
	if err != nil {
		return due, err
	}
	aim(s.configs, k.url)
	what, due := decide(s, k.lifetimes)
	ca, failed := k.applyCA(ctx, s, what)
	switch {
	case failed == nil:
		s.ca = ca
	case s.ca == nil || s.ca.foreign:
		return due, failed // there is nothing to sign with; what is served goes on being served
	}
	if failed == nil && what != keep {
		_, due = decide(s, k.lifetimes)
	}
	k.held = k.held.update(s.ca.signers(), s.bundles(), s.now) // what is about to be healed was not trusted meanwhile
	if failed == nil || what != doubt {
		for i := range s.configs {
			failed = errors.Join(failed, k.inject(ctx, &s.configs[i], s.ca, s.now))
		}
		k.held = k.held.update(s.ca.signers(), s.bundles(), s.now)
	}
	leafDue, err := k.renewLeaf(ctx, s, failed)
	if err := errors.Join(failed, err); err != nil {
		return due, err
	}
	if leafDue.Before(due) {
		due = leafDue
	}
	return due, nil
}

// observe reads everything live: it is little, and a cache would show our own writes late.
func (k *keeper) observe(ctx context.Context) (*seen, error) {
	s := &seen{now: k.now()}
	var secret corev1.Secret
	err := k.live.Get(ctx, k.secret, &secret)
	switch {
	case err == nil:
		s.ca = parseAuthority(&secret)
	case !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading the CA's Secret %s: %w", k.secret, err)
	}
	if len(k.names) > 0 {
		if s.ca != nil {
			s.ca.adopt()
		}
		return s, nil
	}
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	for _, obj := range []client.Object{&validating, &mutating} {
		if err := k.live.Get(ctx, client.ObjectKey{Name: ConfigurationName}, obj); apierrors.IsNotFound(err) {
			continue // whoever installs none wants no webhook
		} else if err != nil {
			return nil, fmt.Errorf("reading %T %s: %w", obj, ConfigurationName, err)
		}
		s.configs = append(s.configs, configurationOf(obj))
	}
	return s, nil
}

func configurationOf(obj client.Object) configuration {
	c := configuration{version: obj.GetResourceVersion()}
	add := func(name string, to *admissionregistrationv1.WebhookClientConfig) {
		w := called{name: name, bundle: to.CABundle, service: to.Service != nil}
		if to.URL != nil {
			w.url = *to.URL
		}
		c.webhooks = append(c.webhooks, w)
	}
	switch o := obj.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		c.kind = kindValidating
		for i := range o.Webhooks {
			add(o.Webhooks[i].Name, &o.Webhooks[i].ClientConfig)
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		c.kind = kindMutating
		for i := range o.Webhooks {
			add(o.Webhooks[i].Name, &o.Webhooks[i].ClientConfig)
		}
	}
	return c
}

// renewLeaf serves the leaf that there is, or a new one where it has to be. failed is what went wrong before.
func (k *keeper) renewLeaf(ctx context.Context, s *seen, failed error) (due time.Time, err error) {
	next := &serving{names: k.names, trusted: s.bundles()}
	if len(next.names) == 0 {
		next.names = namesOf(k.secret.Namespace, s.configs)
	}
	var have *x509.Certificate
	old := k.state.Load()
	if old != nil {
		next.leaf, next.ca, have = old.leaf, old.ca, old.leaf.Leaf
	}
	pair, due := choose(s.ca, have, trustedEverywhere(next, s.now) == nil, k.held, s.now)
	if pair == nil && old == nil {
		return due, errors.New("there is no CA that every webhook configuration trusts: no certificate is served")
	}
	if pair != nil {
		var needed bool
		if needed, due = leafDue(have, pair.Certs[0], next.names, s.now); needed {
			if next.leaf, err = newLeaf(pair, next.names, s.now, k.lifetimes.Leaf); err != nil {
				return due, err
			}
			next.ca = pair.Certs[0]
			_, due = leafDue(next.leaf.Leaf, next.ca, next.names, s.now)
			log.FromContext(ctx).Info("serving a new certificate", "name", next.names[0], "notAfter", next.leaf.Leaf.NotAfter)
		}
	}
	if failed != nil && old != nil && trustedEverywhere(next, s.now) != nil {
		next.trusted = old.trusted // not to be ready any more would take away those who do trust it
	}
	k.state.Store(next)
	if len(k.names) == 0 {
		report(next, s.ca)
	}
	return due, nil
}

// certificate is a tls.Config.GetCertificate.
func (k *keeper) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if state := k.state.Load(); state != nil {
		return state.leaf, nil
	}
	return nil, errors.New("there is no certificate yet")
}

// watch pokes the keeper when somebody changes one of its objects. Only their metadata travels.
func (k *keeper) watch(ctx context.Context) error {
	only := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	c, err := cache.New(k.config, cache.Options{
		Scheme: k.client.Scheme(), Mapper: k.client.RESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{k.secret.Namespace: {FieldSelector: only(k.secret.Name)}}},
			&admissionregistrationv1.ValidatingWebhookConfiguration{}: {Field: only(ConfigurationName)},
			&admissionregistrationv1.MutatingWebhookConfiguration{}:   {Field: only(ConfigurationName)},
		},
	})
	if err != nil {
		return fmt.Errorf("building the cache for %s: %w", k.secret, err)
	}
	poke := func() {
		select {
		case k.poke <- struct{}{}:
		default: // it is going to look anyway
		}
	}
	kinds := map[string]string{"Secret": "v1"}
	if len(k.names) == 0 {
		kinds[kindValidating], kinds[kindMutating] = "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1"
	}
	for kind, version := range kinds {
		obj := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: kind, APIVersion: version}}
		informer, err := c.GetInformer(ctx, obj, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %s: %w", kind, err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { poke() }, UpdateFunc: func(any, any) { poke() }, DeleteFunc: func(any) { poke() },
		})
		if err != nil {
			return fmt.Errorf("watching %s: %w", kind, err)
		}
	}
	go func() {
		if err := c.Start(ctx); err != nil {
			log.FromContext(ctx).Error(err, "watching a server's CA; it goes on by looking now and then", "secret", k.secret.String())
		}
	}()
	return nil
}
