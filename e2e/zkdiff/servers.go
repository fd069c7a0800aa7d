package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

// startLimit is how long a server may take until it answers.
const startLimit = 60 * time.Second

// process is a server that this program has started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// startProcess starts a server with its output in dir.
func startProcess(dir, name string, env []string, command ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, out, out
	if err := p.cmd.Start(); err != nil {
		out.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		out.Close()
		close(p.done)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// tail is the end of the log, for messages.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-4096):])
}

// await asks until the answer is nil.
func (p *process) await(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended:\n%s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w\n%s", p.name, err, p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddr is a loopback address that was free a moment ago, below the range
// from which the system gives out ports.
func freeAddr() (string, error) {
	first := rand.IntN(12_000)
	for i := range 12_000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+(first+i)%12_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port")
}

// classPath has the jars of Debian's packages; the first names all others that
// ZooKeeper needs, the second is where its log goes.
const classPath = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar"

// zkConfig switches off what a test does not need and what would listen.
const zkConfig = `dataDir=%s
clientPortAddress=127.0.0.1
clientPort=%s
tickTime=2000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=
`

// startZooKeeper starts a quorum of one that allows TTL nodes and looks often
// for empty containers. It does not wait for its disk: no power fails here.
func startZooKeeper(ctx context.Context, dir string) (p *process, addr string, err error) {
	if addr, err = freeAddr(); err != nil {
		return nil, "", err
	}
	_, port, _ := strings.Cut(addr, ":")
	data, config := filepath.Join(dir, "zookeeper-data"), filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, zkConfig, data, port), 0o600); err != nil {
		return nil, "", err
	}
	if p, err = startProcess(dir, "zookeeper", os.Environ(), "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dzookeeper.forceSync=no", "-Dzookeeper.extendedTypesEnabled=true", "-Dznode.container.checkIntervalMs=50",
		"-cp", classPath, "org.apache.zookeeper.server.ZooKeeperServerMain", config); err != nil {
		return nil, "", err
	}
	err = p.await(ctx, func() error {
		// It accepts connections before it serves them, and never serves those.
		w, err := dialRecursive(addr, "", time.Second)
		if err == nil {
			w.close()
		}
		return err
	})
	return p, addr, err
}

// startPerch starts a quorum of one.
func startPerch(ctx context.Context, dir, binary string) (p *process, base string, err error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	env := []string{"XDG_STATE_HOME=" + filepath.Join(dir, "state")}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PERCH_") && !strings.HasPrefix(e, "XDG_STATE_HOME=") {
			env = append(env, e)
		}
	}
	if p, err = startProcess(dir, "perch", env, binary, "serve", "--http", addr, "--data", filepath.Join(dir, "perch-data")); err != nil {
		return nil, "", err
	}
	base = "http://" + addr
	err = p.await(ctx, func() error {
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d: %s", resp.StatusCode, text)
		}
		return nil
	})
	return p, base, err
}

// servers are both, with what all worlds share.
type servers struct {
	zk, perch *process
	zkAddr    string
	base      string
	observer  *zk.Conn
	web       *http.Client
}

// startServers starts both, and creates the node above all worlds.
func startServers(ctx context.Context, dir, perchBinary string) (s *servers, err error) {
	s = &servers{web: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.zk, s.zkAddr, err = startZooKeeper(ctx, dir); err != nil {
		return s, err
	}
	if s.perch, s.base, err = startPerch(ctx, dir, perchBinary); err != nil {
		return s, err
	}
	if s.observer, err = connectZK(s.zkAddr); err != nil {
		return s, err
	}
	return s, s.createBoth("/zkdiff")
}

// createBoth creates a node on both sides.
func (s *servers) createBoth(path string) error {
	z := &zkSide{observer: s.observer}
	p := &perchSide{base: s.base, web: s.web}
	o := op{Kind: opCreate, Session: observer, Absolute: true, Path: path, Mode: persistent}
	for _, one := range []side{z, p} {
		a, err := one.do(o)
		if err == nil && a.Code != codeOK {
			err = fmt.Errorf("%v: %v", o, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newWorld makes a world at root, which no world has had before.
func (s *servers) newWorld(root string) (*world, error) {
	if err := s.createBoth(root); err != nil {
		return nil, err
	}
	w := &world{nodes: map[string]stat{}, codes: map[int]int{}, explained: map[string]int{}}
	var err error
	if w.zk, err = newZKSide(s.zkAddr, root, s.observer); err != nil {
		return nil, err
	}
	if w.perch, err = newPerchSide(s.base, root, s.web); err != nil {
		w.zk.end()
		return nil, err
	}
	return w, w.compareNode("", observer)
}

func (s *servers) stop() {
	if s.observer != nil {
		s.observer.Close()
	}
	for _, p := range []*process{s.zk, s.perch} {
		if p != nil {
			p.stop()
		}
	}
}
