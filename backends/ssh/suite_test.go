package ssh

import (
	"testing"

	"hermesfs/backends"
	"hermesfs/backends/backendtest"
)

func TestSuite(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backends.Transport { return dial(t, backendtest.StartSSHD(t)) })
}

// Where no second session is allowed over a connection, every script has its own.
func TestSuiteMaxSessions1(t *testing.T) {
	backendtest.RunTransport(t, func(t *testing.T) backends.Transport {
		return dial(t, backendtest.StartSSHD(t, "MaxSessions 1"))
	})
}

func TestSuiteBanner(t *testing.T) {
	backendtest.RunTransport(t, func(t *testing.T) backends.Transport {
		s := backendtest.StartSSHD(t)
		s.PrintBanner()
		return dial(t, s)
	})
}
