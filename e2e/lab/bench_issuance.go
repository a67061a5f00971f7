package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

const (
	benchCertificates = 2000
	benchWorkers      = 16 // the daemon's default, and the floor's
	benchIdle         = 20
	benchForeign      = 5000
	benchForeignBytes = 100_000
)

// benchIssuance lets the daemon work off 2,000 Certificates that are there when it starts, as those of the floor are, looks at
// memory and restarts, and measures the floor: the same four writes by a plain client with no controller running.
func benchIssuance(ctx context.Context, l *lab) ([]figure, error) {
	namespaces, watcher, err := l.prepareIssuance(ctx)
	if err != nil {
		return nil, err
	}
	defer watcher.stop()
	if err := l.stop(); err != nil {
		return nil, err
	}
	keys, err := l.makeCertificates(ctx, namespaces, benchCertificates, nil)
	if err != nil {
		return nil, err
	}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	spent, cpu, err := l.workOff(ctx, watcher, keys)
	if err != nil {
		return nil, err
	}
	memory, err := l.benchMemory(ctx)
	if err != nil {
		return nil, err
	}
	floor, err := l.issueFloor(ctx, namespaces)
	if err != nil {
		return nil, err
	}
	first, last := watcher.span(keys)
	return append([]figure{
		against("issuance rate", benchCertificates/last.Sub(first).Seconds(), floor.rate, "certificates/s"),
		{Name: "writes per issuance", Value: spent.total / benchCertificates, Unit: "writes"},
		{Name: "writes answered 409", Value: 100 * spent.conflicts / spent.total, Unit: "%"},
		{Name: "processor time of the daemon per issuance", Value: cpu.Seconds() * 1000 / benchCertificates, Unit: "ms"},
	}, memory...), nil
}

// benchBurst creates 2,000 Certificates as fast as the API server takes them while the daemon issues, and, before that, one at
// a time.
func benchBurst(ctx context.Context, l *lab) ([]figure, error) {
	namespaces, watcher, err := l.prepareIssuance(ctx)
	if err != nil {
		return nil, err
	}
	defer watcher.stop()
	// New namespaces get their first objects from kube-controller-manager: until then the cluster is not idle.
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	idle, err := l.issueIdle(ctx, watcher, namespaces[0])
	if err != nil {
		return nil, err
	}
	rate, times, err := l.issueMany(ctx, watcher, namespaces)
	if err != nil {
		return nil, err
	}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	floor, err := l.issueFloor(ctx, namespaces)
	if err != nil {
		return nil, err
	}
	return []figure{
		against("issuance, idle, p50", percentile(idle, 50), floor.idle, "ms"),
		against("issuance rate with the creates of a burst", rate, floor.rate, "certificates/s"),
		{Name: "issuance, burst, p50", Value: percentile(times, 50), Unit: "ms"},
		{Name: "issuance, burst, p95", Value: percentile(times, 95), Unit: "ms"},
		{Name: "issuance, burst, p99", Value: percentile(times, 99), Unit: "ms"},
	}, nil
}

// prepareIssuance starts the daemon and makes a CA, ten namespaces and somebody who watches.
func (l *lab) prepareIssuance(ctx context.Context) ([]string, *readyWatcher, error) {
	if err := l.start(ctx); err != nil {
		return nil, nil, err
	}
	if err := l.makeCA(ctx); err != nil {
		return nil, nil, err
	}
	namespaces, err := l.makeNamespaces(ctx, "load", 10, nil)
	if err != nil {
		return nil, nil, err
	}
	watcher, err := watchReady(ctx, l)
	return namespaces, watcher, err
}

// workOff starts the daemon and waits until all Certificates are Ready; it returns what that took in writes and processor time.
func (l *lab) workOff(ctx context.Context, w *readyWatcher, keys []string) (spent writeCounts, cpu time.Duration, err error) {
	before, err := l.writes(ctx)
	if err != nil {
		return spent, 0, err
	}
	if err := l.start(ctx); err != nil {
		return spent, 0, err
	}
	if _, err := w.wait(ctx, keys, 10*time.Minute); err != nil {
		return spent, 0, err
	}
	if cpu, err = l.daemon.CPU(); err != nil {
		return spent, 0, err
	}
	if err := l.settle(ctx); err != nil {
		return spent, 0, err
	}
	after, err := l.writes(ctx)
	return after.minus(before), cpu, err
}

// makeCA makes a root and a ClusterIssuer that signs with it.
func (l *lab) makeCA(ctx context.Context) error {
	ecdsa := map[string]any{"algorithm": "ECDSA", "size": int64(256)}
	selfsigned := object("ClusterIssuer", "cert-manager.io/v1", map[string]any{"spec": map[string]any{"selfSigned": map[string]any{}}})
	selfsigned.SetName("selfsigned")
	root := object("Certificate", "cert-manager.io/v1", map[string]any{"spec": map[string]any{
		"isCA": true, "commonName": "root", "secretName": "root", "privateKey": ecdsa,
		"issuerRef": map[string]any{"name": "selfsigned", "kind": "ClusterIssuer"},
	}})
	root.SetName("root")
	root.SetNamespace(testenv.DaemonNamespace)
	ca := object("ClusterIssuer", "cert-manager.io/v1", map[string]any{"spec": map[string]any{"ca": map[string]any{"secretName": "root"}}})
	ca.SetName("ca")
	for _, u := range []client.Object{selfsigned, root, ca} {
		if err := l.admin.Create(ctx, u); err != nil {
			return fmt.Errorf("creating %s: %w", u.GetName(), err)
		}
	}
	return eventually(ctx, 20*time.Second, func() error {
		issuer := &cmapi.ClusterIssuer{}
		if err := l.admin.Get(ctx, client.ObjectKey{Name: "ca"}, issuer); err != nil {
			return err
		}
		for _, c := range issuer.Status.Conditions {
			if c.Status == cmmeta.ConditionTrue {
				return nil
			}
		}
		return errors.New("ClusterIssuer ca is not Ready")
	})
}

func benchCertificate(namespace, name string) *cmapi.Certificate {
	return &cmapi.Certificate{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: cmapi.CertificateSpec{
			SecretName: name + "-tls", DNSNames: []string{name + "." + namespace + ".svc"},
			PrivateKey: &cmapi.CertificatePrivateKey{Algorithm: cmapi.ECDSAKeyAlgorithm, Size: 256},
			IssuerRef:  cmmeta.IssuerReference{Name: "ca", Kind: cmapi.ClusterIssuerKind, Group: "cert-manager.io"},
		},
	}
}

// makeCertificates creates n Certificates, spread over namespaces and changed as a benchmark wants them, and returns their keys.
func (l *lab) makeCertificates(ctx context.Context, namespaces []string, n int, change func(*cmapi.Certificate)) ([]string, error) {
	keys := make([]string, n)
	err := parallel(ctx, n, benchWorkers, func(ctx context.Context, i int) error {
		c := benchCertificate(namespaces[i%len(namespaces)], fmt.Sprintf("c-%05d", i))
		if change != nil {
			change(c)
		}
		keys[i] = c.Namespace + "/" + c.Name
		return l.admin.Create(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("creating Certificates: %w", err)
	}
	return keys, nil
}

// readyWatcher notes when each Certificate becomes Ready, by the clock of whoever watches.
type readyWatcher struct {
	c    client.WithWatch
	stop context.CancelFunc
	mu   sync.Mutex
	at   map[string]time.Time // guarded by mu
	news chan struct{}
}

func watchReady(ctx context.Context, l *lab) (*readyWatcher, error) {
	c, err := client.NewWithWatch(l.plane.Admin, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("building a client: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	r := &readyWatcher{c: c, stop: stop, at: map[string]time.Time{}, news: make(chan struct{}, 1)}
	w, err := r.open(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	go r.follow(ctx, w)
	return r, nil
}

// open looks at all Certificates and watches from there.
func (r *readyWatcher) open(ctx context.Context) (watch.Interface, error) {
	var list cmapi.CertificateList
	if err := r.c.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing Certificates: %w", err)
	}
	for i := range list.Items {
		r.look(&list.Items[i])
	}
	w, err := r.c.Watch(ctx, &cmapi.CertificateList{}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return nil, fmt.Errorf("watching Certificates: %w", err)
	}
	return w, nil
}

// follow notes what becomes Ready until ctx ends. The API server ends a watch that can't keep up: then it begins anew.
func (r *readyWatcher) follow(ctx context.Context, w watch.Interface) {
	for {
		for e := range w.ResultChan() {
			if cert, ok := e.Object.(*cmapi.Certificate); ok {
				r.look(cert)
			}
		}
		w.Stop()
		err := eventually(ctx, time.Minute, func() (err error) {
			w, err = r.open(ctx)
			return err
		})
		if err != nil {
			return // whoever waits says who is missing
		}
	}
}

func (r *readyWatcher) look(cert *cmapi.Certificate) {
	if !slices.ContainsFunc(cert.Status.Conditions, func(c cmapi.CertificateCondition) bool {
		return c.Type == cmapi.CertificateConditionReady && c.Status == cmmeta.ConditionTrue
	}) {
		return
	}
	r.mu.Lock()
	if key := cert.Namespace + "/" + cert.Name; r.at[key].IsZero() {
		r.at[key] = time.Now()
	}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// wait returns when n more than before are Ready; the time is when the last of the keys became so.
func (r *readyWatcher) wait(ctx context.Context, keys []string, limit time.Duration) (last time.Time, err error) {
	deadline := time.After(limit)
	for {
		missing := 0
		r.mu.Lock()
		for _, k := range keys {
			at := r.at[k]
			if at.IsZero() {
				missing++
			} else if at.After(last) {
				last = at
			}
		}
		r.mu.Unlock()
		if missing == 0 {
			return last, nil
		}
		select {
		case <-r.news:
		case <-ctx.Done():
			return last, ctx.Err()
		case <-deadline:
			return last, fmt.Errorf("%d of %d Certificates are not Ready after %s", missing, len(keys), limit)
		}
		if len(keys) > 100 { // looking at thousands of keys for each event would be a load of its own
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// span returns when the first and the last of the keys became Ready.
func (r *readyWatcher) span(keys []string) (first, last time.Time) {
	for _, k := range keys {
		at := r.when(k)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
	}
	return first, last
}

func (r *readyWatcher) when(key string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[key]
}

// issueIdle issues one Certificate after the other and returns the times from create to Ready in milliseconds.
func (l *lab) issueIdle(ctx context.Context, w *readyWatcher, namespace string) ([]float64, error) {
	var times []float64
	for i := range benchIdle {
		c := benchCertificate(namespace, fmt.Sprintf("idle-%02d", i))
		start := time.Now()
		if err := l.admin.Create(ctx, c); err != nil {
			return nil, fmt.Errorf("creating a Certificate: %w", err)
		}
		at, err := w.wait(ctx, []string{namespace + "/" + c.Name}, 20*time.Second)
		if err != nil {
			return nil, err
		}
		times = append(times, float64(at.Sub(start).Microseconds())/1000)
		time.Sleep(50 * time.Millisecond) // idle again
	}
	return times, nil
}

// issueMany creates all Certificates as fast as the API server takes them while the daemon issues. The rate counts from the
// first create to the last Ready; the times are each Certificate's own.
func (l *lab) issueMany(ctx context.Context, w *readyWatcher, namespaces []string) (rate float64, times []float64, err error) {
	keys, created := make([]string, benchCertificates), make([]time.Time, benchCertificates)
	start := time.Now()
	err = parallel(ctx, benchCertificates, benchWorkers, func(ctx context.Context, i int) error {
		c := benchCertificate(namespaces[i%len(namespaces)], fmt.Sprintf("c-%05d", i))
		keys[i], created[i] = c.Namespace+"/"+c.Name, time.Now()
		return l.admin.Create(ctx, c)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("creating Certificates: %w", err)
	}
	last, err := w.wait(ctx, keys, 10*time.Minute)
	if err != nil {
		return 0, nil, err
	}
	for i, k := range keys {
		times = append(times, float64(w.when(k).Sub(created[i]).Microseconds())/1000)
	}
	return benchCertificates / last.Sub(start).Seconds(), times, nil
}

func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// floor is what four writes cost: so many issuances a second, and so many milliseconds for one on an idle machine.
type floor struct{ rate, idle float64 }

// issueFloor repeats the daemon's four writes for as many Certificates, with the same objects, rights and concurrency, while no
// daemon runs. The Certificates themselves are there before the clock starts.
func (l *lab) issueFloor(ctx context.Context, namespaces []string) (f floor, err error) {
	if err := l.stop(); err != nil {
		return f, err
	}
	model, err := l.issuedModel(ctx, namespaces[0])
	if err != nil {
		return f, err
	}
	certs, plain, err := l.prepareFloor(ctx, "floor", len(namespaces), benchCertificates+benchIdle)
	if err != nil {
		return f, err
	}
	start := time.Now()
	err = parallel(ctx, benchCertificates, benchWorkers, func(ctx context.Context, i int) error { return model.write(ctx, plain, certs[i]) })
	f.rate = benchCertificates / time.Since(start).Seconds()
	if err != nil {
		return f, err
	}
	if err := l.settle(ctx); err != nil {
		return f, err
	}
	var times []float64
	for _, c := range certs[benchCertificates:] {
		start := time.Now()
		if err := model.write(ctx, plain, c); err != nil {
			return f, err
		}
		times = append(times, float64(time.Since(start).Microseconds())/1000)
		time.Sleep(50 * time.Millisecond)
	}
	f.idle = percentile(times, 50)
	return f, nil
}

// prepareFloor creates n Certificates that no daemon looks at, in namespaces that begin with prefix, and a client that may write what the daemon does.
func (l *lab) prepareFloor(ctx context.Context, prefix string, namespaces, n int) ([]*cmapi.Certificate, client.Client, error) {
	fresh, err := l.makeNamespaces(ctx, prefix, namespaces, nil)
	if err != nil {
		return nil, nil, err
	}
	certs := make([]*cmapi.Certificate, n)
	err = parallel(ctx, n, benchWorkers, func(ctx context.Context, i int) error {
		certs[i] = benchCertificate(fresh[i%len(fresh)], fmt.Sprintf("c-%05d", i))
		return l.admin.Create(ctx, certs[i])
	})
	if err != nil {
		return nil, nil, fmt.Errorf("creating the floor's Certificates: %w", err)
	}
	if err := l.settle(ctx); err != nil {
		return nil, nil, err
	}
	plain, err := l.plainClient(ctx)
	return certs, plain, err
}

// plainClient is a client without a controller around it, with the daemon's rights: the API server does the same to let it in.
func (l *lab) plainClient(ctx context.Context) (client.Client, error) {
	config, err := testenv.Daemon(ctx, l.plane.Admin)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("building a plain client: %w", err)
	}
	return c, nil
}

// issued is what the daemon wrote for one Certificate.
type issued struct {
	request *cmapi.CertificateRequest
	secret  *corev1.Secret
	status  cmapi.CertificateStatus
}

func (l *lab) issuedModel(ctx context.Context, namespace string) (*issued, error) {
	m := &issued{request: &cmapi.CertificateRequest{}, secret: &corev1.Secret{}}
	cert := &cmapi.Certificate{}
	for key, obj := range map[string]client.Object{"c-00000": cert, "c-00000-1": m.request, "c-00000-tls": m.secret} {
		if err := l.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: key}, obj); err != nil {
			return nil, fmt.Errorf("reading what the daemon wrote: %w", err)
		}
	}
	m.status = cert.Status
	return m, nil
}

// write makes the four writes of one issuance.
func (m *issued) write(ctx context.Context, c client.Client, cert *cmapi.Certificate) error {
	req := &cmapi.CertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cert.Namespace, Name: cert.Name + "-1", Annotations: m.request.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cert, cmapi.SchemeGroupVersion.WithKind("Certificate"))},
		},
		Spec: m.request.Spec,
	}
	if err := c.Create(ctx, req, client.FieldOwner("floor")); err != nil {
		return fmt.Errorf("creating a request: %w", err)
	}
	req.Status = m.request.Status
	if err := c.Status().Update(ctx, req, client.FieldOwner("floor")); err != nil {
		return fmt.Errorf("updating a request's status: %w", err)
	}
	secret := corev1ac.Secret(cert.Spec.SecretName, cert.Namespace).WithType(m.secret.Type).WithLabels(m.secret.Labels).
		WithAnnotations(m.secret.Annotations).WithData(m.secret.Data)
	if err := c.Apply(ctx, secret, client.FieldOwner("floor")); err != nil {
		return fmt.Errorf("applying a Secret: %w", err)
	}
	cert.Status = m.status
	if err := c.Status().Update(ctx, cert, client.FieldOwner("floor")); err != nil {
		return fmt.Errorf("updating a Certificate's status: %w", err)
	}
	return nil
}

// startUp is when the daemon has given back what filling its caches, or a burst, took.
const startUp = 20 * time.Second

// benchMemory measures the daemon with its Certificates, after a restart too, and what other people's Secrets add: between two
// such restarts, and while they appear.
func (l *lab) benchMemory(ctx context.Context) ([]figure, error) {
	if err := sleep(ctx, startUp); err != nil {
		return nil, err
	}
	rss, peak, err := l.daemon.RSS()
	if err != nil {
		return nil, err
	}
	spent, err := l.restart(ctx)
	if err != nil {
		return nil, err
	}
	base, _, err := l.daemon.RSS()
	if err != nil {
		return nil, err
	}
	if _, err := l.makeSecrets(ctx, 5, benchForeign, benchForeignBytes); err != nil {
		return nil, err
	}
	grown, _, err := l.daemon.RSS()
	if err != nil {
		return nil, err
	}
	more, err := l.restart(ctx)
	if err != nil {
		return nil, err
	}
	with, _, err := l.daemon.RSS()
	if err != nil {
		return nil, err
	}
	const mib = 1 << 20
	return []figure{
		{Name: "memory with 2,000 Certificates", Value: float64(max(rss, base)) / mib, Unit: "MiB"},
		{Name: "memory, most while issuing 2,000", Value: float64(peak) / mib, Unit: "MiB"},
		{Name: "memory for 5,000 Secrets of 100 KB of others", Value: float64(max(grown, with)-base) / mib, Unit: "MiB"},
		{Name: "writes after a restart", Value: spent.total + more.total, Unit: "writes"},
	}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// restart starts the daemon anew and returns what it wrote until it had looked at everything.
func (l *lab) restart(ctx context.Context) (writeCounts, error) {
	before, err := l.writes(ctx)
	if err != nil {
		return writeCounts{}, err
	}
	if err := l.stop(); err != nil {
		return writeCounts{}, err
	}
	if err := l.start(ctx); err != nil {
		return writeCounts{}, err
	}
	if err := l.reconciled(ctx); err != nil {
		return writeCounts{}, err
	}
	if err := sleep(ctx, startUp); err != nil {
		return writeCounts{}, err
	}
	after, err := l.writes(ctx)
	return after.minus(before), err
}

// metricsPause comes between two looks at the daemon's metrics: with 10,000 Certificates they are 70,000 lines.
const metricsPause = time.Second

// reconciled waits until the daemon's queues have had work and are empty for two seconds.
func (l *lab) reconciled(ctx context.Context) error {
	since, last := time.Now(), ""
	return eventuallyEvery(ctx, 2*time.Minute, metricsPause, func() error {
		text, err := testenv.Fetch(ctx, l.daemon.Metrics)
		if err != nil {
			return err
		}
		var done string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "controller_runtime_reconcile_total{") {
				done += line
			}
		}
		if done != last || !strings.Contains(done, `controller="certificates"`) {
			last, since = done, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return errors.New("the daemon is still at work")
		}
		return nil
	})
}

// makeSecrets creates n Secrets of so many bytes that concern the daemon in no way.
func (l *lab) makeSecrets(ctx context.Context, namespaces, n, bytes int) ([]types.NamespacedName, error) {
	in, err := l.makeNamespaces(ctx, "foreign", namespaces, nil)
	if err != nil {
		return nil, err
	}
	keys, payload := make([]types.NamespacedName, n), []byte(strings.Repeat("x", bytes))
	err = parallel(ctx, n, benchWorkers, func(ctx context.Context, i int) error {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: in[i%len(in)], Name: fmt.Sprintf("s-%05d", i),
			Labels: map[string]string{"app": "other"}, Annotations: map[string]string{"note": "of no concern"},
		}, Data: map[string][]byte{"payload": payload}}
		keys[i] = client.ObjectKeyFromObject(s)
		return l.admin.Create(ctx, s)
	})
	if err != nil {
		return nil, fmt.Errorf("creating other people's Secrets: %w", err)
	}
	return keys, l.settle(ctx)
}
