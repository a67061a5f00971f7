package inject

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is read from an object is what would be written into it.
func TestKinds(t *testing.T) {
	const hooks = `{"webhooks":[{"clientConfig":{"caBundle":"QQ=="},"name":"one"},{"clientConfig":{"caBundle":"Qg=="},"name":"two"}]}`
	const conversion = `{"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":"QQ=="}}}}}`
	for _, tc := range []struct {
		reason, kind, object string
		slots                []Slot
		fields               string // empty: it cannot be written
		fails                bool
	}{
		{reason: "each webhook", kind: "MutatingWebhookConfiguration", object: hooks, slots: []Slot{{"one", []byte("A")}, {"two", []byte("B")}}, fields: hooks},
		{reason: "each webhook", kind: "ValidatingWebhookConfiguration", object: hooks, slots: []Slot{{"one", []byte("A")}, {"two", []byte("B")}}, fields: hooks},
		{reason: "no webhook", kind: "ValidatingWebhookConfiguration", object: `{}`},
		{reason: "a webhook without a bundle", kind: "ValidatingWebhookConfiguration", object: `{"webhooks":[{"name":"one"}]}`, slots: []Slot{{"one", []byte{}}}, fields: `{"webhooks":[{"clientConfig":{"caBundle":""},"name":"one"}]}`},
		{reason: "an APIService", kind: "APIService", object: `{"spec":{"caBundle":"QQ==","group":"g"}}`, slots: []Slot{{"", []byte("A")}}, fields: `{"spec":{"caBundle":"QQ=="}}`},
		{reason: "a conversion webhook", kind: "CustomResourceDefinition", object: `{"spec":{"conversion":{"strategy":"Webhook","webhook":{"clientConfig":{"caBundle":"QQ=="}}}}}`, slots: []Slot{{"", []byte("A")}}, fields: conversion},
		{reason: "no conversion", kind: "CustomResourceDefinition", object: `{"spec":{"group":"g"}}`},
		{reason: "another strategy", kind: "CustomResourceDefinition", object: `{"spec":{"conversion":{"strategy":"None","webhook":{"clientConfig":{"caBundle":"QQ=="}}}}}`},
		{reason: "webhooks of another form", kind: "MutatingWebhookConfiguration", object: `{"webhooks":["x"]}`, fails: true},
		{reason: "a bundle that is no base64", kind: "APIService", object: `{"spec":{"caBundle":"?"}}`, fails: true},
		{reason: "a bundle that is no text", kind: "APIService", object: `{"spec":{"caBundle":1}}`, fails: true},
	} {
		kind := kindOf(t, tc.kind)
		var object map[string]any
		if err := json.Unmarshal([]byte(tc.object), &object); err != nil {
			t.Fatal(err)
		}
		slots, err := kind.slots(object)
		if (err != nil) != tc.fails {
			t.Errorf("%s: %v", tc.reason, err)
		}
		if diff := cmp.Diff(tc.slots, slots); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if tc.fields == "" {
			continue
		}
		fields, err := json.Marshal(kind.fields(slots))
		if diff := cmp.Diff(tc.fields, string(fields)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.reason, err, diff)
		}
	}
}
