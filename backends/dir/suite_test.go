package dir

import (
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport { return open(t) })
}
