package inject

import (
	"encoding/base64"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is a kind of targets.
type Kind struct {
	schema.GroupVersionKind
	// Plural is the resource, as in a URL.
	Plural string

	slots  func(obj map[string]any) ([]Slot, error) // reads all caBundles
	fields func([]Slot) map[string]any              // is the object with nothing but these caBundles
}

// Kinds lists every kind of targets.
func Kinds() []Kind {
	admission := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	return []Kind{
		{admission.WithKind("MutatingWebhookConfiguration"), "mutatingwebhookconfigurations", webhookSlots, webhookFields},
		{admission.WithKind("ValidatingWebhookConfiguration"), "validatingwebhookconfigurations", webhookSlots, webhookFields},
		{schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}, "apiservices", apiServiceSlots, apiServiceFields},
		{schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, "customresourcedefinitions", conversionSlots, conversionFields},
	}
}

// Controller is the name of the kind's controller.
func (k Kind) Controller() string { return "cainjector-" + k.Plural }

// Metadata returns an empty metadata object of the kind: what is watched.
func (k Kind) Metadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(k.GroupVersionKind)
	return m
}

func webhookSlots(obj map[string]any) ([]Slot, error) {
	webhooks, _, err := unstructured.NestedSlice(obj, "webhooks")
	if err != nil {
		return nil, err
	}
	var slots []Slot
	for i, w := range webhooks {
		webhook, ok := w.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("webhook %d is no object", i)
		}
		name, _, err := unstructured.NestedString(webhook, "name")
		if err != nil {
			return nil, err
		}
		bundle, err := bundleAt(webhook, "clientConfig")
		if err != nil {
			return nil, err
		}
		slots = append(slots, Slot{Webhook: name, Bundle: bundle})
	}
	return slots, nil
}

func webhookFields(slots []Slot) map[string]any {
	var webhooks []any
	for _, s := range slots {
		webhooks = append(webhooks, map[string]any{"name": s.Webhook, "clientConfig": caBundle(s)})
	}
	return map[string]any{"webhooks": webhooks}
}

func apiServiceSlots(obj map[string]any) ([]Slot, error) {
	bundle, err := bundleAt(obj, "spec")
	if err != nil {
		return nil, err
	}
	return []Slot{{Bundle: bundle}}, nil
}

func apiServiceFields(slots []Slot) map[string]any {
	return map[string]any{"spec": caBundle(slots[0])}
}

// conversionSlots finds a caBundle only where a webhook converts.
func conversionSlots(obj map[string]any) ([]Slot, error) {
	strategy, _, err := unstructured.NestedString(obj, "spec", "conversion", "strategy")
	if err != nil || strategy != "Webhook" {
		return nil, err
	}
	bundle, err := bundleAt(obj, "spec", "conversion", "webhook", "clientConfig")
	if err != nil {
		return nil, err
	}
	return []Slot{{Bundle: bundle}}, nil
}

func conversionFields(slots []Slot) map[string]any {
	webhook := map[string]any{"clientConfig": caBundle(slots[0])}
	return map[string]any{"spec": map[string]any{"conversion": map[string]any{"webhook": webhook}}}
}

func caBundle(s Slot) map[string]any { return map[string]any{"caBundle": s.Bundle} }

// bundleAt decodes the caBundle under a path; nil if there is none.
func bundleAt(obj map[string]any, path ...string) ([]byte, error) {
	text, _, err := unstructured.NestedString(obj, append(path, "caBundle")...)
	if err != nil {
		return nil, err
	}
	bundle, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("decoding a caBundle: %w", err)
	}
	return bundle, nil
}
