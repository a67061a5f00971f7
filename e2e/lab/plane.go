package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trustglass/trustglass/e2e/testenv"
)

// lab is a control plane with deploy/ installed and the daemon running on it.
type lab struct {
	plane  *testenv.ControlPlane
	daemon *testenv.DaemonProcess
	admin  client.Client
}

// open starts a control plane and installs deploy/ on it; the daemon is not running yet.
func open(ctx context.Context) (*lab, error) {
	plane, err := testenv.Start(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	l := &lab{plane: plane}
	if err := testenv.Install(ctx, plane.Admin); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if l.admin, err = client.New(plane.Admin, client.Options{Scheme: testenv.Scheme()}); err != nil {
		return nil, errors.Join(fmt.Errorf("building the admin client: %w", err), l.close())
	}
	return l, nil
}

// start runs the daemon.
func (l *lab) start(ctx context.Context, args ...string) error {
	binary, err := daemonBinary()
	if err != nil {
		return err
	}
	l.daemon, err = testenv.StartDaemon(ctx, binary, l.plane.Dir, l.plane.Admin, args...)
	return err
}

// stop ends the daemon; the control plane stays.
func (l *lab) stop() error {
	if l.daemon == nil {
		return nil
	}
	d := l.daemon
	l.daemon = nil
	select {
	case <-d.Done():
		return errors.New("the daemon has ended by itself")
	default:
		return d.Stop()
	}
}

// close ends everything and removes every file.
func (l *lab) close() error { return errors.Join(l.stop(), l.plane.Stop()) }

// eventually polls f until it returns nil; the error names what was waited for and f's last answer.
func eventually(ctx context.Context, limit time.Duration, f func() error) error {
	return eventuallyEvery(ctx, limit, 10*time.Millisecond, f)
}

// eventuallyEvery is eventually with a pause of one's own between two calls, for what is a load by itself.
func eventuallyEvery(ctx context.Context, limit, pause time.Duration, f func() error) error {
	deadline := time.After(limit)
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(pause):
		}
	}
}
