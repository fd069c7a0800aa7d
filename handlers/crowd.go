package handlers

import "sync"

// crowd counts the parked requests of each principal, so that none of them takes
// the room of all others. "" is nobody, who is not counted.
type crowd struct {
	most int

	mu sync.Mutex
	of map[string]int
}

// enter says whether there is room for one more of principal's, and takes it.
func (c *crowd) enter(principal string) bool {
	if principal == "" {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[principal] >= c.most {
		return false
	}
	if c.of == nil {
		c.of = make(map[string]int)
	}
	c.of[principal]++
	return true
}

// leave gives back what enter took.
func (c *crowd) leave(principal string) {
	if principal == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[principal]--; c.of[principal] == 0 {
		delete(c.of, principal)
	}
}
