package reflector

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The kinds that are reflected.
const (
	KindSecret    = "Secret"
	KindConfigMap = "ConfigMap"
)

// payload is what is copied: all of it or nothing. It is never logged, kept, or put into an error.
type payload struct {
	kind  string
	typ   corev1.SecretType
	text  map[string]string // a ConfigMap's data
	bytes map[string][]byte // a Secret's data, a ConfigMap's binaryData
}

// String keeps a payload out of logs.
func (p payload) String() string { return p.kind + " payload" }

// GoString keeps a payload out of logs.
func (p payload) GoString() string { return p.String() }

func payloadOf(obj client.Object) payload {
	switch o := obj.(type) {
	case *corev1.Secret:
		return payload{kind: KindSecret, typ: o.Type, bytes: o.Data}
	case *corev1.ConfigMap:
		return payload{kind: KindConfigMap, text: o.Data, bytes: o.BinaryData}
	}
	return payload{}
}

// newObject returns an empty typed object of a kind.
func newObject(kind string) client.Object {
	if kind == KindConfigMap {
		return &corev1.ConfigMap{}
	}
	return &corev1.Secret{}
}

// object returns an object that holds the payload and nothing else. Its maps are its own: an API client decodes answers into
// them.
func (p payload) object() client.Object {
	if p.kind == KindConfigMap {
		return &corev1.ConfigMap{Data: maps.Clone(p.text), BinaryData: maps.Clone(p.bytes)}
	}
	return &corev1.Secret{Type: p.typ, Data: maps.Clone(p.bytes)}
}

// Content identifies what a source or mirror holds, without holding it.
type Content struct {
	// Hash is contentHash's; empty when not known.
	Hash string
	// Type is a Secret's type.
	Type corev1.SecretType
}

// content identifies p as a copy of source.
func (p payload) content(source types.NamespacedName) Content {
	return Content{Hash: contentHash(source, p), Type: p.typ}
}

// contentHash returns "<32 hex digits over source, type and data>-<keysHash>". The source's name goes in so that equal
// contents of different sources can't be told by their mirrors' annotations.
func contentHash(source types.NamespacedName, p payload) string {
	h := sha256.New()
	field(h, "trustglass mirror 1")
	field(h, p.kind)
	field(h, source.String())
	field(h, string(p.typ))
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(p.text)) {
		field(h, "text")
		field(h, k)
		field(h, p.text[k])
		keys = append(keys, textKey(k))
	}
	for _, k := range slices.Sorted(maps.Keys(p.bytes)) {
		field(h, "bytes")
		field(h, k)
		length(h, len(p.bytes[k]))
		h.Write(p.bytes[k])
		keys = append(keys, bytesKey(p.kind, k))
	}
	return hex.EncodeToString(h.Sum(nil)[:16]) + "-" + keysHash(keys)
}

// textKey and bytesKey name a key by the field it lies in, as managed fields do.
func textKey(key string) string { return "data/" + key }

func bytesKey(kind, key string) string {
	if kind == KindConfigMap {
		return "binaryData/" + key
	}
	return "data/" + key
}

// keysHash returns 8 hex digits over a set of keys.
func keysHash(keys []string) string {
	slices.Sort(keys)
	h := sha256.New()
	for _, k := range slices.Compact(keys) {
		field(h, k)
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// keysOf returns the keysHash part of a contentHash; empty when it has none.
func keysOf(hash string) string {
	_, keys, _ := strings.Cut(hash, "-")
	return keys
}

// field hashes s with its length before it, so that no two lists of fields hash alike.
func field(h hash.Hash, s string) {
	length(h, len(s))
	h.Write([]byte(s))
}

func length(h hash.Hash, n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

// refused tells whether objects of a Secret type are never copied: tokens that Kubernetes itself mints or honours, and Helm's
// releases.
func refused(t corev1.SecretType) bool {
	return t == corev1.SecretTypeServiceAccountToken || t == corev1.SecretTypeBootstrapToken || strings.HasPrefix(string(t), "helm.sh/")
}
