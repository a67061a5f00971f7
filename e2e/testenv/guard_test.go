package testenv

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A guard kills what works in its directory, and removes that, when it is left alone, and does nothing when it is dismissed.
func TestGuard(t *testing.T) {
	for _, dismissed := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "plane")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		// The shell's second argument names the directory, as a server's flags do.
		server := exec.Command("/bin/sh", "-c", "read -r forever", "server", "--data-dir="+dir+"/etcd")
		stdin, err := server.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := startGuard(dir)
		if err != nil {
			t.Fatal(err)
		}
		if dismissed {
			if err := g.dismiss(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("the directory of a guard that was dismissed: %v", err)
			}
			stdin.Close() // it ends by itself, with the status of a read that failed
		} else if err := errors.Join(g.input.Close(), g.cmd.Wait()); err != nil {
			t.Error(err)
		}
		err = server.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Exited() != dismissed {
			t.Errorf("dismissed %t: the server ended with %v", dismissed, err)
		}
		if _, err := os.Stat(dir); !dismissed && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory is still there: %v", err)
		}
	}
}
