package seam

import (
	"time"

	"perch/gen/seampb"
	"perch/quorum"
)

// earlyMax is how many pushes an interest takes before the answer that begins it.
const earlyMax = 16

// vainMax is how many ids are kept that a node is to be told of as not wanted.
const vainMax = 1024

// vain notes that a node follows what nobody wants of it; the caller holds mu.
func (c *Client) vain(r *remote, id uint64) {
	delete(r.followed, id)
	if len(r.unwanted) < vainMax {
		r.unwanted = append(r.unwanted, id)
	}
}

// followed makes an interest live, unless the link has broken since q was asked.
// It reports false when the interest is to be asked for again. The caller holds
// mu.
func (c *Client) followed(in *interest, r *remote, q *seampb.Follow, f *seampb.Followed) bool {
	switch {
	case in.over:
		c.vain(r, q.GetId())
		return true
	case r.link != q.GetLink() || r.followed[q.GetId()] != in:
		return false
	case r.life != 0 && r.life != f.GetLife():
		c.renumber(r)
		return false
	}
	r.life = f.GetLife()
	early := in.early
	in.live, in.opening, in.early = true, false, nil
	for _, b := range append([]*seampb.Batch{f.GetFirst()}, early...) {
		if !c.apply(in, b) {
			break
		}
	}
	return true
}

// advance takes a push of a node. The caller holds mu.
func (c *Client) advance(r *remote, in *seampb.ToGateway) {
	if in.GetLink() != r.link || in.GetLife() == 0 {
		return // of a link that was given up
	}
	if r.life == 0 {
		r.life = in.GetLife()
	}
	batches, beat := in.GetBatches(), in.GetBeat()
	switch seq := in.GetSeq(); {
	case r.life != in.GetLife(), len(batches) > 0 && seq > r.seq+1, len(batches) == 0 && seq > r.seq:
		c.log.Debug("pushes of a node were lost: history is read again", "node", r.id)
		c.renumber(r)
		return
	case len(batches) > 0 && seq == r.seq+1:
		r.seq = seq
		for _, b := range batches {
			c.batch(r, b)
		}
	}
	if beat != nil {
		c.moved(r, quorum.Zxid(beat.GetThrough()))
	}
}

// batch takes what was pushed for one interest; the caller holds mu.
func (c *Client) batch(r *remote, b *seampb.Batch) {
	in := r.followed[b.GetId()]
	switch {
	case in == nil:
		c.vain(r, b.GetId())
	case in.live:
		c.apply(in, b)
	case len(in.early) < earlyMax:
		in.early = append(in.early, b)
	default:
		c.vain(r, in.id) // its answer does not come
	}
}

// apply takes a batch of a live interest; false when that is over. The caller
// holds mu.
func (c *Client) apply(in *interest, b *seampb.Batch) bool {
	through := quorum.Zxid(b.GetThrough())
	if b.GetOver() || quorum.Zxid(b.GetFrom()) < in.through {
		c.finish(in, nil) // the second cannot happen: then nothing is known
		return false
	}
	in.through = max(in.through, through)
	events := back(b.GetEvents(), fromEvent)
	switch {
	case b.GetHappened():
		in.last = in.through
		c.trim(in)
	case len(events) > 0:
		in.last = events[len(events)-1].Zxid
		in.events, in.came = append(in.events, events...), time.Now()
		size := 0
		for i := range events {
			size += eventBytes + len(events[i].Path)
		}
		in.bytes += size
		if c.kept += size; in.bytes > runBytes || c.kept > runsBytes {
			c.trim(in)
		}
	}
	in.rouse()
	return true
}

// moved notes that nothing happened to any interest of a node up to z; the caller
// holds mu.
func (c *Client) moved(r *remote, z quorum.Zxid) {
	for _, in := range r.followed {
		if in.live {
			in.through = max(in.through, z)
		}
	}
}

// tidy lets go of what nobody needs any more: old events, and interests that
// nobody waits for.
func (c *Client) tidy() {
	c.mu.Lock()
	now := time.Now()
	for _, in := range c.interests {
		if len(in.events) > 0 && now.Sub(in.came) >= runAge {
			c.trim(in)
		}
		if in.waiting == 0 && now.Sub(in.idle) >= lingerFor {
			c.finish(in, nil)
		}
	}
	gone := make(map[quorum.NodeID]*seampb.Unfollow)
	for id, r := range c.nodes {
		for key, in := range r.followed {
			if in.over {
				c.vain(r, key)
			}
		}
		if len(r.unwanted) > 0 {
			gone[id] = &seampb.Unfollow{Link: r.link, Ids: r.unwanted}
			r.unwanted = nil
		}
	}
	c.mu.Unlock()
	for id, u := range gone {
		c.tell(id, &seampb.ToNode{Say: &seampb.ToNode_Unfollow{Unfollow: u}})
	}
}
