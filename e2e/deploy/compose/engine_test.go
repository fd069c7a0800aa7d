package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideEnv tells the test that it runs in its own namespaces, and where it may
// put its files.
const insideEnv = "PERCH_COMPOSE_INSIDE"

// cgroupEnv names the control group that all containers are put below.
const cgroupEnv = "PERCH_COMPOSE_CGROUP"

// exitNoEngine is how the test in the namespaces says that no engine starts there.
const exitNoEngine = 77

func TestMain(m *testing.M) {
	if dir := os.Getenv(insideEnv); dir != "" {
		os.Exit(inside(m, dir))
	}
	code, err := outside()
	if err != nil {
		fmt.Printf("COMPOSE TEST NOT RUN, docker-compose.yml IS UNTESTED HERE: %v\n", err)
	}
	os.Exit(code)
}

// outside runs this test once more, in namespaces that end with it, and removes
// what no namespace holds: files and control groups.
func outside() (code int, err error) {
	if os.Getuid() != 0 {
		return 0, errors.New("an engine of its own takes root")
	}
	dir, err := os.MkdirTemp("", "perch-compose-")
	if err != nil {
		return 1, err
	}
	cgroup := filepath.Base(dir)
	defer os.RemoveAll(dir)
	defer removeCgroups(cgroup)

	again := exec.Command("/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), insideEnv+"="+dir, cgroupEnv+"="+cgroup)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = again.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() == exitNoEngine:
		log, _ := os.ReadFile(filepath.Join(dir, "dockerd.log"))
		return 0, fmt.Errorf("the engine does not start: %s", lastLine(string(log)))
	case errors.As(err, &exit):
		return 1, nil
	}
	return 0, fmt.Errorf("no namespaces to run an engine in: %w", err)
}

// inside is the first process of its namespaces: everything ends with it.
func inside(m *testing.M, dir string) int {
	for _, step := range []func() error{
		func() error { return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return syscall.Mount("proc", "/proc", "proc", 0, "") },
		func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() },
		func() error { return startEngine(dir) },
	} {
		if err := step(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitNoEngine
		}
	}
	return m.Run()
}

// startEngine returns when the engine answers, and lets every child use it.
func startEngine(dir string) error {
	log, err := os.Create(filepath.Join(dir, "dockerd.log"))
	if err != nil {
		return err
	}
	socket := "unix://" + filepath.Join(dir, "docker.sock")
	engine := exec.Command("dockerd", "--host", socket, "--data-root", filepath.Join(dir, "data"),
		"--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "docker.pid"),
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+os.Getenv(cgroupEnv))
	engine.Stdout, engine.Stderr = log, log
	if err := engine.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- engine.Wait() }()
	if err := os.Setenv("DOCKER_HOST", socket); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if exec.Command("docker", "version").Run() == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("dockerd: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return errors.New("dockerd does not answer within a minute")
}

// removeCgroups removes the groups of that name in every hierarchy, with what is
// below them. Nothing is in them any more.
func removeCgroups(name string) {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path, "/"+name) {
			found = append(found, path)
		}
		return nil
	})
	slices.Reverse(found) // a directory comes before what is in it
	for _, path := range found {
		if err := os.Remove(path); err != nil {
			fmt.Fprintln(os.Stderr, "left behind:", err)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
