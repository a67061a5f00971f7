// Command lab runs the daemon on a control plane of its own: the demo, a cluster to play with, and the benchmarks. `make help`
// lists the ways to start it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const usage = `usage: lab demo | up | down | run --kubeconfig PATH | bench [--out FILE] [--only NAME] [--runs N]`

func main() {
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	case ctx.Err() != nil && os.Args[1] == "run":
		fmt.Fprintln(os.Stderr, "interrupted; the daemon is stopped, the CRDs, roles and namespace stay in the cluster")
		os.Exit(130)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; everything is stopped and removed")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "the cluster to run against")
	out := flags.String("out", "bench.json", "where the figures go")
	only := flags.String("only", "", "the one benchmark to run")
	runs := flags.Int("runs", 3, "runs per figure; the median counts")
	if err := flags.Parse(args[1:]); err != nil {
		return errUsage
	}
	switch args[0] {
	case "demo":
		return demo(ctx)
	case "up":
		return up(ctx)
	case "serve": // what up leaves running
		return serve(ctx, flags.Arg(0))
	case "down":
		return down()
	case "run":
		if *kubeconfig == "" {
			return errUsage
		}
		return run(ctx, *kubeconfig)
	case "bench":
		return bench(ctx, *out, *only, *runs)
	}
	return errUsage
}

// daemonBinary is the daemon that was built beside this program.
func daemonBinary() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the daemon's binary: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "trustglass")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding the daemon's binary: %w: run make build", err)
	}
	return path, nil
}
