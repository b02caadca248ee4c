package syncer

// FailPoints lists the names that Options.Fail is called with, in the order in which a mount comes
// to them. Some are passed more than once in an operation.
func FailPoints() []string {
	return []string{
		"attach-claim",    // base is what a fresh sandbox has, the marker is not there yet
		"push-pending",    // all bytes were sent, nothing is pending
		"push-ready",      // it is pending, nothing in the sandbox was changed
		"push-sent",       // the sandbox has it, base is as before
		"pull-fetched",    // all has come, nothing is applied
		"pull-applied",    // upper has it, base is as before
		"commit-planned",  // the plan is in the journal, the home is as before
		"commit-written",  // all is staged, not durable
		"commit-staged",   // all is staged, and the journal has it
		"commit-swapped",  // one more path has its new version, nobody looked at the old one
		"commit-applied",  // one more path has its new version, the journal does not have it
		"commit-recorded", // the journal has a batch of steps
		"commit-taken",    // one more preimage is an object
		"commit-synced",   // all is done, the commit is open
		"commit-ended",    // the commit is closed, upper has it still
		"commit-dropped",  // all is done
	}
}
