package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// plain is the subject that all others are compared with.
const plain = "caddy"

const (
	backendAddress = "127.0.0.1:19100"
	siteAddress    = "127.0.0.1:19200"
	adminAddress   = "127.0.0.1:19201"
)

// subject is one server under test.
type subject struct {
	name    string
	keyless bool // it lets everybody in: what it does with bad keys says nothing
	env     []string
	start   func(o *options, p *prepared, dir string) (program string, args []string, err error)
}

// subjects are those that make sense in the scenario, plain Caddy first.
func subjects(s *scenario) []subject {
	all := []subject{
		{name: plain, keyless: true, start: caddy("", "reverse_proxy "+backendAddress)},
		// What an operator can do without Keystile that it does by itself.
		{name: "caddy, tuned", keyless: true, env: []string{"GOGC=400"}, start: caddy("log default {\nexclude http.handlers.reverse_proxy\n}",
			"reverse_proxy "+backendAddress+" {\ntransport http {\nkeepalive_idle_conns_per_host 1024\n}\n}")},
		{name: "caddy + access log", keyless: true, start: caddy("", "log {\noutput file {dir}/access.log\n}\nreverse_proxy "+backendAddress)},
	}
	if s.keys <= caddyMapKeys {
		all = append(all, subject{name: "caddy + map + access log", start: caddy("", "log {\noutput file {dir}/access.log\n}\n"+
			"map {header.Authorization} {known} {\nimport {map}\ndefault 0\n}\n@bad vars {known} 0\nrespond @bad 401\nreverse_proxy "+backendAddress)})
	}
	return append(all,
		// Equal settings of Caddy and of Go.
		subject{name: "keystile, reverse_proxy, equal", env: []string{"GOGC=100"}, start: keystile("", "keystile\nreverse_proxy "+backendAddress+
			" {\ntransport http {\nkeepalive_idle_conns_per_host 32\n}\n}")},
		// As shipped.
		subject{name: "keystile, reverse_proxy", start: keystile("", "keystile\nreverse_proxy "+backendAddress)},
		subject{name: "keystile, upstreams, equal", env: []string{"GOGC=100"}, start: keystile("", "keystile {\nupstreams {\nlive "+backendAddress+"\n}\n}")},
		subject{name: "keystile, upstreams", start: keystile("", "keystile {\nupstreams {\nlive "+backendAddress+"\n}\n}")},
		subject{name: "nginx + map + log", start: nginxWithMap},
		subject{name: "haproxy + map + log", start: haproxyWithMap},
	)
}

// caddyfile is a configuration with one site.
func caddyfile(o *options, p *prepared, dir, global, site string) (string, error) {
	site = strings.NewReplacer("{dir}", dir, "{map}", p.caddy).Replace(site)
	text := fmt.Sprintf("{\nadmin %s\nauto_https off\npersist_config off\n%s\n}\nhttp://%s {\n%s\n}\n", adminAddress, global, siteAddress, site)
	path := filepath.Join(dir, "Caddyfile")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func caddy(global, site string) func(*options, *prepared, string) (string, []string, error) {
	return func(o *options, p *prepared, dir string) (string, []string, error) {
		path, err := caddyfile(o, p, dir, global, site)
		return o.stock, []string{"run", "--config", path, "--adapter", "caddyfile"}, err
	}
}

// keystile runs on the scenario's store; its log begins anew each time.
func keystile(global, site string) func(*options, *prepared, string) (string, []string, error) {
	return func(o *options, p *prepared, dir string) (string, []string, error) {
		path, err := caddyfile(o, p, dir, fmt.Sprintf("keystile {\nstore bolt %s\nmaster_key file %s\nrequest_log archive %s/requests\ncatalog openapi %s\n}\n%s",
			p.store, p.master, dir, p.catalog, global), site)
		return o.binary, []string{"run", "--config", path, "--adapter", "caddyfile"}, err
	}
}

func nginxWithMap(_ *options, p *prepared, dir string) (string, []string, error) {
	text := fmt.Sprintf(`daemon off; worker_processes auto; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 8192; }
http {
	access_log %[1]s/access.log combined;
	keepalive_requests 100000000;
	map_hash_max_size 4194304; map_hash_bucket_size 128;
	map $http_authorization $known { default 0; include %[2]s; }
	upstream backend { server %[3]s; keepalive 256; keepalive_requests 100000000; }
	server {
		listen %[4]s backlog=4096;
		location / {
			if ($known = 0) { return 401; }
			proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
			proxy_pass http://backend;
		}
	}
}
`, dir, p.nginx, backendAddress, siteAddress)
	path := filepath.Join(dir, "nginx.conf")
	return "nginx", []string{"-c", path}, os.WriteFile(path, []byte(text), 0o600)
}

func haproxyWithMap(_ *options, p *prepared, dir string) (string, []string, error) {
	text := fmt.Sprintf(`global
	log /dev/null len 1024 format raw local0
	maxconn 8192
defaults
	mode http
	timeout client 60s
	timeout server 60s
	timeout connect 5s
	option httplog
	log global
	option http-keep-alive
	http-reuse always
frontend site
	bind %s
	http-request deny deny_status 401 unless { req.hdr(authorization),word(2,\ ),map_str(%s) -m found }
	default_backend own
backend own
	server one %s
`, siteAddress, p.haproxy, backendAddress)
	path := filepath.Join(dir, "haproxy.cfg")
	return "haproxy", []string{"-db", "-f", path}, os.WriteFile(path, []byte(text), 0o600)
}
