package natsnet

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"perch/quorum"
)

// BenchmarkRoundTrip is one message to a peer and its answer, inbox to inbox.
func BenchmarkRoundTrip(b *testing.B) {
	nets := mesh(b, 2)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case m := <-nets[1].Inbox():
				nets[1].Send(&quorum.Message{Type: quorum.MsgAck, From: 2, To: 1, Seq: m.Seq})
			case <-stop:
				return
			}
		}
	}()
	defer func() { close(stop); <-done }()
	var seq uint64
	for b.Loop() {
		seq++
		nets[0].Send(&quorum.Message{Type: quorum.MsgCommit, From: 1, Seq: seq})
		for m := range nets[0].Inbox() {
			if m.Seq == seq && m.Round != hello {
				break
			}
		}
	}
}

// BenchmarkPropose is a leader that sends batches to two followers, so many in
// flight, and waits for one acknowledgement of each.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []struct {
		name             string
		entries, bytes   int
		messagesInFlight uint64
	}{{"256Bx1", 1, 256, 64}, {"256Bx32", 32, 256, 16}, {"48KBx1", 1, 48<<10 - 64, 16}} {
		b.Run(size.name, func(b *testing.B) {
			benchPropose(b, size.entries, size.bytes, size.messagesInFlight)
		})
	}
}

func benchPropose(b *testing.B, entries, bytes int, window uint64) {
	nets := mesh(b, 3)
	stop := make(chan struct{})
	done := make(chan struct{}, 2)
	for _, n := range nets[1:] {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case m := <-n.Inbox():
					if m.Type == quorum.MsgPropose {
						n.Send(&quorum.Message{Type: quorum.MsgAck, From: n.opts.ID, To: 1, Seq: m.Seq})
					}
				case <-stop:
					return
				}
			}
		}()
	}
	defer func() { close(stop); <-done; <-done }()
	m := quorum.Message{Type: quorum.MsgPropose, From: 1}
	for i := range entries {
		m.Entries = append(m.Entries, quorum.Entry{Zxid: quorum.Zxid(i + 1), Kind: quorum.EntryCommand, Data: make([]byte, bytes)})
	}
	b.SetBytes(int64(entries * bytes))
	var acked uint64
	for b.Loop() {
		m.Seq++
		nets[0].Send(&m)
		for m.Seq-acked >= window {
			if a := <-nets[0].Inbox(); a.Type == quorum.MsgAck {
				acked = max(acked, a.Seq)
			}
		}
	}
	b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkGatewayAsk is a question of a gateway and its answer, so many at a
// time.
func BenchmarkGatewayAsk(b *testing.B) {
	n := gated(b, 1, "127.0.0.1:0")
	n.HandleGateways(echo)
	g := dialGateway(b, gatewayOptions(n.GatewayAddr()))
	connected(b, g, 1)
	body := make([]byte, 256)
	for _, workers := range []int{1, 16, 128} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := g.Ask(b.Context(), 1, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "asks/s")
		})
	}
}
