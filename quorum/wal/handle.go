package wal

import (
	"sync"

	"perch/quorum/disk"
)

// handle keeps a file open while somebody reads it, also when it was deleted
// meanwhile.
type handle struct {
	mu      sync.Mutex
	file    disk.File
	readers int
	done    bool // close with the last reader
}

func newHandle(f disk.File) *handle { return &handle{file: f} }

// acquire returns the file; false after release.
func (h *handle) acquire() (disk.File, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return nil, false
	}
	h.readers++
	return h.file, true
}

func (h *handle) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
	if h.done && h.readers == 0 {
		_ = h.file.Close()
	}
}

// release closes the file once nobody reads it.
func (h *handle) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return
	}
	h.done = true
	if h.readers == 0 {
		_ = h.file.Close()
	}
}
