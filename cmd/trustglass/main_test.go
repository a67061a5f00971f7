package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The image has no time zones. Where a test runs there are some, so that nothing but the list of what is linked tells.
func TestTimeZonesAreBuiltIn(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(out)), "time/tzdata") {
		t.Error("time/tzdata is not linked: the time zone of a renewal window would not be found")
	}
}

// One call that looks a method up by a name that the linker does not know, and it keeps all methods of all types: a quarter more to
// carry, and to hold in memory.
func TestUnusedMethodsAreNotLinked(t *testing.T) {
	link := exec.Command("go", "build", "-ldflags=-s -w -dumpdep", "-o", filepath.Join(t.TempDir(), "trustglass"), ".")
	out, err := link.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out) {
		if from, _, ok := bytes.Cut(line, []byte(" <ReflectMethod> ->")); ok {
			t.Fatalf("%s looks up methods by name", from)
		}
	}
	if !bytes.Contains(out, []byte(" -> main.main")) {
		t.Error("the linker does not say any more what needs what")
	}
}

func TestVersion(t *testing.T) {
	var said [2]string
	for i, arg := range []string{"version", "--version"} {
		var out bytes.Buffer
		c := command()
		c.SetArgs([]string{arg})
		c.SetOut(&out)
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
		said[i] = out.String()
	}
	if said[0] != said[1] || !strings.HasPrefix(said[0], "trustglass version unknown (go") {
		t.Errorf("version says %q, --version %q", said[0], said[1])
	}
}
