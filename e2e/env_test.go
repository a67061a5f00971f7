// Package e2e tests the whole daemon, as a process with its shipped rights, against a real API server.
package e2e

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"

	"github.com/trustglass/trustglass/e2e/testenv"
)

//go:embed testdata/*.yaml
var testdata embed.FS

func TestMain(m *testing.M) { testenv.Main(m) }

var ctx = context.Background()

// startDaemon runs the daemon until the test ends.
func startDaemon(t *testing.T, args ...string) *testenv.DaemonProcess {
	t.Helper()
	dir := t.TempDir()
	binary, err := testenv.BuildDaemon(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := testenv.StartDaemon(ctx, binary, dir, testenv.AdminConfig(), append([]string{"--lease-duration=6s"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-d.Done():
		default:
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			log, _ := os.ReadFile(d.Log)
			t.Logf("the daemon's log:\n%s", log)
		}
	})
	return d
}

// apply creates the objects of a file of testdata, changed by edits, and deletes them when the test ends.
func apply(t *testing.T, file string, edits ...func(*unstructured.Unstructured)) {
	t.Helper()
	raw, err := testdata.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	docs := yaml.NewYAMLToJSONDecoder(bytes.NewReader(raw))
	for {
		u := &unstructured.Unstructured{}
		if err := docs.Decode(u); err != nil {
			return
		}
		if len(u.Object) == 0 {
			continue
		}
		for _, edit := range edits {
			edit(u)
		}
		create(t, u)
	}
}

// create creates an object and deletes it when the test ends.
func create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := testenv.Admin().Create(ctx, obj); err != nil {
		t.Fatalf("creating %T %s: %v", obj, obj.GetName(), err)
	}
	t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting %T %s: %v", obj, obj.GetName(), err)
		}
	})
}

// namespace creates a namespace of a given name, or waits until a former one of that name is gone.
func namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	ns := &corev1.Namespace{}
	testenv.Eventually(t, "namespace "+name+" to be free", func() error {
		ns = &corev1.Namespace{}
		ns.Name, ns.Labels = name, labels
		return testenv.Admin().Create(ctx, ns)
	})
	t.Cleanup(func() {
		if err := testenv.Admin().Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
			t.Errorf("deleting namespace %s: %v", name, err)
		}
	})
}

func get[T client.Object](namespace, name string, obj T) (T, error) {
	return obj, testenv.Admin().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, obj)
}

// waitReady waits for a Certificate to be Ready and returns it.
func waitReady(t *testing.T, namespace, name string) *cmapi.Certificate {
	t.Helper()
	var cert *cmapi.Certificate
	testenv.Eventually(t, "Certificate "+namespace+"/"+name+" to be Ready", func() (err error) {
		if cert, err = get(namespace, name, &cmapi.Certificate{}); err != nil {
			return err
		}
		for _, c := range cert.Status.Conditions {
			if c.Type == cmapi.CertificateConditionReady && c.Status == cmmeta.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("conditions: %+v", cert.Status.Conditions)
	})
	return cert
}

func secret(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	s, err := get(namespace, name, &corev1.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func absent(obj client.Object, namespace, name string) error {
	_, err := get(namespace, name, obj)
	if err == nil {
		return fmt.Errorf("%T %s/%s exists", obj, namespace, name)
	}
	return client.IgnoreNotFound(err)
}

// waitEvent waits for an Event on an object whose reason and message contain the given texts.
func waitEvent(t *testing.T, namespace, name, reason, message string) {
	t.Helper()
	if namespace == "" {
		namespace = "default"
	}
	testenv.Eventually(t, fmt.Sprintf("an Event %s on %s saying %q", reason, name, message), func() error {
		var events corev1.EventList
		if err := testenv.Admin().List(ctx, &events, client.InNamespace(namespace)); err != nil {
			return err
		}
		var seen []string
		for _, e := range events.Items {
			if e.InvolvedObject.Name != name {
				continue
			}
			if e.Reason == reason && strings.Contains(e.Message, message) {
				return nil
			}
			seen = append(seen, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("there are %q", seen)
	})
}

// settle waits until nothing of versions has changed for a second and a half, and returns it.
func settle(t *testing.T, namespace string) map[string]string {
	t.Helper()
	last, since := versions(t, namespace), time.Now()
	testenv.Eventually(t, "the objects to come to rest", func() error {
		if now := versions(t, namespace); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if rest := time.Since(since); rest < 1500*time.Millisecond {
			return fmt.Errorf("the last change was %s ago", rest)
		}
		return nil
	})
	return last
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func objectsOf(list client.ObjectList) ([]client.Object, error) {
	raw, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for _, o := range raw {
		out = append(out, o.(client.Object))
	}
	return out, nil
}
