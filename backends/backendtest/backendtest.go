// Package backendtest holds every backend to the contract of backends.Transport and, over it, to
// what package shell promises. It also starts real counterparts for them.
package backendtest
