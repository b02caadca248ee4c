// Package fs is the FUSE overlay: the merged view of a home and its private upper layer as a file
// system.
//
// It speaks go-fuse's raw interface. A node is an inode that the kernel knows; its number is the
// inode number that the view shows, so it stays the same over copy-up and over a restart. OPEN,
// CREATE, FLUSH are answered ENOSYS, after which the kernel no longer sends them: a home is
// thousands of small files, and most of the cost of reading one was in opening it. So there are no
// file handles; reads and writes find the file by its node, a copy-up happens at the first write,
// and the descriptor of an unlinked file stays on its node until the kernel forgets it.
//
// Locks, in the order they are taken:
//
//	node.copyMu    one copy-up of a file at a time; held while its content is copied
//	  Overlay.mu   the shape of the tree: read-locked to reach a file by its directory's
//	               descriptors, write-locked to change names or the layer of a node
//	    node.dataMu  read-locked while a write is under way, write-locked to take the file away
//	      Overlay.tableMu  nodes, children, names and counts; held for a few instructions
//	      Overlay.fileMu   the open descriptors of files
//
// No lock is held while the kernel is notified: notify.go has one goroutine for that.
package fs
