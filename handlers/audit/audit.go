// Package audit appends lines to a file that tells who changed what.
//
// It guarantees that a line is whole or reported as lost, that lines of
// concurrent requests are never mixed, and that a file which was moved away is
// made anew. What Write has returned without an error survives the end of the
// process; it is not synced to the disk.
package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Entry is one line. It holds neither values nor credentials. Of a request that
// has a line for its begin there are two, with one RequestID.
type Entry struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"`               // begin or end
	Principal string    `json:"principal,omitempty"` // "" when nobody has proved to be anybody
	Tenant    string    `json:"tenant,omitempty"`    // of an identity provider
	Token     string    `json:"token,omitempty"`     // id of the API token
	Address   string    `json:"address"`             // of the connection
	Method    string    `json:"method"`
	Route     string    `json:"route"`
	Path      string    `json:"path"`               // of the URL
	Subjects  []string  `json:"subjects,omitempty"` // what else it is about: paths in a multi, whose token it is
	Location  string    `json:"location,omitempty"` // of what was made, where the path does not say
	Status    int       `json:"status,omitempty"`
	Code      string    `json:"code,omitempty"`   // of the problem
	Reason    string    `json:"reason,omitempty"` // why credentials were refused; the client is not told
	Zxid      string    `json:"zxid,omitempty"`   // position of the change
	RequestID string    `json:"request_id"`
}

// The values of Entry.Event.
const (
	Begin = "begin" // a change is about to be tried: only where the log is required
	End   = "end"   // it was tried, or a request was denied
)

// checkEvery is how often a file that was moved away is looked for.
const checkEvery = time.Second

// Log is an open file. It may be used concurrently.
type Log struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	file    *os.File
	checked time.Time
	torn    bool // the last line of file may not be whole
}

// Open appends to the file at path, made with mode 0600 if there is none.
func Open(path string) (*Log, error) {
	l := &Log{path: path, now: time.Now}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Log) open() error {
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	l.file, l.torn, l.checked = file, false, l.now()
	return nil
}

// Write appends e as one line of JSON. After an error the line counts as lost;
// the next call tries again.
func (l *Log) Write(e *Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.follow(); err != nil {
		return err
	}
	line = append(line, '\n')
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.file.Write(line)
	if err != nil {
		l.torn = l.torn || n > 0
		return fmt.Errorf("audit log: %w", err)
	}
	l.torn = false
	return nil
}

// follow opens the file again when another one, or none, has its name by now: a
// rotation has moved it away. The caller holds mu.
func (l *Log) follow() error {
	if l.file != nil {
		if l.now().Sub(l.checked) < checkEvery {
			return nil
		}
		l.checked = l.now()
		named, err := os.Stat(l.path)
		if err == nil {
			if open, err := l.file.Stat(); err == nil && os.SameFile(named, open) {
				return nil
			}
		}
		_ = l.file.Close() // nothing is buffered
		l.file = nil
	}
	return l.open()
}

// Close ends the log; no Write may follow.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
