package clients

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	contract  = "../../openapi.yaml"
	generator = "node_modules/@openapitools/openapi-generator-cli/bin/openapi-generator.jar"
)

// quick are the flags of a Java program that lives for seconds.
var quick = []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"}

func TestGeneratedClients(t *testing.T) {
	urls := startNodes(t, 3)
	t.Run("typescript", func(t *testing.T) {
		out := emptied(t, "typescript")
		run(t, nil, "node_modules/.bin/openapi-ts", "--input", contract, "--output", out, "--client", "@hey-api/client-fetch", "--no-log-file")
		compiled := emptied(t, "typescript-js")
		run(t, nil, "node_modules/.bin/tsc", "--project", "typescript")
		run(t, nil, append([]string{"node", filepath.Join(compiled, "typescript", "scenario.js")}, urls...)...)
	})
	t.Run("python", func(t *testing.T) {
		out := emptied(t, "python")
		generate(t, out, "-g", "python", "--additional-properties=packageName=perch_client")
		env := []string{"PYTHONPATH=" + out, "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1", "TMPDIR=" + t.TempDir()}
		run(t, env, append([]string{python(t), "python/scenario.py"}, urls...)...)
	})
	t.Run("java", func(t *testing.T) {
		out := emptied(t, "java")
		// Its own File would be sent as the JSON of its name.
		generate(t, out, "-g", "java", "--library", "native", "--type-mappings", "file=byte[],binary=byte[]",
			"--additional-properties=hideGenerationTimestamp=true,dateLibrary=java8,openApiNullable=false")
		jars := "/usr/share/java/jackson-core.jar:/usr/share/java/jackson-databind.jar:/usr/share/java/jackson-annotations.jar"
		compile := []string{"javac", "-encoding", "UTF-8", "-proc:none", "-nowarn", "-cp", jars, "-d", filepath.Join(out, "classes")}
		for _, flag := range quick {
			compile = append(compile, "-J"+flag)
		}
		compile = append(compile, sources(t, filepath.Join(out, "src", "main"))...)
		compile = append(compile, sources(t, "java")...)
		run(t, nil, compile...)
		command := append([]string{"java"}, quick...)
		command = append(command, "-cp", filepath.Join(out, "classes")+":"+jars, "Scenario")
		run(t, nil, append(command, urls...)...)
	})
}

// generate makes a client with openapi-generator.
func generate(t *testing.T, out string, args ...string) {
	t.Helper()
	command := append([]string{"java"}, quick...)
	command = append(command, "-jar", generator, "generate", "-i", contract, "-o", out)
	run(t, nil, append(command, args...)...)
}

// emptied is a folder for what is generated, without that of the last run.
func emptied(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join("out", name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// python is the interpreter that has what the generated client imports:
// Debian's has the packages of Debian.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import certifi, dateutil, six, urllib3").Run() == nil {
			return name
		}
	}
	t.Fatal("no python3 with certifi, dateutil, six and urllib3")
	return ""
}

// sources are the files of Java below dir.
func sources(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(file, ".java") {
			files = append(files, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
