package daytona

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hermesfs/backends"
)

// keyLabel finds again what was created for a mount.
const keyLabel = "hermesfs"

// startLimit bounds the wait for a sandbox; building an image takes its time.
const startLimit = 15 * time.Minute

// A sandbox is what the API says of one.
type sandbox struct {
	ID              string `json:"id"`
	Name            string `json:"name"`
	State           string `json:"state"`
	ErrorReason     string `json:"errorReason"`
	Recoverable     bool   `json:"recoverable"`
	ToolboxProxyURL string `json:"toolboxProxyUrl"`
}

func (t *Transport) control(method, path string, body, answer any) request {
	r := request{method: method, url: strings.TrimSuffix(t.o.APIURL, "/") + path, body: body}
	if answer != nil {
		r.take = into(answer)
	}
	return r
}

func (t *Transport) get(ctx context.Context, id string) (*sandbox, error) {
	box := &sandbox{}
	err := t.api.do(ctx, t.control(http.MethodGet, "/sandbox/"+url.PathEscape(id), nil, box))
	if err != nil {
		return nil, err
	}
	if !validName.MatchString(box.ID) {
		return nil, &backends.FormatError{What: "answer of Daytona", Err: fmt.Errorf("the id %.80q", box.ID)}
	}
	return box, nil
}

// find looks for the sandbox; nil is none.
func (t *Transport) find(ctx context.Context) (*sandbox, error) {
	if t.o.ID != "" {
		box, err := t.get(ctx, t.o.ID)
		if errors.Is(err, errMissing) {
			return nil, fmt.Errorf("there is no Daytona sandbox %q (it may belong to another organization)", t.o.ID)
		}
		return box, err
	}
	labels := t.labels()
	if len(labels) == 0 {
		return nil, nil
	}
	filter, err := json.Marshal(labels)
	if err != nil {
		return nil, err
	}
	var found []sandbox
	for cursor := ""; ; {
		var page struct {
			Items      []sandbox `json:"items"`
			NextCursor *string   `json:"nextCursor"`
		}
		query := url.Values{"labels": {string(filter)}, "limit": {"100"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		if err := t.api.do(ctx, t.control(http.MethodGet, "/sandbox?"+query.Encode(), nil, &page)); err != nil {
			return nil, err
		}
		for _, box := range page.Items {
			if box.State != "destroyed" && box.State != "destroying" {
				found = append(found, box)
			}
		}
		if page.NextCursor == nil || *page.NextCursor == "" || *page.NextCursor == cursor || len(found) > 1 {
			break
		}
		cursor = *page.NextCursor
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return t.get(ctx, found[0].ID)
	}
	return nil, fmt.Errorf("the labels %s fit %q and %q, and perhaps more sandboxes: name one", filter, found[0].ID, found[1].ID)
}

// labels are what the sandbox is found by and created with.
func (t *Transport) labels() map[string]string {
	labels := map[string]string{}
	for k, v := range t.o.Labels {
		labels[k] = v
	}
	if t.o.Key != "" && len(t.o.Labels) == 0 {
		labels[keyLabel] = t.o.Key
	}
	return labels
}

// create makes a sandbox. Whether one was made by an attempt whose answer was lost shows its label.
func (t *Transport) create(ctx context.Context) (*sandbox, error) {
	labels := t.labels()
	if labels[keyLabel] == "" {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails
		labels[keyLabel] = hex.EncodeToString(b)
	}
	body := map[string]any{"labels": labels}
	set := func(key string, value any, given bool) {
		if given {
			body[key] = value
		}
	}
	set("name", t.o.Name, t.o.Name != "")
	set("target", t.o.Target, t.o.Target != "")
	set("snapshot", t.o.Snapshot, t.o.Snapshot != "")
	if t.o.Image != "" {
		body["buildInfo"] = map[string]string{"dockerfileContent": "FROM " + t.o.Image + "\n"}
	}
	set("cpu", t.o.CPU, t.o.CPU != 0)
	set("memory", t.o.MemoryGB, t.o.MemoryGB != 0)
	set("disk", t.o.DiskGB, t.o.DiskGB != 0)
	if t.o.AutoStop != nil {
		body["autoStopInterval"] = *t.o.AutoStop
	}
	box := &sandbox{}
	r := t.control(http.MethodPost, "/sandbox", body, box)
	r.once = true
	err := t.api.do(ctx, r)
	var status *statusError
	if errors.As(err, &status) && status.Status == http.StatusConflict && t.o.Name != "" {
		return t.get(ctx, t.o.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("create a sandbox: %w", err)
	}
	t.log.Info("sandbox created", "id", box.ID)
	t.ours = true
	return box, nil
}

// The states that lead to another one by themselves.
var passing = []string{
	"creating", "restoring", "starting", "stopping", "pending_build", "building_snapshot", "unknown", "pulling_snapshot",
	"archiving", "resizing", "snapshotting", "forking", "pausing", "resuming",
}

// readyLocked finds or creates the sandbox and sees to it that it runs.
func (t *Transport) readyLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, &backends.TransportError{Op: "daytona", Err: errors.New("the sandbox does not start")})
	defer cancel()
	var box *sandbox
	var err error
	if t.box != nil {
		box, err = t.get(ctx, t.box.ID)
	} else {
		box, err = t.find(ctx)
	}
	if err != nil {
		return err
	}
	if box == nil {
		if t.o.Image == "" && t.o.Snapshot == "" {
			return fmt.Errorf("no Daytona sandbox has the labels of %s", t.o.URL)
		}
		if box, err = t.create(ctx); err != nil {
			return err
		}
	}
	told := false
	for pause := t.api.pause / 2; ; pause = min(pause+pause/10, time.Second) {
		switch {
		case box.State == "started":
			return t.reachedLocked(ctx, box)
		case slices.Contains([]string{"stopped", "archived", "paused"}, box.State) && !told:
			if err := t.api.do(ctx, t.control(http.MethodPost, "/sandbox/"+box.ID+"/start", nil, nil)); err != nil {
				return fmt.Errorf("start the sandbox: %w", err)
			}
			t.log.Info("sandbox started", "id", box.ID)
			t.ours, told = true, true
		case box.State == "error", box.State == "build_failed":
			return fmt.Errorf("the Daytona sandbox %s is in state %s: %.300q", box.ID, box.State, box.ErrorReason)
		case box.State == "destroyed", box.State == "destroying":
			return fmt.Errorf("the Daytona sandbox %s has been deleted", box.ID)
		case !told && !slices.Contains(passing, box.State):
			return fmt.Errorf("the Daytona sandbox %s is in the unknown state %.40q", box.ID, box.State)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if box, err = t.get(ctx, box.ID); err != nil {
			return err
		}
	}
}

// reachedLocked finds where the sandbox's toolbox is.
func (t *Transport) reachedLocked(ctx context.Context, box *sandbox) error {
	if box.ToolboxProxyURL == "" {
		var answer struct {
			URL string `json:"url"`
		}
		if err := t.api.do(ctx, t.control(http.MethodGet, "/sandbox/"+box.ID+"/toolbox-proxy-url", nil, &answer)); err != nil {
			return err
		}
		box.ToolboxProxyURL = answer.URL
	}
	u, err := url.Parse(box.ToolboxProxyURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(t.o.APIURL, "https:")) {
		return &backends.FormatError{What: "answer of Daytona", Err: fmt.Errorf("the toolbox is at %.200q", box.ToolboxProxyURL)}
	}
	t.box = box
	return nil
}

// dispose stops or deletes the sandbox. It does not wait for the end of that, which is sure to come.
func (t *Transport) dispose(ctx context.Context, id string, d backends.Disposition) error {
	r := t.control(http.MethodPost, "/sandbox/"+url.PathEscape(id)+"/stop", nil, nil)
	if d == backends.Terminate {
		r = t.control(http.MethodDelete, "/sandbox/"+url.PathEscape(id), nil, nil)
	}
	err := t.api.do(ctx, r)
	switch {
	case err == nil:
		t.log.Info("sandbox disposed of", "id", id, "how", string(d))
		return nil
	case errors.Is(err, errMissing):
		return nil
	}
	if box, getErr := t.get(ctx, id); getErr == nil && d == backends.Stop && slices.Contains([]string{"stopped", "stopping", "archived", "archiving", "destroyed", "destroying"}, box.State) {
		return nil // it was already
	}
	return fmt.Errorf("%s the sandbox: %w", d, err)
}
