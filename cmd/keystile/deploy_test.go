package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/go-yaml"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// The files in deploy/ are examples that people copy: what they name must exist, in each other and in the program.

func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// yamlDocuments are the documents of a file.
func yamlDocuments(t *testing.T, name string) (all []map[string]any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(deployFile(t, name)))
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, document)
	}
}

// dig is what stands at a path of names and positions, nil if there is nothing.
func dig(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := value.(map[string]any)
			value = m[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func items(value any) []any { list, _ := value.([]any); return list }

func names(value any) (all []string) {
	m, _ := value.(map[string]any)
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

var (
	listens  = regexp.MustCompile(`(?m)^http://:(\d+) \{`)
	variable = regexp.MustCompile(`\{(?:env\.|\$)(KEYSTILE_\w+)\}|env (KEYSTILE_\w+)`)
	delays   = regexp.MustCompile(`(?m)^\s*(?:shutdown_delay|grace_period) (\d+)s$`)
)

// sitePorts are the ports that a Caddyfile of deploy/ serves.
func sitePorts(t *testing.T, name string) (ports []string) {
	t.Helper()
	for _, found := range listens.FindAllStringSubmatch(deployFile(t, name), -1) {
		ports = append(ports, found[1])
	}
	return ports
}

// wantedVariables are the environment variables that the gateways' Caddyfile reads.
func wantedVariables(t *testing.T) (all []string) {
	t.Helper()
	for _, found := range variable.FindAllStringSubmatch(deployFile(t, "Caddyfile"), -1) {
		all = append(all, found[1]+found[2])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stopSeconds is how long a gateway may take to end.
func stopSeconds(t *testing.T) (sum int) {
	t.Helper()
	for _, found := range delays.FindAllStringSubmatch(deployFile(t, "Caddyfile"), -1) {
		sum += atoi(t, found[1])
	}
	if sum == 0 {
		t.Error("the gateways end without a delay: this test shows nothing")
	}
	return sum
}

// TestDeployCaddyfiles: each is formatted, adapts and validates.
func TestDeployCaddyfiles(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	master := g.Run(t, "store", "new-master-key", "--base64")
	if master.Code != 0 {
		t.Fatalf("making a master key: %+v", master)
	}
	g.Admin.Remember(strings.TrimSpace(master.Stdout))
	g.Setenv("KEYSTILE_MASTER_KEY=" + strings.TrimSpace(master.Stdout))
	g.Setenv("KEYSTILE_DSN=postgres://keystile:secret@postgres:5432/keystile")
	g.Setenv("KEYSTILE_BACKEND=backend:8090")
	found, err := filepath.Glob("../../deploy/*Caddyfile")
	if err != nil || len(found) != 3 {
		t.Fatalf("the Caddyfiles are %q, %v", found, err)
	}
	for _, file := range found {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"fmt", path}, {"adapt", "--adapter", "caddyfile", "--config", path}, {"validate", "--adapter", "caddyfile", "--config", path}} {
			if r := g.Run(t, args...); r.Code != 0 {
				t.Errorf("keystile %s: %+v", strings.Join(args, " "), r)
			}
		}
	}
}

// TestDeployContainerfile: the image holds what the program is made of.
func TestDeployContainerfile(t *testing.T) {
	t.Parallel()
	text := deployFile(t, "Containerfile")
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		dir, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pkg, "github.com/keystile/keystile"), "/"), "/")
		if dir != "" && !strings.Contains(text, "\nCOPY "+dir+" "+dir+"\n") {
			t.Errorf("it does not copy %s, which %s is in", dir, pkg)
		}
	}
	goMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^toolchain go(\d+\.\d+\.\d+)$`).FindStringSubmatch(string(goMod))
	if version == nil {
		t.Fatal("go.mod asks for no version of Go")
	}
	if !strings.Contains(text, "/golang:"+version[1]+"-") {
		t.Errorf("it builds with another Go than %s", version[1])
	}
	for _, port := range sitePorts(t, "Caddyfile") {
		if !regexp.MustCompile(`(?m)^EXPOSE .*\b` + port + `\b`).MatchString(text) {
			t.Errorf("it does not expose %s", port)
		}
	}
}

// TestDeployCompose: services, files, ports and variables that compose.yaml names are there.
func TestDeployCompose(t *testing.T) {
	t.Parallel()
	documents := yamlDocuments(t, "compose.yaml")
	if len(documents) != 1 {
		t.Fatalf("%d documents", len(documents))
	}
	compose := documents[0]
	services := names(compose["services"])
	if want := []string{"backend", "balancer", "gateway-1", "gateway-2", "gateway-3", "postgres"}; !slices.Equal(services, want) {
		t.Errorf("the services are %q, want %q", services, want)
	}
	volumes := names(compose["volumes"])
	for _, name := range services {
		service := dig(compose, "services", name)
		for _, mount := range items(dig(service, "volumes")) {
			source, _, _ := strings.Cut(mount.(string), ":")
			if file, isFile := strings.CutPrefix(source, "./"); isFile {
				deployFile(t, file)
			} else if !slices.Contains(volumes, source) {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
		if !strings.HasPrefix(name, "gateway") {
			continue
		}
		for _, v := range wantedVariables(t) {
			if dig(service, "environment", v) == nil {
				t.Errorf("%s: no variable %s", name, v)
			}
		}
		grace, err := time.ParseDuration(fmt.Sprint(dig(service, "stop_grace_period")))
		if err != nil || grace <= time.Duration(stopSeconds(t))*time.Second {
			t.Errorf("%s: it is killed after %v, %v", name, grace, err)
		}
		if deployFile(t, fmt.Sprint(strings.TrimPrefix(dig(service, "build", "dockerfile").(string), "deploy/"))) == "" {
			t.Errorf("%s: an empty Containerfile", name)
		}
	}
	if backend := dig(compose, "services", "gateway-1", "environment", "KEYSTILE_BACKEND"); fmt.Sprint(backend) != "backend:"+sitePorts(t, "backend.Caddyfile")[0] {
		t.Errorf("the gateways' backend is %v", backend)
	}
	for _, published := range items(dig(compose, "services", "balancer", "ports")) {
		port := published.(string)[strings.LastIndex(published.(string), ":")+1:]
		if !slices.Contains(sitePorts(t, "balancer.Caddyfile"), port) {
			t.Errorf("the balancer does not serve %s", port)
		}
	}
	for _, upstream := range regexp.MustCompile(`(\S+):(\d+) `).FindAllStringSubmatch(deployFile(t, "balancer.Caddyfile"), -1) {
		if strings.HasPrefix(upstream[1], "http") {
			continue
		}
		if !slices.Contains(services, upstream[1]) || !slices.Contains(sitePorts(t, "Caddyfile"), upstream[2]) {
			t.Errorf("the balancer asks %s:%s, which nobody is", upstream[1], upstream[2])
		}
	}
}

// TestDeployKubernetes: ports, selectors, secrets, volumes and times of kubernetes.yaml fit each other, the Caddyfile and the image.
func TestDeployKubernetes(t *testing.T) {
	t.Parallel()
	kinds := map[string][]map[string]any{}
	for _, d := range yamlDocuments(t, "kubernetes.yaml") {
		kind := fmt.Sprint(d["kind"])
		kinds[kind] = append(kinds[kind], d)
	}
	if len(kinds["StatefulSet"]) != 1 || len(kinds["Service"]) != 3 || len(kinds["PodDisruptionBudget"]) != 1 {
		t.Fatalf("the kinds are %q", names(kinds))
	}
	set := kinds["StatefulSet"][0]
	labels := fmt.Sprint(dig(set, "spec", "template", "metadata", "labels"))
	pod := dig(set, "spec", "template", "spec")
	container := dig(pod, "containers", 0)
	ports := map[string]string{}
	for _, p := range items(dig(container, "ports")) {
		ports[fmt.Sprint(dig(p, "name"))] = fmt.Sprint(dig(p, "containerPort"))
	}
	for _, port := range sitePorts(t, "Caddyfile") {
		if !slices.ContainsFunc(items(dig(container, "ports")), func(p any) bool { return fmt.Sprint(dig(p, "containerPort")) == port }) {
			t.Errorf("the port %s of the Caddyfile is not the container's", port)
		}
	}
	if fmt.Sprint(dig(set, "spec", "selector", "matchLabels")) != labels || fmt.Sprint(dig(kinds["PodDisruptionBudget"][0], "spec", "selector", "matchLabels")) != labels {
		t.Error("a selector does not select the pods")
	}
	headless := false
	for _, service := range kinds["Service"] {
		if fmt.Sprint(dig(service, "spec", "selector")) != labels {
			t.Errorf("the service %v does not select the pods", dig(service, "metadata", "name"))
		}
		headless = headless || dig(service, "metadata", "name") == dig(set, "spec", "serviceName") && dig(service, "spec", "clusterIP") == "None"
		for _, p := range items(dig(service, "spec", "ports")) {
			if ports[fmt.Sprint(dig(p, "targetPort"))] == "" {
				t.Errorf("there is no port %v", dig(p, "targetPort"))
			}
		}
	}
	if !headless {
		t.Error("the pods have no names")
	}
	for _, probe := range []string{"startupProbe", "readinessProbe"} {
		if dig(container, probe, "httpGet", "path") != "/healthz" || ports[fmt.Sprint(dig(container, probe, "httpGet", "port"))] != "9180" {
			t.Errorf("%s asks for %v", probe, dig(container, probe))
		}
	}
	if ports[fmt.Sprint(dig(container, "livenessProbe", "tcpSocket", "port"))] == "" {
		t.Error("livenessProbe asks nobody")
	}
	given := map[string]bool{}
	for _, e := range items(dig(container, "env")) {
		given[fmt.Sprint(dig(e, "name"))] = true
		if key := dig(e, "valueFrom", "secretKeyRef", "key"); key != nil && !strings.Contains(deployFile(t, "kubernetes.yaml"), "--from-literal="+fmt.Sprint(key)+"=") {
			t.Errorf("nobody is told to make the secret %v", key)
		}
	}
	for _, v := range wantedVariables(t) {
		if !given[v] {
			t.Errorf("no variable %s", v)
		}
	}
	volumes := map[string]bool{}
	for _, v := range items(dig(pod, "volumes")) {
		volumes[fmt.Sprint(dig(v, "name"))] = true
	}
	for _, v := range items(dig(set, "spec", "volumeClaimTemplates")) {
		volumes[fmt.Sprint(dig(v, "metadata", "name"))] = true
	}
	for _, m := range items(dig(container, "volumeMounts")) {
		if !volumes[fmt.Sprint(dig(m, "name"))] {
			t.Errorf("there is no volume %v", dig(m, "name"))
		}
	}
	if grace, _ := dig(pod, "terminationGracePeriodSeconds").(int); grace <= stopSeconds(t) {
		t.Errorf("a gateway is killed after %d seconds", grace)
	}
	uid := fmt.Sprint(dig(pod, "securityContext", "runAsUser"))
	if !strings.Contains(deployFile(t, "Containerfile"), "USER "+uid+":") {
		t.Errorf("the image's user is not %s", uid)
	}
	if dig(pod, "securityContext", "runAsNonRoot") != true || dig(container, "securityContext", "readOnlyRootFilesystem") != true {
		t.Error("it may do more than it needs")
	}
}

// TestDeployUnit: systemd finds nothing wrong with the unit, and what it says of the sandbox stays.
func TestDeployUnit(t *testing.T) {
	t.Parallel()
	unit := filepath.Join(t.TempDir(), "keystile.service")
	text := strings.ReplaceAll(deployFile(t, "keystile.service"), "/usr/local/bin/keystile", gatetest.Binary(t))
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=yes", "--threshold=18", unit}} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		// Other units of the machine are no concern of ours.
		if complains := args[0] == "verify" && bytes.Contains(out, []byte("keystile.service:")); err != nil || complains {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, out)
		}
	}
}
