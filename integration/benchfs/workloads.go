package main

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// data says how much there is of what.
type data struct {
	small   int    // small files, in directories of 100
	listed  int    // files of one directory
	big     int64  // bytes of the big file
	tar     string // an archive of small files
	appends int    // small files that are appended to
}

// prepare makes the lower tree: a git work tree of small files, a directory of many, a big file.
func prepare(lower, work string, scale float64) (data, error) {
	d := data{
		small: int(20_000 * scale), listed: int(5_000 * scale), big: int64(256<<20*scale) &^ 0xfffff,
		tar: filepath.Join(work, "small.tar"), appends: 200,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = " \netaoinshrdlu"[rng.IntN(14)]
		}
		return b
	}
	for i := range d.small {
		path := smallFile(lower, i)
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return d, err
			}
		}
		if err := os.WriteFile(path, text(200+rng.IntN(3800)), 0o644); err != nil {
			return d, err
		}
	}
	if err := os.Mkdir(filepath.Join(lower, "listed"), 0o755); err != nil {
		return d, err
	}
	for i := range d.listed {
		if err := os.WriteFile(filepath.Join(lower, "listed", fmt.Sprint("f", i)), nil, 0o644); err != nil {
			return d, err
		}
	}
	if err := os.WriteFile(filepath.Join(lower, "big"), text(int(d.big)), 0o644); err != nil {
		return d, err
	}
	git := func(args ...string) error {
		return command("git", append([]string{"-C", filepath.Join(lower, "tree"), "-c", "user.name=x", "-c", "user.email=x@x"}, args...)...)
	}
	if err := errors.Join(git("init", "-q"), git("add", "."), git("commit", "-q", "-m", "all")); err != nil {
		return d, err
	}
	args := []string{"-cf", d.tar, "-C", filepath.Join(lower, "tree")}
	for i := range max(1, d.small/500) {
		args = append(args, fmt.Sprintf("d%03d", i))
	}
	return d, command("tar", args...)
}

func smallFile(root string, i int) string {
	return filepath.Join(root, "tree", fmt.Sprintf("d%03d", i/100), fmt.Sprint("f", i))
}

// A workload is timed as a whole. They run in this order; cold ones begin without the kernel's
// caches.
type workload struct {
	name string
	cold bool
	run  func(root string, d data) error
}

var workloads = []workload{
	{"seq read cold", true, readBig},
	{"seq read warm", false, readBig},
	{"random 4k read warm", false, readRandom},
	{"find+stat cold", true, statAll},
	{"find+stat warm", false, statAll},
	{"stat storm", false, statStorm},
	{"readdir 5,000 x 20", false, listMany},
	{"read small first", false, readSmall},
	{"read small warm", false, readSmall},
	{"grep -r warm", false, func(root string, _ data) error {
		return ignoreExit1(exec.Command("grep", "-rq", "not there at all", filepath.Join(root, "tree")).Run())
	}},
	{"git status first", false, gitStatus},
	{"git status", false, gitStatus},
	{"create 5,000", false, create},
	{"delete 5,000", false, remove},
	{"untar 4,000", false, func(root string, d data) error {
		dir := filepath.Join(root, "untar")
		return errors.Join(os.Mkdir(dir, 0o755), command("tar", "-xf", d.tar, "-C", dir))
	}},
	{"rm -r 4,000", false, func(root string, _ data) error { return os.RemoveAll(filepath.Join(root, "untar")) }},
	{"append to 200 lower", false, appendLower},
	{"seq write + fsync", false, func(root string, d data) error { return writeBig(root, d.big/4, 1<<20, true) }},
	{"seq 4k writes", false, func(root string, d data) error { return writeBig(root, d.big/8, 4096, false) }},
	{"sqlite WAL, 300", false, sqlite},
}

func ignoreExit1(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	return err
}

func readBig(root string, _ data) error {
	f, err := os.Open(filepath.Join(root, "big"))
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		if _, err := f.Read(buf); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func readRandom(root string, d data) error {
	f, err := os.Open(filepath.Join(root, "big"))
	if err != nil {
		return err
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	buf := make([]byte, 4096)
	for range 100_000 {
		if _, err := f.ReadAt(buf, rng.Int64N(d.big-4096)); err != nil {
			return err
		}
	}
	return nil
}

func statAll(root string, _ data) error {
	return filepath.WalkDir(filepath.Join(root, "tree"), func(_ string, e iofs.DirEntry, err error) error {
		if err == nil {
			_, err = e.Info()
		}
		return err
	})
}

func statStorm(root string, d data) error {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 3 * d.small {
		if _, err := os.Lstat(smallFile(root, rng.IntN(d.small))); err != nil {
			return err
		}
	}
	return nil
}

func listMany(root string, d data) error {
	for range 20 {
		f, err := os.Open(filepath.Join(root, "listed"))
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(-1)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if len(names) != d.listed {
			return fmt.Errorf("%d names, want %d", len(names), d.listed)
		}
	}
	return nil
}

func readSmall(root string, d data) error {
	for i := range d.small {
		if _, err := os.ReadFile(smallFile(root, i)); err != nil {
			return err
		}
	}
	return nil
}

func gitStatus(root string, _ data) error {
	out, err := exec.Command("git", "-c", "safe.directory=*", "-C", filepath.Join(root, "tree"), "status", "--porcelain").CombinedOutput()
	if err == nil && strings.TrimSpace(string(out)) != "" {
		err = fmt.Errorf("git status shows changes: %.200s", out)
	}
	return err
}

func create(root string, d data) error {
	dir := filepath.Join(root, "made")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range d.listed {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("hello"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func remove(root string, d data) error {
	for i := range d.listed {
		if err := os.Remove(filepath.Join(root, "made", fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}

func appendLower(root string, d data) error {
	for i := range d.appends {
		f, err := os.OpenFile(smallFile(root, i*(d.small/d.appends)), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("one more line\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func writeBig(root string, size int64, piece int, sync bool) error {
	f, err := os.Create(filepath.Join(root, fmt.Sprint("written", piece)))
	if err != nil {
		return err
	}
	buf := make([]byte, piece)
	for done := int64(0); done < size && err == nil; done += int64(piece) {
		_, err = f.Write(buf)
	}
	if sync {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

func sqlite(root string, _ data) error {
	var sql strings.Builder
	sql.WriteString("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);\n")
	for i := range 300 {
		fmt.Fprintf(&sql, "BEGIN; INSERT INTO t(b) VALUES('%d'); COMMIT;\n", i)
	}
	cmd := exec.Command("sqlite3", filepath.Join(root, "bench.db"))
	cmd.Stdin = strings.NewReader(sql.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("sqlite3: %w: %s", err, out)
	}
	return nil
}
