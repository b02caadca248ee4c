//go:build !nomodal

package main

import (
	"fmt"

	"hermesfs/backends"
	"hermesfs/backends/modal"
)

const modalSchemes = ", modal://SANDBOX-ID[/home], modal://[/home]?app=APP&name=NAME, modal://[/home]?app=APP&image=IMAGE"

// openModal makes the transport of a modal: URL.
func openModal(url string, user backendUser) (backends.Transport, error) {
	o, err := modal.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	o.Mount, o.Owner, o.Log = user.mount, user.owner, user.log
	t, err := modal.New(o)
	if err != nil { // not a *modal.Transport that is nil in an interface that is not
		return nil, fmt.Errorf("backend %s: %w", quote(url), err)
	}
	return t, nil
}
