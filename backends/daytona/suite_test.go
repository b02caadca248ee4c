package daytona

import (
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport {
		f := startFake(t)
		f.add("box", "started", nil)
		return f.connect("daytona://box")
	})
}
