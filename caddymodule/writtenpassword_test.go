package caddymodule

import "testing"

func TestWrittenPassword(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]bool{
		"":                                       false,
		"{env.DSN}":                              false,
		"{file./dsn}":                            false,
		"postgres://keystile@db/keystile":        false,
		"postgres://db/keystile?sslmode=disable": false,
		"postgres://keystile:@db/keystile":       false,
		"postgres://keystile:{env.PW}@db/keystile":                      false,
		"postgres://keystile:{file./run/secrets/pw}@db:5432/x?sslmode=": false,
		"postgres://keystile:secret@db/keystile":                        true,
		"postgresql://keystile:s%2Fcret@db,other/keystile":              true,
		"postgres://{env.USER}:secret@db/keystile":                      true,
		"postgres://keystile:half{env.PW}@db/keystile":                  true,
		"postgres://db/keystile?user=a&password=secret":                 true,
		"postgres://db/keystile?user=a&password={env.PW}&sslmode=x":     false,
		"host=db user=keystile dbname=x":                                false,
		"host=db password={env.PW} dbname=x":                            false,
		"host=db password=secret dbname=x":                              true,
		"password = 'secret' host=db":                                   true,
		"password='{env.PW}' host=db":                                   false,
		"host=db password = '{env.PW}'":                                 false,
		`password="{file./run/secrets/pw}"`:                             false,
		"password='' host=db":                                           false,
		"password='half{env.PW}' host=db":                               true,
		"password='{env.PW}half' host=db":                               true,
		"password=' secret' host=db":                                    true,
		"password=''{env.PW} host=db":                                   false,
	} {
		if got := writtenPassword(dsn); got != want {
			t.Errorf("writtenPassword(%q) = %v, want %v", dsn, got, want)
		}
	}
}
