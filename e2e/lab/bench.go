package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// figure is one measured number. Limit is what the machine could do in the same run, where that says more than the number
// itself; Ratio is Value divided by it.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Limit float64 `json:"limit,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Goal  string  `json:"goal,omitempty"`
	OK    bool    `json:"ok"`
}

// goals says what each figure has to reach; a figure without one is there to be looked at.
var goals = map[string]struct {
	text string
	met  func(figure) bool
}{
	"issuance rate":                                {"at least 0.7 of the floor", func(f figure) bool { return f.Ratio >= 0.7 }},
	"issuance, idle, p50":                          {"at most 25 ms", func(f figure) bool { return f.Value <= 25 }},
	"writes per issuance":                          {"at most 4", func(f figure) bool { return f.Value <= 4 }},
	"writes answered 409":                          {"less than 1 %", func(f figure) bool { return f.Value < 1 }},
	"mirrors, first copy":                          {"at least 0.6 of raw creates", func(f figure) bool { return f.Ratio >= 0.6 }},
	"mirrors, update":                              {"at least 0.6 of raw creates", func(f figure) bool { return f.Ratio >= 0.6 }},
	"bundle targets":                               {"at least 0.6 of raw creates", func(f figure) bool { return f.Ratio >= 0.6 }},
	"memory with 2,000 Certificates":               {"at most 80 MiB", func(f figure) bool { return f.Value <= 80 }},
	"memory for 5,000 Secrets of 100 KB of others": {"at most 10 MiB", func(f figure) bool { return f.Value <= 10 }},
	"writes after a restart":                       {"0", none},

	"issuance rate, RSA 2048":                                      {"at least 0.9 of raw keys", func(f figure) bool { return f.Ratio >= 0.9 }},
	"memory with 10,000 Certificates and 50,000 Secrets of others": {"at most 128 MiB", func(f figure) bool { return f.Value <= 128 }},
	"first reconcile after a restart with those":                   {"at most 10 s", func(f figure) bool { return f.Value <= 10 }},
	"writes after a restart with those":                            {"0", none},
	"writes for a label on each of those Secrets":                  {"0", none},
	"live reads for a label on each of those Secrets":              {"0", none},
}

func none(f figure) bool { return f.Value == 0 }

// benchmark is one run of one subject on a control plane of its own.
type benchmark struct {
	name string
	run  func(ctx context.Context, l *lab) ([]figure, error)
}

var benchmarks = []benchmark{
	{"issuance", benchIssuance},
	{"burst", benchBurst},
	{"mirrors", benchMirrors},
	{"bundles", benchBundles},
	{"rsa", benchRSA},
	{"scale", benchScale},
}

// bench runs every benchmark runs times, prints the medians as a table and writes them to out. A figure that misses its goal is
// an error.
func bench(ctx context.Context, out, only string, runs int) error {
	fmt.Printf("%d runs each on %d processors, load %s; medians count. API server, etcd, daemon and load share the machine.\n",
		runs, runtime.NumCPU(), load())
	var all []figure
	for _, b := range benchmarks {
		if only != "" && only != b.name {
			continue
		}
		var series [][]figure
		for i := range runs {
			start := time.Now()
			figures, err := benchOnce(ctx, b)
			if err != nil {
				return fmt.Errorf("benchmark %s, run %d: %w", b.name, i+1, err)
			}
			series = append(series, figures)
			fmt.Printf("%s, run %d of %d, %.0f s, load %s:", b.name, i+1, runs, time.Since(start).Seconds(), load())
			for _, f := range figures {
				fmt.Printf(" %s %.2f", f.Name, cmp.Or(f.Ratio, f.Value))
			}
			fmt.Println()
		}
		all = append(all, medians(series)...)
	}
	printFigures(all)
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	var missed []string
	for _, f := range all {
		if !f.OK {
			missed = append(missed, f.Name)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("short of the goal: %s", strings.Join(missed, ", "))
	}
	return nil
}

func benchOnce(ctx context.Context, b benchmark) (_ []figure, err error) {
	l, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.ownersWatched(ctx); err != nil {
		return nil, err
	}
	figures, err := b.run(ctx, l)
	if err != nil && l.daemon != nil {
		err = fmt.Errorf("%w\nthe end of the daemon's log:\n%s", err, l.daemon.LogTail())
	}
	return figures, err
}

// medians takes, figure by figure, the run whose ratio (or value, where there is none) is the median.
func medians(series [][]figure) []figure {
	var out []figure
	for i := range series[0] {
		var column []figure
		for _, run := range series {
			column = append(column, run[i])
		}
		slices.SortFunc(column, func(a, b figure) int {
			return cmp.Or(cmp.Compare(a.Ratio, b.Ratio), cmp.Compare(a.Value, b.Value))
		})
		f := column[len(column)/2]
		f.OK = true
		if goal, ok := goals[f.Name]; ok {
			f.Goal, f.OK = goal.text, goal.met(f)
		}
		out = append(out, f)
	}
	return out
}

func printFigures(figures []figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nFIGURE\tVALUE\tUNIT\tLIMIT\tRATIO\tGOAL\tMET")
	for _, f := range figures {
		limit, ratio, met := "", "", "yes"
		if f.Limit != 0 {
			limit, ratio = fmt.Sprintf("%.1f", f.Limit), fmt.Sprintf("%.2f", f.Ratio)
		}
		if !f.OK {
			met = "NO"
		}
		if f.Goal == "" {
			met = ""
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Value, f.Unit, limit, ratio, f.Goal, met)
	}
	w.Flush() // standard output
}

func against(name string, value, limit float64, unit string) figure {
	return figure{Name: name, Value: value, Unit: unit, Limit: limit, Ratio: value / limit}
}

// load is the machine's load average over a minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// parallel runs f for 0 to n-1 from so many goroutines and returns the errors.
func parallel(ctx context.Context, n, workers int, f func(context.Context, int) error) error {
	next := make(chan int)
	errs := make(chan error, workers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					errs <- err
					cancel()
					return
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(append(all, context.Cause(ctx))...)
}

// makeNamespaces creates n namespaces and waits until the controller manager has furnished them, so that its writes do not
// fall into what is measured.
func (l *lab) makeNamespaces(ctx context.Context, prefix string, n int, labels map[string]string) ([]string, error) {
	names := make([]string, n)
	err := parallel(ctx, n, 16, func(ctx context.Context, i int) error {
		names[i] = fmt.Sprintf("%s-%03d", prefix, i)
		ns := &corev1.Namespace{}
		ns.Name, ns.Labels = names[i], labels
		if err := l.admin.Create(ctx, ns); err != nil {
			return fmt.Errorf("creating namespace %s: %w", ns.Name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		for key, obj := range map[string]client.Object{"default": &corev1.ServiceAccount{}, "kube-root-ca.crt": &corev1.ConfigMap{}} {
			err := eventually(ctx, time.Minute, func() error {
				return l.admin.Get(ctx, client.ObjectKey{Namespace: name, Name: key}, obj)
			})
			if err != nil {
				return nil, fmt.Errorf("waiting for %s in namespace %s: %w", key, name, err)
			}
		}
	}
	return names, l.settle(ctx)
}

// settle waits until the API server has written nothing for two seconds, Leases and Events apart.
func (l *lab) settle(ctx context.Context) error {
	last, since := -1.0, time.Now()
	return eventually(ctx, time.Minute, func() error {
		counts, err := l.writes(ctx)
		if err != nil {
			return err
		}
		if counts.total != last {
			last, since = counts.total, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			time.Sleep(200 * time.Millisecond) // the API server's metrics are not free
			return errors.New("there are still writes")
		}
		return nil
	})
}

func object(kind, apiVersion string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: fields}
	u.SetKind(kind)
	u.SetAPIVersion(apiVersion)
	return u
}
