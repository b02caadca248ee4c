package daytona

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A fake is Daytona, its API and its proxy, as far as notes of the real ones go. Sandboxes are
// directories of this machine, and commands its processes.
type fake struct {
	*httptest.Server
	t   testing.TB
	old bool // a daemon before 0.156
	key string

	mu       sync.Mutex // guards what follows
	boxes    map[string]*fakeBox
	calls    []string                                          // METHOD path, of the API
	active   int                                               // toolbox calls that count as activity
	next     int                                               // number of the next sandbox
	disturb  func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	settling int                                               // how often a passing state is seen
	cut      func() int                                        // a download is cut after so many bytes, -1 never
	short    func() bool                                       // an upload leaves half a file, and nobody notices
}

type fakeBox struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	State    string            `json:"state"`
	Reason   string            `json:"errorReason,omitempty"`
	Labels   map[string]string `json:"labels"`
	ProxyURL string            `json:"toolboxProxyUrl,omitempty"`

	root    string
	then    string // the state that follows State
	left    int    // looks until then
	created map[string]any
}

func startFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{t: t, key: "dtn_key", boxes: map[string]*fakeBox{}, settling: 2}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.Close()
		for _, b := range f.boxes {
			b.killAll()
		}
	})
	return f
}

// add makes a sandbox that somebody else created.
func (f *fake) add(name, state string, labels map[string]string) *fakeBox {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	b := &fakeBox{ID: fmt.Sprintf("0b0c-%d", f.next), Name: name, State: state, Labels: labels, ProxyURL: f.URL + "/toolbox", root: f.t.TempDir()}
	for _, dir := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(b.root, dir), 0o755); err != nil {
			f.t.Error(err)
		}
	}
	f.boxes[b.ID] = b
	return b
}

// state is what a sandbox is in, without looking at it as a client does.
func (f *fake) state(b *fakeBox) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.then != "" {
		return b.then
	}
	return b.State
}

// count says how many calls to the API begin with a text.
func (f *fake) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func (f *fake) change(set func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set()
}

// apiError is an error of the API.
func apiError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"statusCode": status, "error": http.StatusText(status), "message": message, "path": "/x"})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	disturb := f.disturb
	f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+f.key {
		apiError(w, http.StatusUnauthorized, "Invalid credentials")
		return
	}
	if disturb != nil && disturb(w, r) {
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/toolbox/"); ok {
		f.toolbox(w, r, rest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Method+" "+r.URL.Path)
	path, ok := strings.CutPrefix(r.URL.Path, "/api/sandbox")
	switch parts := strings.Split(path, "/"); {
	case !ok:
		http.NotFound(w, r)
	case path == "" && r.Method == http.MethodGet:
		f.listLocked(w, r)
	case path == "" && r.Method == http.MethodPost:
		f.createLocked(w, r)
	case len(parts) > 1:
		f.sandboxLocked(w, r, parts[1:])
	}
}

func (f *fake) listLocked(w http.ResponseWriter, r *http.Request) {
	var want map[string]string
	if err := json.Unmarshal([]byte(r.URL.Query().Get("labels")), &want); err != nil {
		apiError(w, http.StatusBadRequest, "bad labels")
		return
	}
	items := []*fakeBox{}
	var ids []string
	for i := 1; i <= f.next; i++ {
		ids = append(ids, fmt.Sprintf("0b0c-%d", i))
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	var cursor *string
	for i := from; i < len(ids); i++ {
		if i == from+2 { // pages of two
			next := strconv.Itoa(i)
			cursor = &next
			break
		}
		b := f.boxes[ids[i]]
		fits := b != nil
		for k, v := range want {
			fits = fits && b.Labels[k] == v
		}
		if fits {
			items = append(items, b)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"items": items, "nextCursor": cursor})
}

func (f *fake) createLocked(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		apiError(w, http.StatusBadRequest, err.Error())
		return
	}
	name, _ := body["name"].(string)
	for _, b := range f.boxes {
		if name != "" && b.Name == name {
			apiError(w, http.StatusConflict, "Sandbox with name "+name+" already exists")
			return
		}
	}
	if body["snapshot"] != nil && (body["cpu"] != nil || body["memory"] != nil || body["disk"] != nil) {
		apiError(w, http.StatusBadRequest, "Cannot specify Sandbox resources when using a snapshot")
		return
	}
	labels := map[string]string{}
	given, _ := body["labels"].(map[string]any)
	for k, v := range given {
		labels[k], _ = v.(string)
	}
	f.mu.Unlock()
	b := f.add(name, "pending_build", labels)
	f.mu.Lock()
	b.then, b.left, b.created = "started", f.settling, body
	_ = json.NewEncoder(w).Encode(b)
}

// sandboxLocked is /sandbox/{idOrName} and what is below it.
func (f *fake) sandboxLocked(w http.ResponseWriter, r *http.Request, parts []string) {
	b := f.boxes[parts[0]]
	for _, other := range f.boxes {
		if other.Name == parts[0] {
			b = other
		}
	}
	if b == nil {
		apiError(w, http.StatusNotFound, "Sandbox with ID or name "+parts[0]+" not found")
		return
	}
	if len(parts) > 1 && b.then != "" {
		apiError(w, http.StatusConflict, "Sandbox state change in progress")
		b.settle()
		return
	}
	verb := r.Method
	if len(parts) > 1 {
		verb += " " + parts[1]
	}
	switch verb {
	case "GET":
		b.settle()
	case "GET toolbox-proxy-url":
		_ = json.NewEncoder(w).Encode(map[string]string{"url": f.URL + "/toolbox"})
		return
	case "POST start":
		if b.State != "started" {
			b.State, b.then, b.left = "starting", "started", f.settling
		}
	case "POST stop":
		if b.State != "started" {
			apiError(w, http.StatusBadRequest, "Sandbox is not in valid state")
			return
		}
		b.stop()
		b.State, b.then, b.left = "stopping", "stopped", f.settling
	case "DELETE":
		b.stop()
		delete(f.boxes, b.ID)
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(b)
}

func (b *fakeBox) settle() {
	if b.then != "" {
		if b.left--; b.left < 0 {
			b.State, b.then = b.then, ""
		}
	}
}

// stop ends what runs, and forgets what is in memory.
func (b *fakeBox) stop() {
	b.killAll()
	tmp := filepath.Join(b.root, "tmp")
	_ = os.RemoveAll(tmp)
	_ = os.Mkdir(tmp, 0o755)
}

// killAll ends the processes of a sandbox, which have its id in their environment.
func (b *fakeBox) killAll() {
	for range 3 { // what was born meanwhile
		envs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, env := range envs {
			text, err := os.ReadFile(env)
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(env)))
			if err == nil && strings.Contains(string(text), "DAYTONA_SANDBOX_ID="+b.root+"\x00") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

func (b *fakeBox) env() []string {
	return append(os.Environ(), "HOME="+b.root+"/home", "TMPDIR="+b.root+"/tmp", "DAYTONA_SANDBOX_ID="+b.root)
}

// connect makes a transport to the fake.
func (f *fake) connect(url string, change ...func(*Options)) *Transport {
	f.t.Helper()
	o, err := Parse(url)
	if err != nil {
		f.t.Fatal(err)
	}
	o.APIKey, o.APIURL = f.key, f.URL+"/api"
	for _, c := range change {
		c(&o)
	}
	tr, err := New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	tr.api.pause = 5 * time.Millisecond
	f.t.Cleanup(func() { _ = tr.Close(context.Background(), "keep") })
	return tr
}
