package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// terminal is a process that believes a person sits before it.
type terminal struct {
	t   *testing.T
	cmd *exec.Cmd
	pty *os.File // what the person types and sees

	mu   sync.Mutex
	seen bytes.Buffer
	read int // of seen, by expect
}

// openPTY makes a pseudo terminal: the person's end, and the name of the other.
func openPTY(t *testing.T) (person *os.File, name string) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	control := func(request uintptr, arg unsafe.Pointer) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request, uintptr(arg)); errno != 0 {
			t.Fatal(errno)
		}
	}
	var number, unlock uint32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	size := [4]uint16{24, 100, 0, 0}
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	return person, fmt.Sprintf("/dev/pts/%d", number)
}

// atTerminal starts perch at a terminal.
func atTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	person, name := openPTY(t)
	tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, pty: person, cmd: exec.Command(perchBinary(t), args...)}
	x.cmd.Env = append(append(cleanEnv(t), "TERM=xterm"), env...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = tty, tty, tty
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	t.Cleanup(func() { _ = x.cmd.Process.Kill() })
	go x.watch()
	return x
}

// watch takes in what is shown, until the process has closed its end.
func (x *terminal) watch() {
	piece := make([]byte, 4096)
	for {
		n, err := x.pty.Read(piece)
		x.mu.Lock()
		x.seen.Write(piece[:n])
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// types presses keys.
func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := x.pty.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// expect waits until text is shown, behind what was expected before.
func (x *terminal) expect(text string) {
	x.t.Helper()
	eventually(x.t, patience, fmt.Sprintf("%q is shown", text), func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		rest := x.seen.String()[x.read:]
		i := strings.Index(rest, text)
		if i < 0 {
			return fmt.Errorf("shown: %q", rest)
		}
		x.read += i + len(text)
		return nil
	})
}

// ends waits for the end, and returns the exit code.
func (x *terminal) ends() int {
	x.t.Helper()
	ended := make(chan struct{})
	go func() {
		_ = x.cmd.Wait()
		close(ended)
	}()
	eventually(x.t, patience, "it ends", func() error {
		select {
		case <-ended:
			return nil
		default:
			return fmt.Errorf("it runs; shown: %q", x.seen.String())
		}
	})
	return x.cmd.ProcessState.ExitCode()
}
