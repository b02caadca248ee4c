// Command benchfs runs the same workloads on a plain directory, the kernel's overlayfs,
// fuse-overlayfs and hermesfs, in several rounds and in random order, and prints one table of
// medians and of ratios to the plain directory in the same run. It wants root (to mount overlayfs
// and to drop caches), and hermesfs, fuse-overlayfs, git, tar and sqlite3 in PATH.
//
// All data is in the lower layer, on the file system of -dir. Daemons start anew for each round.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	dir := flag.String("dir", "", "directory to work in, on the file system to measure (default: a temporary one)")
	rounds := flag.Int("rounds", 3, "rounds; the table has the medians")
	scale := flag.Float64("scale", 1, "share of the full amount of data")
	only := flag.String("only", "", "workloads to run, separated by commas (default: all)")
	flag.Parse()
	if err := run(*dir, *rounds, *scale, *only); err != nil {
		fmt.Fprintln(os.Stderr, "benchfs:", err)
		os.Exit(1)
	}
}

func run(dir string, rounds int, scale float64, only string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("run it as root: it mounts overlayfs and drops caches")
	}
	work, err := os.MkdirTemp(dir, "benchfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	lower := filepath.Join(work, "lower")
	d, err := prepare(lower, work, scale)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	seconds := map[string]map[string][]float64{}
	for round := range rounds {
		order := slices.Clone(kinds)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, k := range order {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, rounds, k.name)
			if err := measure(k, lower, filepath.Join(work, "run"), d, only, seconds); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	return report(seconds)
}

// measure runs all workloads on one kind, mounted anew.
func measure(k kind, lower, dir string, d data, only string, seconds map[string]map[string][]float64) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, end, err := k.mount(lower, dir)
	if err != nil {
		return err
	}
	defer func() {
		if e := end(); err == nil {
			err = e
		}
	}()
	for _, w := range workloads {
		if only != "" && !slices.Contains(strings.Split(only, ","), w.name) {
			continue
		}
		if w.cold {
			if err := dropCaches(); err != nil {
				return err
			}
		}
		start := time.Now()
		if err := w.run(root, d); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		took := time.Since(start).Seconds()
		if seconds[w.name] == nil {
			seconds[w.name] = map[string][]float64{}
		}
		seconds[w.name][k.name] = append(seconds[w.name][k.name], took)
	}
	return nil
}

func dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

func report(seconds map[string]map[string][]float64) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "workload")
	for _, k := range kinds {
		fmt.Fprintf(w, "\t%s s", k.name)
	}
	for _, k := range kinds[1:] {
		fmt.Fprintf(w, "\t%s x", k.name)
	}
	fmt.Fprintln(w)
	for _, load := range workloads {
		byKind := seconds[load.name]
		if byKind == nil {
			continue
		}
		fmt.Fprint(w, load.name)
		for _, k := range kinds {
			fmt.Fprintf(w, "\t%.3f", median(byKind[k.name]))
		}
		for _, k := range kinds[1:] {
			fmt.Fprintf(w, "\t%.1f", median(byKind[k.name])/median(byKind[kinds[0].name]))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}
