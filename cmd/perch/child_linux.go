package main

import "syscall"

// diesWithParent has a command that runs under a lock end with the process that
// renews the lock, however that ends.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
