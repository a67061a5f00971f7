package reflector

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestContentHash(t *testing.T) {
	base := payload{kind: KindSecret, typ: "Opaque", bytes: map[string][]byte{"a": []byte("1"), "b": []byte("2")}}
	want := contentHash(home, base)
	if again := contentHash(home, payload{kind: KindSecret, typ: "Opaque", bytes: map[string][]byte{"b": []byte("2"), "a": []byte("1")}}); again != want {
		t.Errorf("%s and %s", want, again)
	}
	if got := keysOf(want); got != keysHash([]string{"data/b", "data/a"}) || len(want) != 32+1+8 {
		t.Errorf("hash %s, keys %s", want, got)
	}
	for reason, other := range map[string]payload{
		"a value":                    {kind: KindSecret, typ: "Opaque", bytes: map[string][]byte{"a": []byte("1"), "b": []byte("3")}},
		"a key":                      {kind: KindSecret, typ: "Opaque", bytes: map[string][]byte{"a": []byte("1"), "c": []byte("2")}},
		"a type":                     {kind: KindSecret, typ: "x", bytes: base.bytes},
		"where a value ends":         {kind: KindSecret, typ: "Opaque", bytes: map[string][]byte{"a": []byte("1b2")}},
		"data and binaryData":        {kind: KindConfigMap, bytes: base.bytes},
		"nothing":                    {kind: KindSecret, typ: "Opaque"},
		"text where there are bytes": {kind: KindConfigMap, text: map[string]string{"a": "1", "b": "2"}},
	} {
		if contentHash(home, other) == want {
			t.Errorf("%s makes no difference", reason)
		}
	}
	if contentHash(at("other", "s"), base) == want {
		t.Error("two sources with the same content can be told to have it")
	}
}

func TestPayloadStaysOutOfLogs(t *testing.T) {
	p := payload{kind: KindSecret, bytes: map[string][]byte{"password": []byte("hunter2")}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, p); strings.Contains(got, "hunter2") || strings.Contains(got, "104 117") || strings.Contains(got, "0x68") {
			t.Errorf("%s prints %s", format, got)
		}
	}
}

func TestPayloadsOwnTheirMaps(t *testing.T) {
	p := payloadOf(&corev1.Secret{Data: map[string][]byte{"a": nil}})
	p.object().(*corev1.Secret).Data["b"] = nil
	if len(p.bytes) != 1 {
		t.Error("an object made of a payload shares its map")
	}
}

func TestOperations(t *testing.T) {
	r := &Reconciler{Kind: KindSecret}
	for _, tc := range []struct {
		reason string
		data   payload
		auto   bool
		want   []string // paths, annotations apart
	}{
		{"a Secret of ours says its type, so that a difference is noticed", payload{kind: KindSecret, typ: "Opaque"}, true, []string{"/metadata/resourceVersion", "/type", "/data"}},
		{"a direct mirror keeps its own", payload{kind: KindSecret, typ: "Opaque"}, false, []string{"/metadata/resourceVersion", "/data"}},
		{"a ConfigMap has two maps", payload{kind: KindConfigMap, text: map[string]string{"a": "1"}}, true, []string{"/metadata/resourceVersion", "/data", "/binaryData"}},
	} {
		w := &writer{r: r, data: tc.data, state: State{Key: home, Source: pushing(), Content: Content{Hash: "h"}}}
		w.patch = tc.data.operations
		mirror := auto("a")
		mirror.Auto = tc.auto
		body, err := w.operations(mirror)
		if err != nil {
			t.Fatal(err)
		}
		var ops []operation
		if err := json.Unmarshal(body, &ops); err != nil {
			t.Fatalf("%s: %v", tc.reason, err)
		}
		var paths []string
		annotations := 0
		for _, op := range ops {
			if strings.HasPrefix(op.Path, "/metadata/annotations/") {
				annotations++
				continue
			}
			if op.Value == nil {
				t.Errorf("%s: %s is set to null", tc.reason, op.Path)
			}
			paths = append(paths, op.Path)
		}
		if diff := cmp.Diff(tc.want, paths); diff != "" || annotations != 4 {
			t.Errorf("%s: %d annotations (-want +got):\n%s", tc.reason, annotations, diff)
		}
	}
}
