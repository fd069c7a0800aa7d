package natsnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/quorum"
)

func ask(t *testing.T, n *Net, to quorum.NodeID, kind Kind, body []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Ask(ctx, to, kind, body)
}

func TestAsk(t *testing.T) {
	nets := mesh(t, 3)
	for _, n := range nets {
		for _, kind := range []Kind{KindTouch, KindChunk, 255} {
			n.Handle(kind, func(from quorum.NodeID, body []byte) ([]byte, error) {
				return fmt.Appendf(nil, "%d to %d, kind %d: %s", from, n.opts.ID, kind, body), nil
			})
		}
	}
	for _, kind := range []Kind{KindTouch, KindChunk, 255} {
		for _, to := range []quorum.NodeID{2, 3} {
			got, err := ask(t, nets[0], to, kind, []byte("hello"))
			if want := fmt.Sprintf("1 to %d, kind %d: hello", to, kind); err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		}
	}
	s := nets[0].Stats()
	if s.Asked == 0 || nets[1].Stats().Served == 0 {
		t.Error("nothing was counted")
	}
}

// Eight chunks in flight, as a learner pulls a snapshot.
func TestAskInParallel(t *testing.T) {
	nets := mesh(t, 2)
	file := bytes.Repeat([]byte("0123456789abcdef"), 60_000/16)
	nets[1].Handle(KindChunk, func(_ quorum.NodeID, body []byte) ([]byte, error) {
		return append(bytes.Clone(body), file...), nil
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				id := fmt.Appendf(nil, "%d.%d:", i, j)
				got, err := ask(t, nets[0], 2, KindChunk, id)
				if err != nil || !bytes.Equal(got, append(id, file...)) {
					t.Errorf("chunk %s: %d bytes, %v", id, len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAskErrors(t *testing.T) {
	nets := mesh(t, 2)
	release := make(chan struct{})
	defer close(release)
	nets[1].Handle(1, func(quorum.NodeID, []byte) ([]byte, error) { return nil, errors.New("no such thing") })
	nets[1].Handle(2, func(quorum.NodeID, []byte) ([]byte, error) { <-release; return nil, nil })
	nets[1].Handle(3, func(quorum.NodeID, []byte) ([]byte, error) { return make([]byte, 2<<20), nil })
	nets[1].Handle(4, func(quorum.NodeID, []byte) ([]byte, error) { return nil, nil })
	nets[1].Handle(4, nil)

	_, err := ask(t, nets[0], 2, 1, nil)
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Peer != 2 || remote.Text != "no such thing" {
		t.Errorf("a handler that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = nets[0].Ask(ctx, 2, 2, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("asker gone: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err = nets[0].Ask(ctx, 2, 2, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late: %v", err)
	}
	if _, err = ask(t, nets[0], 2, 3, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("answer too large: %v", err)
	}
	if _, err = ask(t, nets[0], 2, 1, make([]byte, 2<<20)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("question too large: %v", err)
	}
	for _, kind := range []Kind{4, 99} {
		if _, err = ask(t, nets[0], 2, kind, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("kind %d that nobody answers: %v", kind, err)
		}
	}
	for _, to := range []quorum.NodeID{0, 1, 9} {
		if _, err = ask(t, nets[0], to, 1, nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("node %d: %v", to, err)
		}
	}
}

// A peer that is down is told from one that does not answer.
func TestAskPeerThatIsDown(t *testing.T) {
	nets := mesh(t, 2)
	nets[1].Close()
	until(t, func() bool {
		_, err := ask(t, nets[0], 2, 1, nil)
		if !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrLost) {
			t.Errorf("got %v", err)
		}
		return errors.Is(err, ErrUnreachable)
	})
	nets[0].Close()
	if _, err := ask(t, nets[0], 2, 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A question to a peer that dies over it ends at once, with an unknown outcome.
func TestAskPeerThatDies(t *testing.T) {
	peers := peersAt(freeAddrs(t, 2)...)
	n := start(t, testOptions(1, peers))
	c := child(t, 2, peers)
	awaitHint(t, n)
	until(t, func() bool {
		got, _ := ask(t, n, 2, KindTouch, nil)
		return string(got) == "child"
	})
	result := make(chan error)
	go func() {
		_, err := ask(t, n, 2, childHangs, nil)
		result <- err
	}()
	until(t, func() bool {
		got, _ := ask(t, n, 2, KindTouch, nil)
		return string(got) == "child, asked"
	})
	_ = c.Process.Kill()
	if err := <-result; !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

// Close ends a question in flight.
func TestCloseEndsQuestions(t *testing.T) {
	nets := mesh(t, 2)
	asked, release := make(chan struct{}), make(chan struct{})
	nets[1].Handle(1, func(quorum.NodeID, []byte) ([]byte, error) {
		close(asked)
		<-release
		return nil, nil
	})
	result := make(chan error)
	go func() {
		_, err := nets[0].Ask(context.Background(), 2, 1, nil)
		result <- err
	}()
	<-asked
	nets[0].Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	close(release)
}

func TestTooManyQuestionsAreRefused(t *testing.T) {
	nets := mesh(t, 2)
	release := make(chan struct{})
	nets[1].Handle(1, func(quorum.NodeID, []byte) ([]byte, error) { <-release; return nil, nil })
	var wg sync.WaitGroup
	results := make(chan error, 2*handlersMax)
	for range cap(results) {
		wg.Go(func() {
			_, err := nets[0].Ask(context.Background(), 2, 1, nil)
			results <- err
		})
	}
	for range cap(results) - handlersMax {
		if err := <-results; !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "busy") {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Errorf("got %v", err)
		}
	}
	if got := nets[1].Stats().Busy; got != handlersMax {
		t.Errorf("%d refused", got)
	}
}

// A question that was recorded cannot be asked of another node, in another
// kind, nor can an old answer be given to a new question.
func TestQuestionsAndAnswersAreBound(t *testing.T) {
	nets := mesh(t, 3)
	nets[1].Handle(1, func(quorum.NodeID, []byte) ([]byte, error) { return []byte("x"), nil })
	conn := nets[0].links[requests].conn
	subject := nets[0].names.ask(2, 1)
	question := nets[0].seals.add(askFrame(1, 1, nil), subject)
	msg, err := conn.Request(subject, question, patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := nets[0].seals.open(msg.Data, sealOf(question)); !ok {
		t.Error("the answer is not sealed for its question")
	}
	other := nets[0].seals.add(askFrame(1, 1, []byte("other")), subject)
	if _, ok := nets[0].seals.open(msg.Data, sealOf(other)); ok {
		t.Error("the answer passes for that of another question")
	}
	if err := conn.Publish(nets[0].names.ask(3, 1), question); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return nets[2].Stats().Forged == 1 })
	wrong := nets[0].names.ask(2, 7)
	if err := conn.Publish(wrong, nets[0].seals.add(askFrame(1, 1, nil), wrong)); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return nets[1].Stats().Damaged == 1 })
}
