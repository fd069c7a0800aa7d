package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// answerTimeout is how long one answer may take before its connection counts
// as broken. A write may wait 5 s for its outcome (DESIGN.md, life of a write).
const answerTimeout = 10 * time.Second

// conn is one keep-alive HTTP/1.1 connection that sends requests which were
// formatted beforehand, one at a time. It understands of an answer what it
// must to count it and to find its end: status, Content-Length, chunks.
// It belongs to one goroutine.
type conn struct {
	addr string
	net  net.Conn
	buf  []byte // read buffer; buf[r:w] is read and not used
	r, w int
	due  time.Time // deadline that is set on net
}

func newConn(addr string) *conn { return &conn{addr: addr, buf: make([]byte, 8<<10)} }

// do sends one request at now and returns the status of the answer. After an
// error the connection is closed and the next call dials again.
func (c *conn) do(request []byte, now time.Time) (status int, err error) {
	if c.net == nil {
		if c.net, err = net.DialTimeout("tcp", c.addr, answerTimeout); err != nil {
			c.net = nil
			return 0, err
		}
		c.r, c.w, c.due = 0, 0, time.Time{}
	}
	if c.due.Sub(now) < answerTimeout/2 { // not at every request: setting it is not free
		c.due = now.Add(answerTimeout)
		_ = c.net.SetDeadline(c.due)
	}
	status, closing, err := c.exchange(request)
	if err != nil || closing {
		c.close()
	}
	return status, err
}

func (c *conn) close() {
	if c.net != nil {
		_ = c.net.Close()
		c.net = nil
	}
}

func (c *conn) exchange(request []byte) (status int, closing bool, err error) {
	if _, err := c.net.Write(request); err != nil {
		return 0, false, err
	}
	for {
		head, err := c.head()
		if err != nil {
			return 0, false, err
		}
		a, err := parseHead(head)
		if err != nil {
			return 0, false, err
		}
		if a.status >= 100 && a.status < 200 {
			continue // interim answer; the real one follows
		}
		return a.status, a.closing, c.skipBody(a)
	}
}

// head returns the bytes of status line and headers with the empty line.
func (c *conn) head() ([]byte, error) {
	from := c.r
	for {
		if i := bytes.Index(c.buf[from:c.w], []byte("\r\n\r\n")); i >= 0 {
			head := c.buf[c.r : from+i+4]
			c.r = from + i + 4
			return head, nil
		}
		seen := max(c.w-c.r-3, 0) // the mark may straddle two reads
		if err := c.fill(); err != nil {
			return nil, err
		}
		from = c.r + seen
	}
}

// fill reads more bytes behind those that are not used yet.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r == 0 {
			return errors.New("answer with headers beyond 8 KiB")
		}
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.net.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *conn) skipBody(a answer) error {
	switch {
	case a.status == 204 || a.status == 304:
		return nil
	case a.chunked:
		return c.skipChunks()
	case a.length < 0:
		return errors.New("answer without a length")
	default:
		return c.skip(a.length)
	}
}

// skip drops n bytes.
func (c *conn) skip(n int64) error {
	for {
		have := min(int64(c.w-c.r), n)
		c.r += int(have)
		if n -= have; n == 0 {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

func (c *conn) skipChunks() error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		digits, _, _ := bytes.Cut(line, []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(digits)), 16, 31)
		if err != nil {
			return fmt.Errorf("chunk size: %w", err)
		}
		if size == 0 {
			break
		}
		if err := c.skip(int64(size) + 2); err != nil { // the chunk and its line end
			return err
		}
	}
	for { // trailers
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
	}
}

// line returns one line without its end; valid until the next read.
func (c *conn) line() ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte("\r\n")); i >= 0 {
			line := c.buf[c.r : c.r+i]
			c.r += i + 2
			return line, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// answer is what matters of status line and headers.
type answer struct {
	status  int
	length  int64 // −1 without Content-Length
	chunked bool
	closing bool
}

var (
	headLength  = []byte("content-length")
	headCoding  = []byte("transfer-encoding")
	headConnect = []byte("connection")
)

func parseHead(head []byte) (answer, error) {
	a := answer{length: -1}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return a, fmt.Errorf("no HTTP/1 answer: %.40q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil || status < 100 {
		return a, fmt.Errorf("no HTTP/1 status: %.40q", line)
	}
	a.status, a.closing = status, line[7] == '0'
	for len(rest) > 2 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if err := a.header(line); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *answer) header(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return fmt.Errorf("malformed header: %.40q", line)
	}
	name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
	switch {
	case len(name) == len(headLength) && bytes.EqualFold(name, headLength):
		n, err := strconv.ParseUint(string(value), 10, 62)
		if err != nil {
			return fmt.Errorf("content length: %w", err)
		}
		a.length = int64(n)
	case len(name) == len(headCoding) && bytes.EqualFold(name, headCoding):
		a.chunked = bytes.EqualFold(value, []byte("chunked"))
	case len(name) == len(headConnect) && bytes.EqualFold(name, headConnect):
		a.closing = bytes.EqualFold(value, []byte("close"))
	}
	return nil
}
