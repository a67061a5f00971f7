package source

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapi "sigs.k8s.io/gateway-api/apis/v1"
)

// Names by which the controllers are turned on and off, and under which they show up in Events and managed fields. They are
// cert-manager's, so that the Certificates of its shims are ours.
const (
	ControllerIngress     = "ingress-shim"
	ControllerGateway     = "gateway-shim"
	ControllerListenerSet = "listenerset"

	managerPrefix = "cert-manager-"
)

// FieldManager returns the field manager of the Certificates that a controller writes, which is the component of its Events too.
func FieldManager(controller string) string { return managerPrefix + controller }

// kind is what differs between the kinds of sources.
type kind struct {
	controller string
	gvk        schema.GroupVersionKind
	// needs are the kinds that must be served, that of the source apart.
	needs []string
	new   func() client.Object
	list  func() client.ObjectList
	// secrets lists the Secrets that an object names.
	secrets func(client.Object) []string
}

var kinds = map[string]kind{
	KindIngress: {
		controller: ControllerIngress,
		gvk:        networkingv1.SchemeGroupVersion.WithKind(KindIngress),
		new:        func() client.Object { return &networkingv1.Ingress{} },
		list:       func() client.ObjectList { return &networkingv1.IngressList{} },
		secrets: func(o client.Object) []string {
			var out []string
			for _, tls := range o.(*networkingv1.Ingress).Spec.TLS {
				out = append(out, tls.SecretName)
			}
			return out
		},
	},
	KindGateway: {
		controller: ControllerGateway,
		gvk:        schema.GroupVersionKind{Group: gwapi.GroupName, Version: "v1", Kind: KindGateway},
		new:        func() client.Object { return &gwapi.Gateway{} },
		list:       func() client.ObjectList { return &gwapi.GatewayList{} },
		secrets: func(o client.Object) []string {
			var out []string
			for _, l := range o.(*gwapi.Gateway).Spec.Listeners {
				out = append(out, secretsOf(l.TLS)...)
			}
			return out
		},
	},
	KindListenerSet: {
		controller: ControllerListenerSet,
		gvk:        schema.GroupVersionKind{Group: gwapi.GroupName, Version: "v1", Kind: KindListenerSet},
		needs:      []string{KindGateway},
		new:        func() client.Object { return &gwapi.ListenerSet{} },
		list:       func() client.ObjectList { return &gwapi.ListenerSetList{} },
		secrets: func(o client.Object) []string {
			var out []string
			for _, l := range o.(*gwapi.ListenerSet).Spec.Listeners {
				out = append(out, secretsOf(l.TLS)...)
			}
			return out
		},
	},
}

func secretsOf(tls *gwapi.ListenerTLSConfig) []string {
	var out []string
	if tls != nil {
		for _, ref := range tls.CertificateRefs {
			out = append(out, string(ref.Name))
		}
	}
	return out
}

// AddToScheme makes the Gateway API's kinds known, whether or not a cluster serves them.
func AddToScheme(s *runtime.Scheme) error { return gwapi.Install(s) }

// Trim drops what this package does not need of a cached object: of an Ingress all but metadata and spec.tls, of a Gateway and a
// ListenerSet the status.
func Trim(obj any) {
	switch o := obj.(type) {
	case *networkingv1.Ingress:
		o.Spec = networkingv1.IngressSpec{TLS: o.Spec.TLS}
		o.Status = networkingv1.IngressStatus{}
	case *gwapi.Gateway:
		o.Status = gwapi.GatewayStatus{}
	case *gwapi.ListenerSet:
		o.Status = gwapi.ListenerSetStatus{}
	}
}

// parse reads an object of a kind; parent is the Gateway of a ListenerSet.
func parse(obj client.Object, parent *gwapi.Gateway, p Policy) (*Source, error) {
	switch o := obj.(type) {
	case *networkingv1.Ingress:
		return ParseIngress(o, p), nil
	case *gwapi.Gateway:
		return ParseGateway(o, p), nil
	case *gwapi.ListenerSet:
		return ParseListenerSet(o, parent, p), nil
	}
	return nil, fmt.Errorf("there is no source of type %T", obj)
}

// Watched returns what a kind's controller watches beside Certificates and Secrets; missing is what it needs and the cluster does not
// serve, in which case it watches nothing.
func Watched(mapper meta.RESTMapper, kind string) (watched []client.Object, missing *schema.GroupVersionKind, err error) {
	k, ok := kinds[kind]
	if !ok {
		return nil, nil, fmt.Errorf("there is no kind %q", kind)
	}
	for _, needed := range append([]string{kind}, k.needs...) {
		gvk := kinds[needed].gvk
		if _, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version); meta.IsNoMatchError(err) {
			return nil, &gvk, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("asking whether the cluster serves %s: %w", gvk.Kind, err)
		}
		watched = append(watched, kinds[needed].new())
	}
	return watched, nil, nil
}

// ControllerOf returns the name of a kind's controller.
func ControllerOf(kind string) string { return kinds[kind].controller }
