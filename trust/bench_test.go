package trust

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/trustglass/trustglass/e2e/testenv"
)

const benchBundles, benchNamespaces = 5, 500

// BenchmarkTargets measures 5 Bundles into 500 namespaces against as many ConfigMaps created by a plain client with 32
// requests under way. Each round measures both; the medians count. Use -benchtime 5x.
func BenchmarkTargets(b *testing.B) {
	label := map[string]string{"bench": "trust"}
	var namespaces []string
	for range benchNamespaces {
		namespaces = append(namespaces, testenv.Namespace(b, label))
	}
	text := joined(testCert(b, "a", nil), testCert(b, "b", nil))
	testenv.Manager(b, func(mgr ctrl.Manager) error {
		return (&Reconciler{Client: mgr.GetClient(), Cache: mgr.GetCache()}).Setup(mgr)
	})
	measureBundles(b, "warm", text, map[string]string{"bench": "none"})
	var raw, ours, ratio []float64
	for round := range b.N {
		name := fmt.Sprintf("bench-%d-%d", b.N, round)
		raw = append(raw, measureCreates(b, name+"-raw", text, namespaces))
		ours = append(ours, measureBundles(b, name, text, label))
		ratio = append(ratio, ours[round]/raw[round])
	}
	median := func(list []float64) float64 {
		slices.Sort(list)
		return list[len(list)/2]
	}
	b.ReportMetric(median(raw), "creates/s")
	b.ReportMetric(median(ours), "targets/s")
	b.ReportMetric(median(ratio), "ratio")
}

func measureCreates(b *testing.B, name, text string, namespaces []string) (perSecond float64) {
	began := time.Now()
	var wg sync.WaitGroup
	work := make(chan *corev1.ConfigMap)
	for range 32 {
		wg.Go(func() {
			for obj := range work {
				if err := testenv.Admin().Create(context.Background(), obj); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range benchBundles {
		for _, ns := range namespaces {
			work <- &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s-%d", name, i)}, Data: map[string]string{"ca.crt": text}}
		}
	}
	close(work)
	wg.Wait()
	return benchBundles * benchNamespaces / time.Since(began).Seconds()
}

func measureBundles(b *testing.B, name, text string, label map[string]string) (perSecond float64) {
	ctx, c, began := context.Background(), testenv.Admin(), time.Now()
	var made []client.Object
	for i := range benchBundles {
		made = append(made, &trustapi.Bundle{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i)}, Spec: trustapi.BundleSpec{
			Sources: []trustapi.BundleSource{{InLine: text}},
			Target:  trustapi.BundleTarget{ConfigMap: &trustapi.TargetTemplate{Key: "ca.crt"}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: label}},
		}})
		if err := c.Create(ctx, made[i]); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := c.Delete(ctx, made[i]); err != nil {
				b.Error(err)
			}
		})
	}
	for _, obj := range made {
		testenv.Eventually(b, "a Bundle to be synced", func() error {
			var have trustapi.Bundle
			if err := c.Get(ctx, client.ObjectKeyFromObject(obj), &have); err != nil || len(have.Status.Conditions) == 0 || have.Status.Conditions[0].Reason != reasonSynced {
				return fmt.Errorf("%v %v", have.Status, err)
			}
			return nil
		})
	}
	return benchBundles * benchNamespaces / time.Since(began).Seconds()
}
