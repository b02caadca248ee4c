package journal

import (
	"errors"
	"io"
)

// Export writes everything as NDJSON.
func (j *Journal) Export(w io.Writer) error { return errors.ErrUnsupported }
