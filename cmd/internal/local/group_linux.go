package local

import "syscall"

// ownGroup puts a node in a process group of its own, so that Ctrl-C at the
// terminal reaches only the program that stops the nodes in order, and has the
// kernel stop it should that program be killed.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
