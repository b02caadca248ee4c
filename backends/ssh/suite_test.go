package ssh

import (
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport { return dial(t, backendtest.StartSSHD(t)) })
}
