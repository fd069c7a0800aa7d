package main

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"perch/cmd/internal/cli"
)

// envPrefix begins the name of every environment variable that sets a flag:
// PERCH_SECRET_FILE is --secret-file.
const envPrefix = "PERCH_"

// environment indexes what os.Environ gives.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// applyEnv sets every flag that was not given on the command line from its
// environment variable. An empty variable counts as absent, as with a line
// `PERCH_DATA=` in a file of settings. A PERCH_ variable that names no flag is
// an error: a mistyped or unknown setting must not be ignored.
func applyEnv(flags *pflag.FlagSet, env map[string]string) (faults []error) {
	known := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		known[name] = true
		if value := env[name]; value != "" && !f.Changed {
			if err := flags.Set(f.Name, value); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	var unknown []string
	for name, value := range env {
		if strings.HasPrefix(name, envPrefix) && value != "" && !known[name] && !fromKubernetes(name) && !slices.Contains(cli.EnvNames, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		faults = append(faults, fmt.Errorf("%s is set, but there is no flag --%s", name, flagName(name)))
	}
	return faults
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func flagName(env string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(env, envPrefix), "_", "-"))
}

// fromKubernetes tells the variables that Kubernetes sets in every pod beside
// a service with the name perch; they are nobody's setting.
func fromKubernetes(name string) bool {
	return strings.HasPrefix(name, "PERCH_SERVICE_") || name == "PERCH_PORT" || strings.HasPrefix(name, "PERCH_PORT_")
}

// version names the build: the revision it was built from, where Go knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(text, s.Value[:min(len(s.Value), 12)]) {
			text += " " + s.Value[:min(len(s.Value), 12)]
		}
	}
	return text
}
