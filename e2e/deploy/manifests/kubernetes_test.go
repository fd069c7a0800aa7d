package manifests

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// cluster is all that deploy/kubernetes describes.
type cluster struct {
	services    []*corev1.Service
	pods        map[string]*corev1.PodTemplateSpec // by kind and name
	selectors   map[string]*metav1.LabelSelector   // of what owns or protects pods
	budgets     int
	namespaces  []*corev1.Namespace
	statefulSet *appsv1.StatefulSet
}

// load decodes the manifests as the API server would: a field that it does not
// know, that stands there twice, or that has another type is an error.
func load(t *testing.T) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	files, err := filepath.Glob("../../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	c := &cluster{pods: map[string]*corev1.PodTemplateSpec{}, selectors: map[string]*metav1.LabelSelector{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for r := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; {
			document := make([]byte, len(text))
			n, err := r.Read(document)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			object, _, err := decoder.Decode(document[:n], nil, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", file, err, document[:n])
			}
			c.add(t, object)
		}
	}
	return c
}

func (c *cluster) add(t *testing.T, object runtime.Object) {
	t.Helper()
	meta, ok := object.(metav1.Object)
	if !ok {
		t.Fatalf("%T has no name", object)
	}
	if _, isNamespace := object.(*corev1.Namespace); !isNamespace && meta.GetNamespace() != "perch" {
		t.Errorf("%s is in the namespace %q", meta.GetName(), meta.GetNamespace())
	}
	switch o := object.(type) {
	case *corev1.Namespace:
		c.namespaces = append(c.namespaces, o)
	case *corev1.Service:
		c.services = append(c.services, o)
	case *appsv1.StatefulSet:
		c.pods["StatefulSet "+o.Name], c.selectors["StatefulSet "+o.Name] = &o.Spec.Template, o.Spec.Selector
		c.statefulSet = o
	case *appsv1.Deployment:
		c.pods["Deployment "+o.Name], c.selectors["Deployment "+o.Name] = &o.Spec.Template, o.Spec.Selector
	case *policyv1.PodDisruptionBudget:
		c.budgets++
		c.selectors["PodDisruptionBudget "+o.Name] = o.Spec.Selector
	case *networkingv1.NetworkPolicy:
		c.selectors["NetworkPolicy "+o.Name] = &o.Spec.PodSelector
	case *corev1.ServiceAccount:
	default:
		t.Fatalf("this test knows no %T", object)
	}
}

// What refers to something refers to something that is there.
func TestKubernetesManifestsFitTogether(t *testing.T) {
	c := load(t)
	if len(c.pods) != 2 || c.budgets != 2 || len(c.namespaces) != 1 {
		t.Fatalf("%d kinds of pods, %d budgets, %d namespaces", len(c.pods), c.budgets, len(c.namespaces))
	}
	for name, selector := range c.selectors {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := len(c.selected(s)); got != 1 {
			t.Errorf("%s selects %d kinds of pods, want 1", name, got)
		}
	}
	for _, service := range c.services {
		pods := c.selected(labels.SelectorFromSet(service.Spec.Selector))
		if len(pods) != 1 {
			t.Fatalf("service %s selects %d kinds of pods, want 1", service.Name, len(pods))
		}
		for _, port := range service.Spec.Ports {
			if !hasPort(pods[0], port.TargetPort) {
				t.Errorf("service %s: no container has the port %s", service.Name, port.TargetPort.String())
			}
		}
	}
	if s := c.statefulSet; !slices.ContainsFunc(c.services, func(v *corev1.Service) bool {
		return v.Name == s.Spec.ServiceName && v.Spec.ClusterIP == corev1.ClusterIPNone && v.Spec.PublishNotReadyAddresses
	}) {
		t.Errorf("no headless service %s", s.Spec.ServiceName)
	}
}

func (c *cluster) selected(s labels.Selector) (pods []*corev1.PodTemplateSpec) {
	for _, pod := range c.pods {
		if s.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func hasPort(pod *corev1.PodTemplateSpec, port intstr.IntOrString) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(container corev1.Container) bool {
		return slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
	})
}

// The pods keep to the profile that their namespace enforces, by the code that
// enforces it; they can be probed, and write nowhere but to their volumes.
func TestKubernetesPodsAreRestricted(t *testing.T) {
	c := load(t)
	if level := c.namespaces[0].Labels[podsecurity.EnforceLevelLabel]; level != string(podsecurity.LevelRestricted) {
		t.Errorf("the namespace enforces %q", level)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	for name, pod := range c.pods {
		for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		mounted := map[string]bool{}
		for _, claim := range c.statefulSet.Spec.VolumeClaimTemplates {
			mounted[claim.Name] = true
		}
		for _, volume := range pod.Spec.Volumes {
			mounted[volume.Name] = true
		}
		for _, container := range pod.Spec.Containers {
			checkContainer(t, name, pod, &container, mounted)
		}
	}
}

func checkContainer(t *testing.T, name string, pod *corev1.PodTemplateSpec, container *corev1.Container, volumes map[string]bool) {
	t.Helper()
	if ro := container.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
		t.Errorf("%s: the root file system can be written", name)
	}
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || !hasPort(pod, probe.HTTPGet.Port) || probe.HTTPGet.Scheme != corev1.URISchemeHTTPS {
			t.Errorf("%s: a probe is missing, or asks elsewhere", name)
		}
	}
	for _, mount := range container.VolumeMounts {
		if !volumes[mount.Name] {
			t.Errorf("%s: no volume %s", name, mount.Name)
		}
	}
	checkFlags(t, name, container.Args[0], container.Env)
}

// checkFlags asks the binary itself whether it knows what the manifest sets.
func checkFlags(t *testing.T, name, command string, env []corev1.EnvVar) {
	t.Helper()
	help, err := exec.Command(binary(t), command, "--help").Output()
	if err != nil {
		t.Fatalf("perch %s: %v", command, err)
	}
	for _, v := range env {
		flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v.Name, "PERCH_"), "_", "-")) + " "
		if !strings.Contains(string(help), flag) {
			t.Errorf("%s: %s is no flag of perch %s", name, v.Name, command)
		}
	}
}

func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PERCH_BIN"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../../bin/perch")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
