package fs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPOSIX are tests of the suite that say nothing of us.
var notPOSIX = map[string]string{
	// Native ext4 fails it too: POSIX locks do not conflict within one process.
	"FcntlFlockLocksFile": "wants locks of a descriptor",
	"XAttrLarge":          "wants attributes of 64 kB, which ext4 below does not hold",
}

func TestPosix(t *testing.T) {
	for name, fn := range posixtest.All {
		if notPOSIX[name] == "" {
			t.Run(name, func(t *testing.T) { fn(t, newMount(t, nil, nil).mnt) })
		}
	}
}
