package issuance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// secretAt answers every Get with one Secret and counts.
type secretAt struct {
	client.Reader
	version string
	reads   int
}

func (s *secretAt) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	s.reads++
	obj.SetNamespace(key.Namespace)
	obj.SetName(key.Name)
	obj.SetUID("the same")
	obj.SetResourceVersion(s.version)
	if secret, ok := obj.(*corev1.Secret); ok {
		secret.Data = map[string][]byte{"version": []byte(s.version)}
	}
	return nil
}

// One read serves a burst, for a moment and only while nothing newer is known; then the payload is gone from memory.
func TestPayloadIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live, cache := &secretAt{version: "7"}, &secretAt{version: "6"}
		s := &Secrets{Live: live, Cache: cache}
		read := func(want string, reads int) {
			t.Helper()
			data, err := s.Payload(t.Context(), keyOf("a", "ca"))
			if err != nil || string(data["version"]) != want || live.reads != reads {
				t.Fatalf("version %s after %d reads, %v; want %s after %d", data["version"], live.reads, err, want, reads)
			}
		}
		read("7", 1)
		read("7", 1) // the cache is behind
		cache.version, live.version = "8", "8"
		read("8", 2)
		read("8", 2)
		time.Sleep(lendFor + time.Millisecond)
		synctest.Wait()
		if len(s.lent) != 0 {
			t.Errorf("%d payloads are still in memory", len(s.lent))
		}
		read("8", 3)
	})
}
