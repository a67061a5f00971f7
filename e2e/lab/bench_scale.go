package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

const (
	scaleCertificates = 10_000
	scaleForeign      = 50_000
	scaleRestarts     = 3
	rsaRounds         = 3 // in turns, since the speed of the machine changes by itself
	rsaCertificates   = 100
	rsaRaw            = 5 * time.Second
)

// benchScale fills a cluster with 10,000 Certificates and 50,000 Secrets of others and looks at memory, at restarts, and at what a
// change of every one of those Secrets costs.
func benchScale(ctx context.Context, l *lab) ([]figure, error) {
	namespaces, watcher, err := l.prepareIssuance(ctx)
	if err != nil {
		return nil, err
	}
	defer watcher.stop()
	keys, err := l.makeCertificates(ctx, namespaces, scaleCertificates, nil)
	if err != nil {
		return nil, err
	}
	if _, err := watcher.wait(ctx, keys, 20*time.Minute); err != nil {
		return nil, err
	}
	secrets, err := l.makeSecrets(ctx, 10, scaleForeign, 1000)
	if err != nil {
		return nil, err
	}
	before, err := l.writes(ctx)
	if err != nil {
		return nil, err
	}
	var firsts []float64
	for range scaleRestarts {
		first, err := l.restartUntilFirst(ctx)
		if err != nil {
			return nil, err
		}
		firsts = append(firsts, first.Seconds())
	}
	// After the first Certificate come the others, and only then is memory given back.
	if err := sleep(ctx, 3*startUp); err != nil {
		return nil, err
	}
	after, err := l.writes(ctx)
	if err != nil {
		return nil, err
	}
	rss, _, err := l.daemon.RSS()
	if err != nil {
		return nil, err
	}
	writes, reads, err := l.labelAll(ctx, secrets)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Name: "memory with 10,000 Certificates and 50,000 Secrets of others", Value: float64(rss) / (1 << 20), Unit: "MiB"},
		{Name: "first reconcile after a restart with those", Value: percentile(firsts, 50), Unit: "s"},
		{Name: "writes after a restart with those", Value: after.minus(before).total, Unit: "writes"},
		{Name: "writes for a label on each of those Secrets", Value: writes, Unit: "writes"},
		{Name: "live reads for a label on each of those Secrets", Value: reads, Unit: "reads"},
	}, nil
}

// restartUntilFirst starts the daemon anew and returns how long it took until a Certificate was reconciled: the daemon notes when, since
// asking it over and over what it has done would hold it up.
func (l *lab) restartUntilFirst(ctx context.Context) (first time.Duration, err error) {
	if err := l.stop(); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := l.start(ctx); err != nil {
		return 0, err
	}
	if err := l.reconciled(ctx); err != nil {
		return 0, err
	}
	text, err := testenv.Fetch(ctx, l.daemon.Metrics)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, `trustglass_first_reconcile_timestamp_seconds{controller="certificates"} `)
		if !ok {
			continue
		}
		at, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			return 0, fmt.Errorf("reading when the first reconcile was: %w", err)
		}
		return time.UnixMilli(int64(at * 1000)).Sub(start), nil
	}
	return 0, errors.New("the daemon does not say when its first reconcile was")
}

// labelAll changes a label of every Secret and returns the writes and the reads of Secrets that the daemon made because of it.
func (l *lab) labelAll(ctx context.Context, secrets []types.NamespacedName) (writes, reads float64, err error) {
	before, err := l.writes(ctx)
	if err != nil {
		return 0, 0, err
	}
	readsBefore, err := l.secretReads(ctx)
	if err != nil {
		return 0, 0, err
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"yes"}}}`))
	err = parallel(ctx, len(secrets), rawClients, func(ctx context.Context, i int) error {
		return l.admin.Patch(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: secrets[i].Namespace, Name: secrets[i].Name}}, patch)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("labelling other people's Secrets: %w", err)
	}
	if err := l.settle(ctx); err != nil {
		return 0, 0, err
	}
	after, err := l.writes(ctx)
	if err != nil {
		return 0, 0, err
	}
	readsAfter, err := l.secretReads(ctx)
	return after.minus(before).total - float64(len(secrets)), readsAfter - readsBefore, err
}

// secretReads counts the single reads and the lists of Secrets that the API server has answered.
func (l *lab) secretReads(ctx context.Context) (n float64, err error) {
	err = l.series(ctx, "apiserver_request_total", func(labels map[string]string, m *dto.Metric) {
		if labels["resource"] == "secrets" && (labels["verb"] == "GET" || labels["verb"] == "LIST") {
			n += m.GetCounter().GetValue()
		}
	})
	return n, err
}

// benchRSA issues Certificates with RSA keys, whose generation is most of the work, and compares with making such keys alone. The API
// server works on the same processors: how near to that anybody can get says a plain client, which makes keys and the four writes.
func benchRSA(ctx context.Context, l *lab) ([]figure, error) {
	_, watcher, err := l.prepareIssuance(ctx)
	if err != nil {
		return nil, err
	}
	defer watcher.stop()
	var raw, ours, plain float64 // seconds for one, summed up over the rounds
	for round := range rsaRounds {
		if err := l.stop(); err != nil {
			return nil, err
		}
		raw += 1 / rawKeyRate()
		rate, err := l.issueRSA(ctx, watcher, fmt.Sprintf("rsa-%d", round))
		if err != nil {
			return nil, err
		}
		ours += 1 / rate
		if rate, err = l.rsaFloor(ctx, round); err != nil {
			return nil, err
		}
		plain += 1 / rate
	}
	return []figure{
		against("issuance rate, RSA 2048", rsaRounds/ours, rsaRounds/raw, "certificates/s"),
		against("the same by a plain client with RSA keys", rsaRounds/plain, rsaRounds/raw, "certificates/s"),
	}, nil
}

// issueRSA makes Certificates while no daemon runs and returns how many a second it issues once it does.
func (l *lab) issueRSA(ctx context.Context, watcher *readyWatcher, prefix string) (float64, error) {
	namespaces, err := l.makeNamespaces(ctx, prefix, 10, nil)
	if err != nil {
		return 0, err
	}
	keys, err := l.makeCertificates(ctx, namespaces, rsaCertificates, func(c *cmapi.Certificate) {
		c.Spec.PrivateKey = &cmapi.CertificatePrivateKey{Algorithm: cmapi.RSAKeyAlgorithm, Size: 2048}
	})
	if err != nil {
		return 0, err
	}
	if err := l.settle(ctx); err != nil {
		return 0, err
	}
	if err := l.start(ctx); err != nil {
		return 0, err
	}
	if _, err := watcher.wait(ctx, keys, 10*time.Minute); err != nil {
		return 0, err
	}
	first, last := watcher.span(keys)
	return rsaCertificates / last.Sub(first).Seconds(), nil
}

// rsaFloor has a plain client make a key and the daemon's four writes for as many Certificates, and returns how many a second.
func (l *lab) rsaFloor(ctx context.Context, round int) (float64, error) {
	if err := l.stop(); err != nil {
		return 0, err
	}
	model, err := l.issuedModel(ctx, fmt.Sprintf("rsa-%d-000", round))
	if err != nil {
		return 0, err
	}
	certs, plain, err := l.prepareFloor(ctx, fmt.Sprintf("plain-%d", round), 10, rsaCertificates)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = parallel(ctx, rsaCertificates, benchWorkers, func(ctx context.Context, i int) error {
		if _, err := rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return fmt.Errorf("making a key: %w", err)
		}
		return model.write(ctx, plain, certs[i])
	})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	// The daemon of the next round would issue them once more: they are not what their Certificates ask for.
	err = parallel(ctx, len(certs), rawClients, func(ctx context.Context, i int) error { return l.admin.Delete(ctx, certs[i]) })
	if err != nil {
		return 0, fmt.Errorf("deleting the plain client's Certificates: %w", err)
	}
	return rsaCertificates / took.Seconds(), l.settle(ctx)
}

// rawKeyRate makes RSA keys on every processor for a while and returns how many a second that were.
func rawKeyRate() float64 {
	var made atomic.Int64
	start := time.Now()
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for time.Since(start) < rsaRaw {
				if _, err := rsa.GenerateKey(rand.Reader, 2048); err == nil {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(made.Load()) / time.Since(start).Seconds()
}
