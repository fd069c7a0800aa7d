package sim

// Cut is what was taken from a run to make it shorter.
type Cut struct {
	Strikes map[int]bool // left out, by number
}

func (c *Cut) skips(strike int) bool { return c != nil && c.Strikes[strike] }
