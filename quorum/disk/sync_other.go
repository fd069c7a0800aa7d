//go:build !linux

package disk

// Sync is fsync where there is no fdatasync.
func (f osFile) Sync() error { return f.File.Sync() }
