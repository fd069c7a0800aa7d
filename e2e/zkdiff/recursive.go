package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// recursiveWatch is a connection of ZooKeeper's protocol with one persistent
// recursive watch, which the client library does not speak. It sees each change
// below its path once, in order, as Perch's scope subtree does.
type recursiveWatch struct {
	conn  net.Conn
	in    *bufio.Reader
	limit time.Duration // of one exchange
	xid   int32
	seen  []event // with whole paths
}

// Numbers of ZooKeeper's protocol.
const (
	wireExists       = 3
	wireCloseSession = -11
	wireAddWatch     = 106

	xidEvent = -1

	persistentRecursive = 1
)

// dialRecursive opens a session and, unless path is empty, sets the watch.
func dialRecursive(addr, path string, limit time.Duration) (*recursiveWatch, error) {
	conn, err := net.DialTimeout("tcp", addr, limit)
	if err != nil {
		return nil, err
	}
	w := &recursiveWatch{conn: conn, in: bufio.NewReader(conn), limit: limit}
	if err := w.handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	if path != "" {
		if err := w.call(wireAddWatch, binary.BigEndian.AppendUint32(wireText(nil, path), persistentRecursive)); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return w, nil
}

// handshake is ConnectRequest and ConnectResponse.
func (w *recursiveWatch) handshake() error {
	var b []byte
	b = binary.BigEndian.AppendUint32(b, 0)      // protocol version
	b = binary.BigEndian.AppendUint64(b, 0)      // last zxid seen
	b = binary.BigEndian.AppendUint32(b, 40_000) // session time-out, ms
	b = binary.BigEndian.AppendUint64(b, 0)      // session id: a new one
	b = wireText(b, string(make([]byte, 16)))    // password
	if err := w.send(b); err != nil {
		return err
	}
	_, err := w.receive()
	return err
}

// call sends one request, and takes events until its response has come.
func (w *recursiveWatch) call(opcode int32, body []byte) error {
	w.xid++
	b := binary.BigEndian.AppendUint32(nil, uint32(w.xid))
	b = binary.BigEndian.AppendUint32(b, uint32(opcode))
	if err := w.send(append(b, body...)); err != nil {
		return err
	}
	for {
		frame, err := w.receive()
		if err != nil {
			return err
		}
		if len(frame) < 16 {
			return fmt.Errorf("zookeeper: a frame of %d bytes", len(frame))
		}
		xid := int32(binary.BigEndian.Uint32(frame))
		switch {
		case xid == xidEvent:
			if err := w.take(frame[16:]); err != nil {
				return err
			}
		case xid == w.xid:
			if code := int32(binary.BigEndian.Uint32(frame[12:])); code != 0 {
				return fmt.Errorf("zookeeper: request %d was refused with %d", opcode, code)
			}
			return nil
		}
	}
}

// take keeps a WatcherEvent.
func (w *recursiveWatch) take(b []byte) error {
	if len(b) < 12 || len(b) < 12+int(binary.BigEndian.Uint32(b[8:])) {
		return fmt.Errorf("zookeeper: an event of %d bytes", len(b))
	}
	name := map[uint32]string{1: "created", 2: "deleted", 3: "changed"}[binary.BigEndian.Uint32(b)]
	if name == "" {
		return fmt.Errorf("zookeeper: an event of type %d", binary.BigEndian.Uint32(b))
	}
	w.seen = append(w.seen, event{name, string(b[12 : 12+binary.BigEndian.Uint32(b[8:])])})
	return nil
}

// events are those since the last call. ZooKeeper queues an event before it
// answers who caused it, so all of what has been answered is here once a further
// request has been.
func (w *recursiveWatch) events() ([]event, error) {
	if err := w.call(wireExists, append(wireText(nil, "/"), 0)); err != nil {
		return nil, err
	}
	seen := w.seen
	w.seen = nil
	return seen, nil
}

func (w *recursiveWatch) close() {
	_ = w.call(wireCloseSession, nil)
	w.conn.Close()
}

func (w *recursiveWatch) send(b []byte) error {
	_ = w.conn.SetDeadline(time.Now().Add(w.limit))
	_, err := w.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func (w *recursiveWatch) receive() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(w.in, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w.in, frame)
	return frame, err
}

// wireText appends a string or buffer as the protocol has them.
func wireText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
