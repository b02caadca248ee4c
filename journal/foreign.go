package journal

import "errors"

// Foreign returns what stood in the sandbox before the first push.
func (j *Journal) Foreign() (map[string]Stat, error) { return nil, errors.ErrUnsupported }
