//go:build !linux

package cli

import "syscall"

// diesWithParent is known on Linux only: elsewhere a command whose `perch lock`
// is killed goes on without the lock.
func diesWithParent() *syscall.SysProcAttr { return nil }
