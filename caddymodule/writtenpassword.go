package caddymodule

import (
	"regexp"
	"strings"

	"go.uber.org/zap"
)

// warnOfPasswords warns of passwords that stand in the configuration itself, which Caddy shows at /config/ and keeps.
func (a *App) warnOfPasswords(logger *zap.Logger) {
	warn := func(option, dsn string) {
		if writtenPassword(dsn) {
			logger.Warn(option + ": dsn: the password of the database is written in the configuration. Caddy shows and keeps its configuration as it was read " +
				"(a {$NAME} of a Caddyfile is filled in before): write {env.NAME} or {file.PATH} in its place")
		}
	}
	if a.Store != nil {
		warn("store", a.Store.DSN)
	}
	if a.RequestLog != nil {
		warn("request_log", a.RequestLog.DSN)
	}
}

// The quotes of a value are not its password.
var (
	placeholders = regexp.MustCompile(`\{(?:env|file)\.[^}]*\}`)
	passwordPair = regexp.MustCompile(`(?i)(?:^|[\s&?])(?:password|sslpassword)\s*=\s*['"]?\s*[^\s&]*[^\s&\x00'"]`)
)

// writtenPassword says whether an address of a database holds a password, and not only placeholders for one.
func writtenPassword(dsn string) bool {
	rest := placeholders.ReplaceAllLiteralString(dsn, "\x00")
	if passwordPair.MatchString(rest) {
		return true
	}
	_, address, isURL := strings.Cut(rest, "://")
	if !isURL {
		return false
	}
	authority, _, _ := strings.Cut(address, "/")
	user, _, found := strings.Cut(authority, "@")
	if !found {
		return false
	}
	_, password, _ := strings.Cut(user, ":")
	return strings.Trim(password, "\x00") != ""
}
