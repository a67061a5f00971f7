package testenv

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// guardScript waits until its standard input ends. A word before that end means that all has been stopped in order. Otherwise whoever
// started us is gone without a chance to clear up, as a test binary is that panics: the processes that have the directory among
// their arguments are killed, and the directory goes. Where there is no /proc it finds none.
const guardScript = `
if read -r word; then exit 0; fi
for process in /proc/[0-9]*; do
	[ "${process#/proc/}" = "$$" ] || if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qF -- "$1/"; then kill -9 "${process#/proc/}"; fi
done
rm -rf -- "$1"
`

// guard is a process that outlives us to clear up.
type guard struct {
	cmd   *exec.Cmd
	input io.WriteCloser
}

// startGuard starts a guard over a directory and the processes that work in it.
func startGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for us
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("preparing the guard of %s: %w", dir, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the guard of %s: %w", dir, err)
	}
	return &guard{cmd, input}, nil
}

// Guard has a directory removed, and the processes killed that work in it, when this process ends without having called dismiss.
func Guard(dir string) (dismiss func() error, err error) {
	g, err := startGuard(dir)
	if err != nil {
		return nil, err
	}
	return g.dismiss, nil
}

// dismiss ends a guard that is not needed any more.
func (g *guard) dismiss() error {
	_, err := io.WriteString(g.input, "done\n")
	if err == nil {
		err = g.cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("dismissing the guard: %w", err)
	}
	return nil
}
