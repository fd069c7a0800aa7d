package archive

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"perch/archive/pgtest"
	"perch/quorum"
)

// quick has a shipper give up after a second.
func quick(c *Config) { c.Within = time.Second }

// value is a metric of reg, summed over its labels.
func value(t *testing.T, reg *prometheus.Registry, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(labels) == 0 || len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == labels[0]) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// Whatever is wrong with the database (RELIABILITY.md B10) shows as what it is:
// in a metric, in Status and in one line of the log; and once it is over
// everything is archived, once.
func TestFaults(t *testing.T) {
	s := pgtest.Start(t)
	for name, c := range map[string]struct {
		kind      Kind
		fail, end func(t *testing.T, url string, password *atomic.Pointer[string])
	}{
		"stopped": {KindUnreachable,
			func(*testing.T, string, *atomic.Pointer[string]) { s.Stop() },
			func(*testing.T, string, *atomic.Pointer[string]) { s.Launch() }},
		"hung": {KindTimeout,
			func(*testing.T, string, *atomic.Pointer[string]) { s.Freeze() },
			func(*testing.T, string, *atomic.Pointer[string]) { s.Thaw() }},
		"too slow": {KindTimeout,
			func(t *testing.T, url string, _ *atomic.Pointer[string]) {
				s.Exec(t, url, trigger("BEFORE INSERT ON perch.transactions", "PERFORM pg_sleep(5)", "FOR EACH STATEMENT"))
			}, dropTrigger(s, "transactions")},
		"full": {KindFull,
			func(t *testing.T, url string, _ *atomic.Pointer[string]) {
				s.Exec(t, url, trigger("BEFORE INSERT ON perch.batches",
					"RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'", "FOR EACH ROW"))
			}, dropTrigger(s, "batches")},
		"wrong password": {KindAuth,
			func(t *testing.T, _ string, password *atomic.Pointer[string]) {
				wrong := "wr0ng-passw0rd"
				password.Store(&wrong)
				s.Exec(t, "postgres", terminateShippers)
			},
			func(_ *testing.T, _ string, password *atomic.Pointer[string]) { password.Store(&shipperPassword) }},
		"no connection left": {KindConnections,
			func(t *testing.T, _ string, _ *atomic.Pointer[string]) {
				s.Exec(t, "postgres", `ALTER ROLE shipper CONNECTION LIMIT 0`)
				s.Exec(t, "postgres", terminateShippers)
			},
			func(t *testing.T, _ string, _ *atomic.Pointer[string]) {
				s.Exec(t, "postgres", `ALTER ROLE shipper CONNECTION LIMIT -1`)
			}},
		"tables gone": {KindSchema,
			func(t *testing.T, url string, _ *atomic.Pointer[string]) {
				s.Exec(t, url, `ALTER TABLE perch.transactions RENAME TO elsewhere`)
			},
			func(t *testing.T, url string, _ *atomic.Pointer[string]) {
				s.Exec(t, url, `ALTER TABLE perch.elsewhere RENAME TO transactions`)
			}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			url, src := shipperDatabase(t, s), newMemory(20)
			var password atomic.Pointer[string]
			password.Store(&shipperPassword)
			reg := prometheus.NewRegistry()
			r := launch(t, s, url, src, quick, func(cfg *Config) {
				cfg.Metrics = reg
				cfg.Password = func() (string, error) { return *password.Load(), nil }
			})
			r.caughtUp(t, src)
			before := r.log.String()
			c.fail(t, url, &password)
			src.fill(50)
			until(t, fmt.Sprintf("failing as %s: %s", c.kind, r.Status().Error), func() bool {
				return r.Status().State == stateFailing && value(t, reg, "perch_archive_errors_total", string(c.kind)) >= 2
			})
			st := r.Status()
			if st.Error == "" || st.Lag <= 0 || st.Zxid >= src.Applied() || value(t, reg, "perch_archive_lag_transactions") < 50 ||
				value(t, reg, "perch_archive_lag_seconds") <= 0 || value(t, reg, "perch_archive_state", stateFailing) != 1 {
				t.Errorf("status %+v, state %v, lag %v", st, value(t, reg, "perch_archive_state", stateFailing), value(t, reg, "perch_archive_lag_transactions"))
			}
			c.end(t, url, &password)
			r.caughtUp(t, src)
			until(t, "shipping", func() bool { return r.Status().State == stateShipping && r.Status().Lag == 0 })
			whole(t, s.Connect(t, url), src)
			during := strings.TrimPrefix(r.log.String(), before)
			// One line for each change; a slow machine may bring time-outs in between.
			lines := kindWords.FindAllString(during, -1)
			if !slices.Contains(lines, "kind="+string(c.kind)) || len(slices.Compact(slices.Clone(lines))) != len(lines) {
				t.Errorf("the log tells of %v:\n%s", lines, during)
			}
			for _, secret := range []string{shipperPassword, "wr0ng-passw0rd"} {
				if strings.Contains(r.log.String()+st.Error, secret) {
					t.Errorf("a password is in %s %s", r.log.String(), st.Error)
				}
			}
		})
	}
}

var kindWords = regexp.MustCompile(`kind=\w+`)

// The shippers of these tests are an ordinary user, with no more than docs/archive.md
// grants.
var shipperPassword = "shipp3r-passw0rd"

const terminateShippers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shipper'`

func shipperDatabase(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	url := s.Database(t)
	s.Exec(t, "postgres", `DO $$ BEGIN CREATE ROLE shipper LOGIN PASSWORD '`+shipperPassword+`'; EXCEPTION WHEN duplicate_object THEN END $$`)
	name := url[strings.LastIndexByte(url, '/')+1:]
	s.Exec(t, "postgres", `GRANT CREATE ON DATABASE `+name+` TO shipper`)
	return strings.Replace(url, pgtest.User+"@", "shipper@", 1)
}

func trigger(when, body, each string) string {
	return `CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` + body + `; RETURN NEW; END $$;
		CREATE TRIGGER fault ` + when + ` ` + each + ` EXECUTE FUNCTION public.fault()`
}

func dropTrigger(s *pgtest.Server, table string) func(*testing.T, string, *atomic.Pointer[string]) {
	return func(t *testing.T, url string, _ *atomic.Pointer[string]) {
		s.Exec(t, url, `DROP TRIGGER fault ON perch.`+table)
	}
}

// A database that takes its time for every row gets batches as small as it needs
// to keep up.
func TestSlowRows(t *testing.T) {
	s := pgtest.Start(t)
	url, src := s.Database(t), newMemory(21)
	r := launch(t, s, url, src, quick, func(c *Config) { c.BatchBytes = 64 << 10 })
	r.caughtUp(t, src)
	s.Exec(t, url, trigger("BEFORE INSERT ON perch.transactions", "PERFORM pg_sleep(0.1)", "FOR EACH ROW"))
	src.fill(40)
	r.caughtUp(t, src)
	whole(t, s.Connect(t, url), src)
}

// A shipper that is frozen loses its lock, and another one goes on.
func TestFrozenShipper(t *testing.T) {
	s := pgtest.Start(t)
	url, src := s.Database(t), newMemory(22)
	cfg := Config{Access: Access{URL: url, Password: func() (string, error) { return s.Password, nil }, Within: 3 * time.Second}}
	conn, err := cfg.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, lockKey(clusterText(src.cluster))); err != nil {
		t.Fatal(err)
	}
	r := launch(t, s, url, src)
	until(t, "standby", func() bool { return r.Status().State == stateStandby })
	r.caughtUp(t, src)
	if got := r.Status().Zxid; got < quorum.MakeZxid(src.epoch, 1) {
		t.Errorf("archived up to %v", got)
	}
}
