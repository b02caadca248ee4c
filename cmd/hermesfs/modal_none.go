//go:build nomodal

package main

import (
	"fmt"

	"hermesfs/backends"
)

const modalSchemes = ""

// openModal says that Modal was left out.
func openModal(url string, _ backendUser) (backends.Transport, error) {
	return nil, fmt.Errorf("backend %s: this hermesfs was built without Modal (build tag nomodal)", quote(url))
}
