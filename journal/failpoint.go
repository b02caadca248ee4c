package journal

// Points lists every failpoint. Each durable step has one before it becomes durable and one after.
func Points() []string {
	var points []string
	for _, step := range []string{
		stepCreate, stepMeta, stepPending, stepApply, stepBegin, stepSteps, stepEnd, stepForget, stepCompact,
	} {
		points = append(points, step+":before", step+":after")
	}
	return points
}

// The durable steps, as failpoints name them.
const (
	stepCreate  = "create" // before the link of a new file, after the fsync of its directory
	stepMeta    = "update_meta"
	stepPending = "set_pending"
	stepApply   = "apply"
	stepBegin   = "begin_commit"
	stepSteps   = "set_steps"
	stepEnd     = "end_commit"
	stepForget  = "forget_commits"
	stepCompact = "compact" // before the rename over the old file, after the fsync of its directory
)

// reach calls the failpoint hook, if there is one.
func reach(hook func(string) error, point string) error {
	if hook == nil {
		return nil
	}
	return hook(point)
}
