// Package access decides which paths of a home a sandbox may see and send back.
package access

// Level says what a sandbox may do with a path.
type Level uint8

// The levels, each including what the one before allows.
const (
	None   Level = iota // host content is invisible; what the sandbox makes there stays in upper
	Read                // shown and pushed; changes stay in upper and are reported
	Review              // shown and pushed; changes are committed only by name
	Write               // shown, pushed and committed at sync back
)
