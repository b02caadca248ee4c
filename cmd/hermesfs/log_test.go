package main

import (
	"bytes"
	"errors"
	"testing"
)

func TestCommandLog(t *testing.T) {
	var out bytes.Buffer
	vars := map[string]string{}
	e := &env{err: &out, getenv: func(k string) string { return vars[k] }}
	log := commandLog(e).With("mount", "one")
	log.Info("not worth a warning")
	log.Warn("trying again", "wait_time", "2s", "error", errors.New("no\x1b[2Jroute"))
	if want := `hermesfs: warning: trying again (mount one, wait time 2s, error "no\x1b[2Jroute")` + "\n"; out.String() != want {
		t.Errorf("log = %q, want %q", out.String(), want)
	}
	out.Reset()
	vars["HERMESFS_DEBUG"] = "1"
	commandLog(e).Debug("all there is")
	if want := "hermesfs: all there is\n"; out.String() != want {
		t.Errorf("log with HERMESFS_DEBUG = %q, want %q", out.String(), want)
	}
}
