package reflector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// plural is how Writes names a kind.
func plural(kind string) string {
	return map[string]string{KindSecret: "secrets", KindConfigMap: "configmaps"}[kind]
}

func TestWritesPerFlow(t *testing.T) {
	stop := start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		var away []string
		for range 5 {
			away = append(away, testenv.Namespace(t, nil))
		}
		source := build(kind, home, "shared", annotated(away...), map[string]string{"a": "1"})
		for _, step := range []struct {
			name string
			do   func()
			want map[string]int
		}{
			{"first copy", func() { create(t, source) }, map[string]int{"create " + plural(kind): 5}},
			{"update", func() { edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) }) }, map[string]int{"update " + plural(kind): 5}},
			{"the source's metadata only", func() { annotate(t, source, "touched", "yes") }, map[string]int{}},
			{"a mirror's metadata only", func() { annotate(t, fetch(t, source, away[0]), "touched", "yes") }, map[string]int{}},
			{"update, one mirror being somebody else's too", func() { edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "3"}) }) },
				map[string]int{"update " + plural(kind): 4, "patch " + plural(kind): 1}},
			{"narrowing", func() { annotate(t, source, annotationAutoNames, away[0]) }, map[string]int{"delete " + plural(kind): 4}},
			{"removal", func() { remove(t, source) }, map[string]int{"delete " + plural(kind): 1}},
		} {
			if diff := cmp.Diff(step.want, spent(t, step.do)); diff != "" {
				t.Errorf("writes of %s (-want +got):\n%s", step.name, diff)
			}
		}
	})
	stop()
}

func TestRestartWritesNothing(t *testing.T) {
	stop := start(t)
	sources := map[string]client.Object{}
	away, pull := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	for _, kind := range kinds {
		home := testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", annotated(away, pull), map[string]string{"a": "1"}))
		create(t, build(kind, pull, "direct", reflecting(source), map[string]string{"a": "1", "placeholder": "x"}))
		eventuallyHolds(t, source, away, map[string]string{"a": "1"})
		eventuallyHolds(t, build(kind, "", "direct", nil, nil), pull, map[string]string{"a": "1"})
		sources[kind] = source
	}
	settled(t)
	stop()
	before := testenv.Writes(t)
	for _, source := range sources {
		annotate(t, source, "touched", "while down") // a version that no mirror knows
	}
	stop = start(t)
	got := spent(t, func() {})
	after := testenv.Writes(t)
	if len(got) > 0 {
		t.Errorf("writes after the restart: %v", got)
	}
	for _, verb := range []string{"patch secrets", "patch configmaps", "update secrets", "update configmaps"} {
		if after[verb] != before[verb] {
			t.Errorf("%s: %d before, %d after the restart", verb, before[verb], after[verb])
		}
	}
	stop()

	// What happens while the daemon is down is made good when it is back.
	for _, source := range sources {
		remove(t, fetch(t, source, pull))
	}
	edit(t, sources[KindSecret], func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
	remove(t, sources[KindConfigMap])
	start(t)
	eventuallyHolds(t, sources[KindSecret], away, map[string]string{"a": "2"})
	eventuallyHolds(t, sources[KindSecret], pull, map[string]string{"a": "2"})
	eventuallyHolds(t, sources[KindConfigMap], away, nil)
}

func TestDriftIsHealed(t *testing.T) {
	stop := start(t)
	forKinds(t, func(t *testing.T, kind string) {
		home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		want := map[string]string{"a": "1", "b": "2"}
		source := create(t, build(kind, home, "shared", annotated(away), want))
		for _, tc := range []struct {
			reason string
			data   map[string]string
		}{
			{"a value is changed", map[string]string{"a": "x", "b": "2"}},
			{"a key is added", map[string]string{"a": "1", "b": "2", "c": "3"}},
			{"a key is removed", map[string]string{"a": "1"}},
			{"all is removed", nil},
		} {
			eventuallyHolds(t, source, away, want)
			edit(t, fetch(t, source, away), func(o client.Object) { setData(o, tc.data) })
			eventuallyHolds(t, source, away, want)
		}
	})
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	source := create(t, build(KindSecret, home, "shared", annotated(away), map[string]string{"a": "1"}))
	eventuallyHolds(t, source, away, map[string]string{"a": "1"})
	stop() // drift while the daemon is down
	edit(t, fetch(t, source, away), func(o client.Object) { setData(o, map[string]string{"a": "x"}) })
	start(t)
	eventuallyHolds(t, source, away, map[string]string{"a": "1"})
}

// A mirror as emberstack's Reflector leaves it: no hash, and fields that are not ours.
func leftBehind(t *testing.T, source client.Object, namespace, version string, data map[string]string) client.Object {
	t.Helper()
	return create(t, build(source.GetObjectKind().GroupVersionKind().Kind, namespace, source.GetName(), reflecting(source,
		annotationAutoReflects, "True", annotationReflectedVersion, version,
		annotationReflectedAt, `"2024-05-06T07:08:09.1234567Z"`), data))
}

func TestTakeover(t *testing.T) {
	forKinds(t, func(t *testing.T, kind string) {
		home := testenv.Namespace(t, nil)
		current, behind, wrong, dropped := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
		source := create(t, build(kind, home, "shared", annotated(current, behind, wrong), map[string]string{"a": "1", "b": "2"}))
		source.GetObjectKind().SetGroupVersionKind(source.GetObjectKind().GroupVersionKind().GroupVersion().WithKind(kind))
		leftBehind(t, source, current, source.GetResourceVersion(), map[string]string{"a": "1", "b": "2"})
		leftBehind(t, source, behind, "1", map[string]string{"a": "1", "b": "2"})
		leftBehind(t, source, wrong, `"1"`, map[string]string{"a": "old", "b": "2", "c": "3"})
		leftBehind(t, source, dropped, "1", map[string]string{"a": "1"})

		before := testenv.Writes(t)
		stop := start(t)
		eventuallyHolds(t, source, wrong, map[string]string{"a": "1", "b": "2"})
		eventuallyHolds(t, source, dropped, nil)
		settled(t)
		if got := testenv.Writes(t)["patch "+plural(kind)] - before["patch "+plural(kind)]; got != 1 {
			t.Errorf("%d mirrors were rewritten, want the one that differed", got)
		}
		if _, ours := fetch(t, source, current).GetAnnotations()[AnnotationHash]; ours {
			t.Error("a mirror that was up to date was written")
		}
		// Key b of the rewritten one still belongs to its first author. That is no reason to write it ever again.
		stop()
		restarted := start(t)
		if got := spent(t, func() {}); len(got) > 0 {
			t.Errorf("writes after a restart: %v", got)
		}
		edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "3"}) })
		for _, ns := range []string{current, behind, wrong} {
			eventuallyHolds(t, source, ns, map[string]string{"a": "3"})
		}
		restarted()
	})
}

var errInjected = errors.New("injected")

// failing returns hooks that make the n-th write fail, once: before it reaches the API server or after.
func failing(n int64, after bool) (interceptor.Funcs, *atomic.Int64) {
	var writes atomic.Int64
	do := func(send func() error) error {
		if writes.Add(1) != n {
			return send()
		}
		if after {
			if err := send(); err != nil {
				return fmt.Errorf("%w, and so was: %w", errInjected, err)
			}
		}
		return errInjected
	}
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return do(func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return do(func() error { return c.Update(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return do(func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return do(func() error { return c.Delete(ctx, obj, opts...) })
		},
	}, &writes
}

func TestEveryWriteFailsOnce(t *testing.T) {
	// 2 creates, 2 updates, an update that is refused with a delete and a create in its place beside one that is not, 2 deletes;
	// and the direct mirror's 3 patches.
	const flow = 2 + 2 + 4 + 2 + 3
	for n := int64(1); n <= flow; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, applied %t", n, after), func(t *testing.T) {
				hooks, writes := failing(n, after)
				stop := start(t, func(r *Reconciler) {
					if r.Kind == KindSecret {
						faulty(hooks)(r)
					}
				})
				defer stop()
				home, one, two := testenv.Namespace(t, nil), testenv.Namespace(t, nil), testenv.Namespace(t, nil)
				a := with(annotated(one, two, home), annotationAutoNames, one+","+two)
				source := create(t, build(KindSecret, home, "shared", a, map[string]string{"username": "1"}))
				direct := create(t, build(KindSecret, home, "direct", reflecting(source), nil))
				eventuallyHolds(t, source, one, map[string]string{"username": "1"})
				eventuallyHolds(t, source, two, map[string]string{"username": "1"})
				eventuallyHolds(t, direct, home, map[string]string{"username": "1"})
				edit(t, source, func(o client.Object) { setData(o, map[string]string{"username": "2"}) })
				eventuallyHolds(t, source, one, map[string]string{"username": "2"})
				eventuallyHolds(t, source, two, map[string]string{"username": "2"})
				eventuallyHolds(t, direct, home, map[string]string{"username": "2"})
				edit(t, fetch(t, source, one), makeImmutable)
				edit(t, source, func(o client.Object) { setData(o, map[string]string{"username": "3"}) })
				eventuallyHolds(t, source, one, map[string]string{"username": "3"})
				eventuallyHolds(t, source, two, map[string]string{"username": "3"})
				eventuallyHolds(t, direct, home, map[string]string{"username": "3"})
				remove(t, source)
				eventuallyHolds(t, source, one, nil)
				eventuallyHolds(t, source, two, nil)
				stays(t, direct, home, map[string]string{"username": "3"})
				if writes.Load() < flow {
					t.Errorf("the flow made %d writes; the sweep misses none only if that is %d", writes.Load(), flow)
				}
			})
		}
	}
}

// A source that the cache still shows, or shows no more, is believed only after a live read.
func TestStaleCacheDeletesNothing(t *testing.T) {
	home, away := testenv.Namespace(t, nil), testenv.Namespace(t, nil)
	source := create(t, build(KindSecret, home, "shared", annotated(away), map[string]string{"a": "1"}))
	key := client.ObjectKeyFromObject(source)
	var blind atomic.Bool
	start(t, func(r *Reconciler) {
		if r.Kind == KindSecret {
			r.Cache = blindReader{r.Cache, key, &blind}
		}
	})
	eventuallyHolds(t, source, away, map[string]string{"a": "1"})
	blind.Store(true)
	before := testenv.Writes(t)["delete secrets"]
	annotate(t, fetch(t, source, away), "touched", "yes") // wakes the source, which the cache no longer shows
	edit(t, source, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
	eventuallyHolds(t, source, away, map[string]string{"a": "2"})
	if got := testenv.Writes(t)["delete secrets"]; got != before {
		t.Errorf("%d deletes", got-before)
	}
}

// blindReader does not find one object.
type blindReader struct {
	client.Reader
	key   client.ObjectKey
	blind *atomic.Bool
}

func (b blindReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if b.blind.Load() && key == b.key {
		return notFound(key)
	}
	return b.Reader.Get(ctx, key, obj, opts...)
}

// Whatever has changed since the plan was made stops its write.
func TestPreconditions(t *testing.T) {
	c, err := client.New(testenv.DaemonConfig(), client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	forKinds(t, func(t *testing.T, kind string) {
		away := testenv.Namespace(t, nil)
		there := create(t, build(kind, away, "s", map[string]string{annotationReflects: home.String(), annotationAutoReflects: "True"}, map[string]string{"a": "1"}))
		planned := objectOf(there)
		edit(t, there, func(o client.Object) { setData(o, map[string]string{"a": "2"}) })
		replaced := planned
		replaced.Version, replaced.UID = there.GetResourceVersion(), "another"
		direct, whole := planned, planned
		direct.Auto, whole.Sole = false, true

		w := &writer{r: &Reconciler{Kind: kind, Client: c}, data: payload{kind: kind, typ: "Opaque"}, state: State{Key: home, Source: pushing()}}
		w.patch = w.data.operations
		for reason, a := range map[string]Action{
			"a create where something is":       Create{away},
			"an update of another version":      Update{Mirror: whole},
			"a patch of another version":        Update{Mirror: planned},
			"a direct mirror's":                 Update{Mirror: direct},
			"a comparison with another version": Update{Mirror: planned, Compare: true},
			"the removal of another version":    Delete{planned},
			"the removal of another object":     Delete{replaced},
		} {
			if res := w.do(ctx, a); !lostRace(res.Err) || res.Wrote {
				t.Errorf("%s: %+v", reason, res)
			}
		}
		stays(t, there, away, map[string]string{"a": "2"})
		if got := w.do(ctx, Create{"no-such-namespace"}); !got.Void || got.Err != nil {
			t.Errorf("a create in no namespace: %+v", got)
		}
	})
}
