package issuance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/trustglass/trustglass/issuance/pki"
)

// Secrets is the one place where payloads of Secrets are read. It remembers digests, each bound to the resourceVersion that it
// was made from, and no payload beyond the moment for which it is lent.
//
// Live reads go to the API server; Cache holds metadata of all Secrets.
type Secrets struct {
	Live, Cache client.Reader

	flight  singleflight.Group
	listing semaphore
	mu      sync.Mutex
	filled  map[string]*sync.Once                   // by namespace; guarded by mu
	seen    map[types.NamespacedName]SecretView     // guarded by mu
	entries map[entryID]entryDigest                 // guarded by mu
	lent    map[types.NamespacedName]*corev1.Secret // guarded by mu
}

// SecretView is what a decision may know of a Secret.
type SecretView struct {
	UID             types.UID
	ResourceVersion string
	Type            corev1.SecretType // empty when only metadata was needed
	Labels          pairs
	Annotations     pairs // without those that describe the leaf; see DerivedCurrent
	OwnerReferences []metav1.OwnerReference
	// Managed are the labels and annotations that our field manager owns, those derived from the leaf apart; see managedKeys.
	Managed fieldSet
	// OtherWriter is a field manager besides ours that owns tls.crt or tls.key; empty if there is none.
	OtherWriter string
	Digest      pki.Digest
	// KeystoreKey is keystoreKey of the private key where the Secret has annKeystores.
	KeystoreKey [sha256.Size]byte
	// DerivedCurrent tells whether the annotations that describe the leaf are there and right.
	DerivedCurrent bool
}

// View returns a Secret as it is in the cache, or as we have read or written it since, whichever is newer; nil when there
// is none. The payload is read only when the digest of this resourceVersion is not known.
func (s *Secrets) View(ctx context.Context, key types.NamespacedName) (*SecretView, error) {
	s.fill(ctx, key.Namespace)
	meta := newSecretMetadata()
	err := s.Cache.Get(ctx, key, meta)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading Secret %s from the cache: %w", key, err)
	}
	known, ok := s.recall(key)
	switch {
	case err != nil && !ok:
		return nil, nil
	case err == nil && ok && !newer(meta.ResourceVersion, known.ResourceVersion):
		return &known, nil
	}
	return s.Read(ctx, key) // new in the cache, or gone from it after we saw it: the API server decides
}

// Read reads a Secret live and remembers its digest; nil when there is none.
func (s *Secrets) Read(ctx context.Context, key types.NamespacedName) (*SecretView, error) {
	secret := &corev1.Secret{}
	err := s.Live.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		s.Forget(key)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return s.Remember(secret), nil
}

// lendFor is how long a payload that was read serves others who need it too: in a burst one read of the CA does for many signatures.
const lendFor = 100 * time.Millisecond

// Payload returns a Secret's data as it is now. Callers that ask while a read is under way, or within lendFor of one unless the
// cache knows of a newer version, share its answer; they must not change it.
func (s *Secrets) Payload(ctx context.Context, key types.NamespacedName) (map[string][]byte, error) {
	if secret := s.borrow(ctx, key); secret != nil {
		return secret.Data, nil
	}
	data, err, _ := s.flight.Do(key.String(), func() (any, error) {
		secret := &corev1.Secret{}
		if err := s.Live.Get(ctx, key, secret); err != nil {
			return nil, err
		}
		s.lend(key, secret)
		return secret.Data, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return data.(map[string][]byte), nil
}

// lend keeps a Secret that was just read for lendFor.
func (s *Secrets) lend(key types.NamespacedName, secret *corev1.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent == nil {
		s.lent = map[types.NamespacedName]*corev1.Secret{}
	}
	s.lent[key] = secret
	time.AfterFunc(lendFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lent[key] == secret {
			delete(s.lent, key)
		}
	})
}

// borrow returns a Secret that is lent and no older than the cache; nil if there is none.
func (s *Secrets) borrow(ctx context.Context, key types.NamespacedName) *corev1.Secret {
	s.mu.Lock()
	secret := s.lent[key]
	s.mu.Unlock()
	if secret == nil {
		return nil
	}
	meta := newSecretMetadata()
	if s.Cache.Get(ctx, key, meta) != nil || meta.UID != secret.UID || newer(meta.ResourceVersion, secret.ResourceVersion) {
		return nil
	}
	return secret
}

// payloadAt returns a Secret's data where it still is of a version, and a conflict where it is not: what goes back into the Secret
// must not be older than what it replaces.
func (s *Secrets) payloadAt(ctx context.Context, key types.NamespacedName, resourceVersion string) (map[string][]byte, error) {
	secret := &corev1.Secret{}
	if err := s.Live.Get(ctx, key, secret); err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	if secret.ResourceVersion != resourceVersion {
		return nil, apierrors.NewConflict(corev1.Resource("secrets"), key.Name, errors.New("it has changed since it was looked at"))
	}
	return secret.Data, nil
}

// Remember keeps the digest of a Secret that was just read or written.
func (s *Secrets) Remember(secret *corev1.Secret) *SecretView {
	view := SecretView{
		UID: secret.UID, ResourceVersion: secret.ResourceVersion, Type: shared(secret.Type),
		Labels: newPairs(secret.Labels), Annotations: newPairs(secret.Annotations), OwnerReferences: secret.OwnerReferences,
		Managed: managedKeys(secret.ManagedFields), OtherWriter: otherWriter(secret.ManagedFields),
		Digest: pki.NewDigest(secret.Data),
	}
	if secret.Annotations[annKeystores] != "" {
		view.KeystoreKey = keystoreKey(secret.Data[corev1.TLSPrivateKeyKey])
	}
	view.DerivedCurrent = holds(secret.Annotations, pki.LeafAnnotations(secret.Data["tls.crt"]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[types.NamespacedName]SecretView{}
	}
	s.seen[keyOf(shared(secret.Namespace), secret.Name)] = view
	return &view
}

// EntryDigest is what may be known of one entry of a Secret.
type EntryDigest struct {
	Hash       [sha256.Size]byte // SHA-256; that of nothing if there is no such entry
	PKCS12Flaw string            // as pki.PKCS12PasswordFlaw says it
}

// EntryDigest returns the digest of one entry of a Secret. The Secret is read when its version is not the one that the digest is
// known of.
func (s *Secrets) EntryDigest(ctx context.Context, key types.NamespacedName, entry string) (EntryDigest, error) {
	meta := newSecretMetadata()
	if err := s.Cache.Get(ctx, key, meta); apierrors.IsNotFound(err) {
		return EntryDigest{Hash: sha256.Sum256(nil)}, nil
	} else if err != nil {
		return EntryDigest{}, fmt.Errorf("reading Secret %s from the cache: %w", key, err)
	}
	id := entryID{key, entry}
	s.mu.Lock()
	known, ok := s.entries[id]
	s.mu.Unlock()
	if ok && !newer(meta.ResourceVersion, known.version) {
		return known.EntryDigest, nil
	}
	secret := &corev1.Secret{}
	if err := s.Live.Get(ctx, key, secret); client.IgnoreNotFound(err) != nil {
		return EntryDigest{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	digest := EntryDigest{sha256.Sum256(secret.Data[entry]), pki.PKCS12PasswordFlaw(string(secret.Data[entry]))}
	version := secret.ResourceVersion
	if version == "" { // gone since: so says the next event
		version = meta.ResourceVersion
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil || len(s.entries) > maxEntryDigests {
		s.entries = map[entryID]entryDigest{}
	}
	s.entries[id] = entryDigest{version, digest}
	return digest, nil
}

// maxEntryDigests bounds how many digests are remembered; beyond it the entries are read again.
const maxEntryDigests = 10_000

type entryID struct {
	secret types.NamespacedName
	entry  string
}

type entryDigest struct {
	version string
	EntryDigest
}

// deleted drops what is remembered of a Secret that was deleted, unless that is of another one which has its name since.
func (s *Secrets) deleted(secret client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := client.ObjectKeyFromObject(secret)
	if known, ok := s.seen[key]; ok && !newer(known.ResourceVersion, secret.GetResourceVersion()) {
		delete(s.seen, key)
	}
}

// forgetting is a handler that drops what is remembered of deleted Secrets.
type forgetting struct {
	handler.EventHandler
	secrets *Secrets
}

func (f forgetting) Delete(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
	f.secrets.deleted(e.Object)
	f.EventHandler.Delete(ctx, e, q)
}

// Forget drops what is remembered of a Secret that nobody needs any more.
func (s *Secrets) Forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, key)
}

func (s *Secrets) recall(key types.NamespacedName) (SecretView, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.seen[key]
	return v, ok
}

const (
	// pageSize bounds, with maxListing, how much of the issued Secrets is in memory at once while their digests are made: 50 MiB if
	// each were as large as a Secret can be, less than 1 MiB as they are.
	pageSize = 25
	// maxListing is how many namespaces are listed at a time: while we make the digests of one, the API server reads another.
	maxListing = 2
)

// semaphore lets maxListing in at a time. The zero value is ready.
type semaphore struct {
	once  sync.Once
	slots chan struct{}
}

func (s *semaphore) acquire() (release func()) {
	s.once.Do(func() { s.slots = make(chan struct{}, maxListing) })
	s.slots <- struct{}{}
	return func() { <-s.slots }
}

// fill makes, once, the digests of a namespace's issued Secrets: one read of many at a start instead of many reads of one, and none
// of the namespaces that have no Certificate.
func (s *Secrets) fill(ctx context.Context, namespace string) {
	s.mu.Lock()
	once, ok := s.filled[namespace]
	if !ok {
		if s.filled == nil {
			s.filled = map[string]*sync.Once{}
		}
		once = &sync.Once{}
		s.filled[namespace] = once
	}
	s.mu.Unlock()
	once.Do(func() {
		defer s.listing.acquire()()
		s.list(ctx, namespace)
	})
}

// list makes the digests of a namespace's issued Secrets page by page. What it can't read, View reads one by one.
func (s *Secrets) list(ctx context.Context, namespace string) {
	opts := client.ListOptions{Namespace: namespace, Limit: pageSize}
	client.MatchingLabels{labelManaged: "true"}.ApplyToList(&opts)
	for {
		page := &corev1.SecretList{}
		if err := s.Live.List(ctx, page, &opts); err != nil {
			return
		}
		for i := range page.Items {
			s.Remember(&page.Items[i])
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return
		}
	}
}

// newer compares two resourceVersions, which the API server promises to be comparable as numbers.
func newer(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

func newSecretMetadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

// fieldSet is a hash of labels and annotations by their keys.
type fieldSet [sha256.Size]byte

// managedKeys returns which labels and annotations our field manager has applied. Entries that don't parse own nothing, which
// makes the Secret be applied once more.
func managedKeys(entries []metav1.ManagedFieldsEntry) fieldSet {
	var out []string
	for _, e := range entries {
		if e.Manager != FieldManager || e.FieldsV1 == nil {
			continue
		}
		var fields ownedFields
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for field := range fields.Metadata.Labels {
			if name, ok := strings.CutPrefix(field, "f:"); ok {
				out = append(out, "labels/"+name)
			}
		}
		for field := range fields.Metadata.Annotations {
			if name, ok := strings.CutPrefix(field, "f:"); ok && !pki.IsLeafAnnotation(name) && name != annKeystores {
				out = append(out, "annotations/"+name)
			}
		}
	}
	slices.Sort(out)
	return sha256.Sum256([]byte(strings.Join(slices.Compact(out), "\n")))
}

// ownedFields are the parts of a FieldsV1 that count here.
type ownedFields struct {
	Metadata struct {
		Labels      map[string]json.RawMessage `json:"f:labels"`
		Annotations map[string]json.RawMessage `json:"f:annotations"`
	} `json:"f:metadata"`
	Data map[string]json.RawMessage `json:"f:data"`
}

// otherWriter returns a field manager other than ours that owns an issued entry.
func otherWriter(entries []metav1.ManagedFieldsEntry) string {
	for _, e := range entries {
		if e.Manager == FieldManager || e.FieldsV1 == nil {
			continue
		}
		var fields ownedFields
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, owns := fields.Data["f:"+key]; owns {
				return shared(e.Manager)
			}
		}
	}
	return ""
}

// fieldsOf returns the managed fields of an applied metadata, as managedKeys reads them.
func fieldsOf(m metadata) *metav1.FieldsV1 {
	set := func(values map[string]string) map[string]struct{} {
		out := map[string]struct{}{}
		for k := range values {
			out["f:"+k] = struct{}{}
		}
		return out
	}
	raw, err := json.Marshal(map[string]any{"f:metadata": map[string]any{"f:labels": set(m.Labels), "f:annotations": set(m.Annotations)}})
	if err != nil { // maps of strings always encode
		return nil
	}
	return metav1.NewFieldsV1(string(raw))
}

// sameKeys tells whether the labels and annotations that our field manager owns are those of m.
func sameKeys(managed fieldSet, m metadata) bool {
	return managed == managedKeys([]metav1.ManagedFieldsEntry{{Manager: FieldManager, FieldsV1: fieldsOf(m)}})
}
