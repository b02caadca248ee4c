package command

import (
	"testing"
	"time"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

// over opens a transport into a new container through a channel with a defect.
func over(t *testing.T, defect string, change ...func(*Options)) *Transport {
	t.Helper()
	prefix := startContainer(t)
	if defect != "" {
		prefix = withChannel(t, defect, prefix)
	}
	o := Options{Prefix: prefix}
	for _, c := range change {
		c(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if defect == "noend" {
		tr.endLimit = 300 * time.Millisecond // what never comes need not be waited for
	}
	return tr
}

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport { return over(t, "") })
}

// Each of these is what a program in the field does.
func TestSuiteTransport(t *testing.T) {
	for _, defect := range []string{"banner", "utf8", "noend", "text", "merged"} {
		t.Run(defect, func(t *testing.T) {
			backendtest.RunTransport(t, func(t *testing.T) backends.Transport { return over(t, defect) })
		})
	}
}

func TestSuiteShell(t *testing.T) {
	for _, defect := range []string{"noend", "text"} {
		t.Run(defect, func(t *testing.T) {
			backendtest.RunShell(t, func(t *testing.T) backends.Transport { return over(t, defect) })
		})
	}
}
