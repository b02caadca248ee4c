// Package syncer carries changes between the merged view of a mount, its sandbox and its home.
package syncer
