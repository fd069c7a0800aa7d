package manifests

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// What `docker compose` makes of docker-compose.yml and .env: one set of services
// for each profile, at the same names, and none of both. (compose-test runs
// docker-compose 1.29.)
func TestComposeProfiles(t *testing.T) {
	for _, c := range []struct {
		flags  []string // --profile
		suffix string
	}{{nil, ""}, {[]string{"plain"}, ""}, {[]string{"secure"}, "-secure"}} {
		project := composeProject(t, c.flags)
		want := []string{"gateway", "node1", "node2", "node3", "postgres", "proxy"}
		for i := range want {
			want[i] += c.suffix
		}
		if got := project.ServiceNames(); !slices.Equal(got, want) {
			t.Errorf("--profile %v: services %v, want %v", c.flags, got, want)
		}
		for name, service := range project.Services {
			checkComposeService(t, name, strings.TrimSuffix(name, "-secure"), &service)
		}
	}
}

func checkComposeService(t *testing.T, name, alias string, s *types.ServiceConfig) {
	t.Helper()
	if network := s.Networks["default"]; name != alias && alias != "proxy" && (network == nil || !slices.Contains(network.Aliases, alias)) {
		t.Errorf("%s is not known as %s", name, alias)
	}
	if s.Restart != types.RestartPolicyUnlessStopped || s.StopGracePeriod == nil {
		t.Errorf("%s: restart %q, grace %v", name, s.Restart, s.StopGracePeriod)
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("%s: port %s at %q", name, port.Published, port.HostIP)
		}
	}
	perch := s.Image == "perch:local"
	if perch && (s.HealthCheck == nil || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"})) {
		t.Errorf("%s: health check, read-only root or dropped capabilities are missing", name)
	}
	insecure := slices.Contains(s.Command, "--insecure")
	if perch && insecure != (name == alias) {
		t.Errorf("%s: --insecure: %v", name, insecure)
	}
	if alias == "gateway" && (s.Scale == nil || *s.Scale != 2) {
		t.Errorf("%s: not two of it", name)
	}
}

func composeProject(t *testing.T, profiles []string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../../../docker-compose.yml"},
		cli.WithWorkingDirectory("../../.."), cli.WithEnvFiles(), cli.WithDotEnv, cli.WithDefaultProfiles(profiles...))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if project.Name != "perch" {
		t.Errorf("the project is called %q", project.Name)
	}
	return project
}
