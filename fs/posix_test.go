package fs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

func TestPosix(t *testing.T) {
	for name, fn := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			if name == "FcntlFlockLocksFile" {
				// Wants POSIX locks to conflict within one process, as only a file system with
				// its own locks has it; native ext4 fails it too.
				t.Skip("asks for what POSIX does not have")
			}
			fn(t, newMount(t, nil, nil).mnt)
		})
	}
}
