package reflector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// errStale says that a mirror is not what the plan saw. The next plan sees it.
var errStale = errors.New("it has changed since it was looked at")

// result is what became of an action. A nil error without Wrote means that nothing had to be written.
type result struct {
	Action Action
	Wrote  bool
	// Void says that the target has gone, and its namespace with it.
	Void bool
	Err  error
}

// writer carries one plan out. It holds the payload; nothing else does.
type writer struct {
	r     *Reconciler
	state State
	data  payload
	patch func() ([]byte, error) // the operations that are the same for all mirrors, encoded once
}

// apply carries out every write of a plan, as many at a time as Parallel says, and goes on when some fail. The results are in
// the order of todo.
func (r *Reconciler) apply(ctx context.Context, s State, data payload, todo []Action) []result {
	w := &writer{r: r, state: s, data: data}
	w.patch = sync.OnceValues(data.operations)
	done := make([]result, len(todo))
	slots := r.writeSlots()
	var g errgroup.Group
	g.SetLimit(cap(slots))
	for i, a := range todo {
		done[i] = result{Action: a}
		if !writes(todo[i : i+1]) {
			continue
		}
		g.Go(func() error {
			slots <- struct{}{} // shared by all sources, so that the API server never sees more than Parallel writes
			defer func() { <-slots }()
			done[i] = w.do(ctx, a)
			return nil
		})
	}
	_ = g.Wait() // errors are in done
	return done
}

// do carries out one action.
func (w *writer) do(ctx context.Context, a Action) result {
	res := result{Action: a, Wrote: true}
	var at types.NamespacedName
	switch a := a.(type) {
	case Create:
		at = types.NamespacedName{Namespace: a.Namespace, Name: w.state.Key.Name}
		res.Err = w.create(ctx, at)
	case Update:
		at = a.Mirror.Key
		res.Wrote, res.Err = w.update(ctx, a)
	case Delete:
		at = a.Mirror.Key
		res.Err = w.delete(ctx, a.Mirror)
	}
	if namespaceGone(res.Err, at) {
		return result{Action: a, Void: true}
	}
	if res.Err != nil {
		res.Wrote, res.Err = false, fmt.Errorf("mirroring to %s: %w", at, res.Err)
	}
	return res
}

// create makes an automatic mirror. Whatever is there already stays: AlreadyExists is an error, and the next plan says whose
// it is.
func (w *writer) create(ctx context.Context, at types.NamespacedName) error {
	obj := w.mirror(at)
	err := w.r.Client.Create(ctx, obj, client.FieldOwner(FieldManager))
	countWrite(w.r.Kind, "create", err)
	if err != nil {
		return err
	}
	w.r.memory.wrote(w.state.Key, objectOf(obj), w.state.Content.Hash, w.r.now())
	return nil
}

// update writes the payload into a mirror at the version that was seen.
func (w *writer) update(ctx context.Context, a Update) (wrote bool, err error) {
	if a.Compare {
		equal, err := w.compare(ctx, a.Mirror)
		if equal || err != nil {
			return false, err
		}
	}
	err = w.overwrite(ctx, a.Mirror)
	if apierrors.IsInvalid(err) && owned(w.state.Key, a.Mirror) {
		err = w.replace(ctx, a.Mirror, err)
	}
	return err == nil, err
}

// compare reads a mirror and tells whether it holds what the source holds.
func (w *writer) compare(ctx context.Context, o Object) (equal bool, err error) {
	live, err := w.live(ctx, o)
	if err != nil {
		return false, err
	}
	have := payloadOf(live)
	if !owned(w.state.Key, o) {
		have.typ = w.data.typ // a direct mirror keeps the type it was given
	}
	hash := contentHash(w.state.Key, have)
	if hash != w.state.Content.Hash {
		return false, nil
	}
	w.r.memory.verify(w.state.Key, o, hash)
	return true, nil
}

// live reads a mirror, which has to be the one that was planned for.
func (w *writer) live(ctx context.Context, o Object) (client.Object, error) {
	live := newObject(w.r.Kind)
	if err := w.r.Client.Get(ctx, o.Key, live); err != nil {
		return nil, w.noteLost(o, err)
	}
	if live.GetUID() != o.UID || live.GetResourceVersion() != o.Version {
		return nil, errStale
	}
	return live, nil
}

func (w *writer) noteLost(o Object, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	w.r.memory.lost(w.state.Key, o.Key)
	return errStale
}

// overwrite sets the whole payload, so that keys that are gone from the source go from the mirror, and our annotations. The
// resourceVersion in it makes the API answer Conflict when the mirror has changed since.
//
// It does so by an update where all that the object holds is ours, because that costs an API server a quarter less than a
// patch; otherwise by a patch of the fields concerned.
func (w *writer) overwrite(ctx context.Context, o Object) (err error) {
	var answer client.Object
	if owned(w.state.Key, o) && o.Sole {
		answer = w.mirror(o.Key)
		answer.SetUID(o.UID)
		answer.SetResourceVersion(o.Version)
		err = w.r.Client.Update(ctx, answer, client.FieldOwner(FieldManager))
	} else {
		answer = w.r.metadata(o.Key)
		var body []byte
		if body, err = w.operations(o); err != nil {
			return err
		}
		err = w.r.Client.Patch(ctx, answer, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(FieldManager))
	}
	countWrite(w.r.Kind, "update", err)
	if err != nil {
		return w.noteLost(o, err)
	}
	w.r.memory.wrote(w.state.Key, objectOf(answer), w.state.Content.Hash, w.r.now())
	return nil
}

// mirror returns an automatic mirror, whole.
func (w *writer) mirror(at types.NamespacedName) client.Object {
	obj := w.data.object()
	obj.SetNamespace(at.Namespace)
	obj.SetName(at.Name)
	annotations := w.annotations(true)
	annotations[annotationReflects] = w.state.Key.String()
	obj.SetAnnotations(annotations)
	return obj
}

// replace deletes and creates an automatic mirror that can't take the payload because it has another type or is immutable.
// cause is what the API said to the attempt; anything else wrong leaves the mirror as it is.
func (w *writer) replace(ctx context.Context, o Object, cause error) error {
	live, err := w.live(ctx, o)
	if err != nil {
		return err
	}
	if !immutable(live) && payloadOf(live).typ == w.data.typ {
		return cause
	}
	if err := w.delete(ctx, o); err != nil {
		return err
	}
	return w.create(ctx, o.Key)
}

func immutable(obj client.Object) bool {
	switch o := obj.(type) {
	case *corev1.Secret:
		return o.Immutable != nil && *o.Immutable
	case *corev1.ConfigMap:
		return o.Immutable != nil && *o.Immutable
	}
	return false
}

// delete removes the very object that was seen. One that is gone already is what was wanted.
func (w *writer) delete(ctx context.Context, o Object) error {
	err := w.r.Client.Delete(ctx, w.r.metadata(o.Key), client.Preconditions{UID: &o.UID, ResourceVersion: &o.Version})
	err = client.IgnoreNotFound(err)
	countWrite(w.r.Kind, "delete", err)
	if err == nil {
		w.r.memory.removed(w.state.Key, o, w.r.now())
	}
	return err
}

// annotations are those that are set at every write.
func (w *writer) annotations(auto bool) map[string]string {
	a := map[string]string{
		annotationAutoReflects:     "False",
		annotationReflectedVersion: w.state.Source.Version,
		annotationReflectedAt:      w.r.now().UTC().Format(time.RFC3339),
		AnnotationHash:             w.state.Content.Hash,
	}
	if auto {
		a[annotationAutoReflects] = "True" // as .NET spells it, and so Reflector
	}
	return a
}

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// operations encodes the patch of one mirror. A mirror has annotations: it names its source by one.
func (w *writer) operations(o Object) ([]byte, error) {
	auto := owned(w.state.Key, o)
	own := []operation{{"replace", "/metadata/resourceVersion", o.Version}}
	if auto && w.data.kind == KindSecret {
		own = append(own, operation{"replace", "/type", w.data.typ}) // can't change: a difference is refused, see replace
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	for key, value := range w.annotations(auto) {
		own = append(own, operation{"add", "/metadata/annotations/" + escape.Replace(key), value})
	}
	head, err := json.Marshal(own)
	if err != nil {
		return nil, errors.New("encoding a patch failed")
	}
	shared, err := w.patch()
	if err != nil {
		return nil, err
	}
	body := make([]byte, 0, len(head)+len(shared))
	body = append(body, head[:len(head)-1]...)
	body = append(body, ',')
	return append(body, shared[1:]...), nil
}

// operations encodes the part of a patch that sets the payload.
func (p payload) operations() ([]byte, error) {
	ops := []operation{{"add", "/data", orEmpty(p.bytes)}}
	if p.kind == KindConfigMap {
		ops = []operation{{"add", "/data", orEmpty(p.text)}, {"add", "/binaryData", orEmpty(p.bytes)}}
	}
	encoded, err := json.Marshal(ops)
	if err != nil {
		return nil, errors.New("encoding a payload failed") // the cause could quote it
	}
	return encoded, nil
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// metadata returns an object of the reconciler's kind that holds no payload.
func (r *Reconciler) metadata(key types.NamespacedName) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: r.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
	}
}

// lostRace tells whether an error only says that somebody was faster than the cache.
func lostRace(err error) bool {
	return errors.Is(err, errStale) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// terminal tells whether the same write would be refused again until somebody changes something.
func terminal(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// namespaceGone tells whether a write failed because the mirror's namespace is gone or going.
func namespaceGone(err error, at types.NamespacedName) bool {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return true
	}
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces" && details.Name == at.Namespace
}
