package main

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/common/expfmt"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"

	"github.com/trustglass/trustglass/issuance"
)

// scrapes answers requests for /metrics: with what the registry has, and then with what more writes, which no registry ever holds.
type scrapes struct {
	// These are set before the metrics are served. No more means nothing to add, and there is a certificate where TLS is to be spoken.
	more        func(context.Context, io.Writer) error
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// filter is a server.Options.FilterProvider.
func (s *scrapes) filter(*rest.Config, *http.Client) (server.Filter, error) {
	return func(logger logr.Logger, registry http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out := &answer{ResponseWriter: w, zipped: takesGzip(r.Header.Values("Accept-Encoding"))}
			w.Header().Add("Vary", "Accept-Encoding")
			// Only in this format can lines be added at the end, and whoever asks for metrics understands it.
			plain := r.Clone(r.Context())
			plain.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
			plain.Header.Del("Accept-Encoding")
			registry.ServeHTTP(out, plain)
			var err error
			if s.more != nil && out.status == http.StatusOK {
				err = s.more(r.Context(), out)
			}
			if err := errors.Join(err, out.close()); err != nil {
				logger.V(1).Info("the metrics were not told to their end", "because", err.Error())
			}
		}), nil
	}, nil
}

// takesGzip tells whether a client has asked for gzip. One that rules it out by a weight of nothing is one that has not.
func takesGzip(accepted []string) bool {
	for coding := range strings.SplitSeq(strings.Join(accepted, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" && strings.Trim(strings.TrimSpace(weight), "0.") != "q=" {
			return true
		}
	}
	return false
}

// answer is a response whose status is known, and whose body is zipped where it is metrics and may be.
type answer struct {
	http.ResponseWriter
	zipped bool
	status int          // 0 until it is written
	zip    *gzip.Writer // nil until it is, and where nothing is zipped
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status = status; a.zipped && status == http.StatusOK {
		a.Header().Set("Content-Encoding", "gzip")
		a.zip, _ = gzip.NewWriterLevel(a.ResponseWriter, gzip.BestSpeed) // that level is valid
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.zip != nil {
		return a.zip.Write(p)
	}
	return a.ResponseWriter.Write(p)
}

// close writes what is still on its way.
func (a *answer) close() error {
	if a.zip == nil {
		return nil
	}
	return a.zip.Close()
}

// objectMetrics returns what writes the series of the objects that a cache has.
func objectMetrics(c cache.Cache) func(context.Context, io.Writer) error {
	return func(ctx context.Context, w io.Writer) error {
		certificates, err1 := cached(ctx, c, &cmapi.Certificate{}, &cmapi.CertificateList{})
		issuers, err2 := cached(ctx, c, &cmapi.Issuer{}, &cmapi.IssuerList{})
		clusterIssuers, err3 := cached(ctx, c, &cmapi.ClusterIssuer{}, &cmapi.ClusterIssuerList{})
		err := issuance.WriteMetrics(w, issuance.Metered{Certificates: certificates, Issuers: issuers, ClusterIssuers: clusterIssuers})
		return errors.Join(err1, err2, err3, err) // what can be had is written
	}
}

// cached returns the objects of one kind that a cache has; none before it is filled.
func cached[T client.Object](ctx context.Context, c cache.Cache, kind T, list client.ObjectList) (objects []T, err error) {
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil || !informer.HasSynced() {
		return nil, err
	}
	add := func(obj any) {
		if o, ok := obj.(T); ok {
			objects = append(objects, o)
		}
	}
	if whole, ok := informer.(toolscache.SharedIndexInformer); ok { // a list would copy each
		for _, obj := range whole.GetStore().List() {
			add(obj)
		}
		return objects, nil
	}
	if err := c.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	err = meta.EachListItem(list, func(obj runtime.Object) error { add(obj); return nil })
	return objects, err
}
