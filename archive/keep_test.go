package archive

import (
	"slices"
	"strings"
	"testing"
	"time"

	"perch/quorum"
)

func TestSurplus(t *testing.T) {
	now := time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)
	// Each snapshot: how many hours old; with ! no transactions lead to it.
	for name, c := range map[string]struct {
		keep       Keep
		ages, gone string // oldest first
		base       int    // index
	}{
		"nothing is old":            {Keep{48 * time.Hour, 9}, "3! 2 1", "", 0},
		"the base is kept":          {Keep{48 * time.Hour, 9}, "90! 70 50 40 1", "90 70", 2},
		"an old one alone":          {Keep{time.Hour, 1}, "900!", "", 0},
		"old ones, all of them":     {Keep{time.Hour, 1}, "900! 800", "900", 1},
		"one of each day":           {Keep{99 * time.Hour, 1}, "64! 60 40 38 36 17 16 15 1", "60 38 36 16 15", 0},
		"and the newest":            {Keep{99 * time.Hour, 3}, "17! 16 15 14 13 12", "16 15", 0},
		"one behind a hole is kept": {Keep{99 * time.Hour, 1}, "17! 16 15! 14 13", "16 14", 0},
		"none":                      {Keep{time.Hour, 1}, "", "", -1},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			var all []keptSnapshot
			var byAge []string
			for i, age := range strings.Fields(c.ages) {
				text, hole := strings.CutSuffix(age, "!")
				d, err := time.ParseDuration(text + "h")
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, keptSnapshot{zxid: quorum.Zxid(i + 1), taken: now.Add(-d), bridged: !hole})
				byAge = append(byAge, text)
			}
			gone, base := c.keep.surplus(all, now)
			var got []string
			for _, z := range gone {
				got = append(got, byAge[z-1])
			}
			if !slices.Equal(got, strings.Fields(c.gone)) || base != quorum.Zxid(c.base+1) {
				t.Errorf("gone %v, base %d", got, base)
			}
		})
	}
}

func TestParseKeep(t *testing.T) {
	for text, want := range map[string]Keep{
		"30d": {720 * time.Hour, 24}, "1d,3": {24 * time.Hour, 3}, "90m,1": {90 * time.Minute, 1},
	} {
		got, err := ParseKeep(text)
		again, _ := ParseKeep(got.String())
		if err != nil || got != want || again != want {
			t.Errorf("%s: %v, %v, again %v", text, got, err, again)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1d,", "1d,0", "10s", "1d,3,4", "9999999999d", "1w"} {
		if got, err := ParseKeep(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestLagClock(t *testing.T) {
	var c lagClock
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for s := range 5000 {
		c.observe(at(s), quorum.Zxid(s))
	}
	if n := len(c.samples); n > lagSamples {
		t.Errorf("%d samples", n)
	}
	for _, z := range []quorum.Zxid{100, 2500, 4900} {
		exact := at(4999).Sub(at(int(z) + 1))
		if got := c.lag(at(4999), z); got > exact || got < exact*9/10 {
			t.Errorf("the lag behind %d is %v, exactly %v", z, got, exact)
		}
	}
	c.forget(4999)
	if got := c.lag(at(9000), 4999); got != 0 {
		t.Errorf("with everything archived the lag is %v", got)
	}
	c.observe(at(9000), 5000)
	if got := c.lag(at(9003), 4999); got != 3*time.Second {
		t.Errorf("the lag is %v", got)
	}
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://perch@127.0.0.1:5432/archive":                           "",
		"postgresql://perch@localhost/archive":                              "",
		"postgres:///archive?host=/run/postgresql":                          "",
		"postgres://perch@db.example/archive?sslmode=verify-full":           "",
		"postgres://perch@db.example/archive":                               "sslmode=verify-full",
		"postgres://perch@db.example/archive?sslmode=require":               "sslmode=verify-full",
		"postgres://perch:hunter22@127.0.0.1/archive":                       "holds a password",
		"postgres://perch@127.0.0.1/archive?password=hunter22":              "holds a password",
		"postgres://perch@127.0.0.1/archive?sslpassword=hunter22":           "holds a password",
		"postgres://perch:hunter22%zz@127.0.0.1/archive":                    "is no URL",
		"host=127.0.0.1 password=hunter22":                                  "must be a URL",
		"postgres://perch@127.0.0.1:0x/archive":                             "is no URL",
		"postgres://perch@127.0.0.1/archive?sslmode=hunter22":               "cannot be used",
		"mysql://perch@127.0.0.1/archive":                                   "must be a URL",
		"postgres://perch@db.example,127.0.0.1/archive?sslmode=verify-full": "",
		"postgres://perch@127.0.0.1,db.example/archive":                     "sslmode=verify-full",
	} {
		err := Access{URL: url}.Check(false)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", url, err)
		case err != nil && want != "cannot be used" && strings.Contains(err.Error(), "hunter22"):
			t.Errorf("%s: the password is in %q", url, err)
		}
		if err := (Access{URL: url}).Check(true); want == "sslmode=verify-full" && err != nil {
			t.Errorf("%s with --insecure: %v", url, err)
		}
	}
}
