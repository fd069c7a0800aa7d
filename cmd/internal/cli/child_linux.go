package cli

import "syscall"

// diesWithParent has a command that runs under a hold end with the process that
// renews the lock, however that ends.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
