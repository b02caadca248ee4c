package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	syncer "hermesfs/sync"
)

type pruneOptions struct {
	name      string         // "": the commits of every mount
	olderThan *time.Duration // nil: any age
	maxSize   int64          // < 0: any size
	dryRun    bool
	json      bool
}

// A pruneReport is what a prune removed, or would.
type pruneReport struct {
	DryRun bool `json:"dry_run"`
	syncer.PrunePlan
}

func pruneCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "forget old commits and remove the versions that only they need", ArgsUsage: "[NAME]",
		Description: `Forgets commits of one mount, or without NAME of all, by their age, and then the oldest until the kept versions of all
mounts take no more than a size; what nothing needs any more is removed. A forgotten commit is not in 'hermesfs history' any
more and cannot be restored. Without a limit, only what no mount needs goes. What an interrupted commit needs always stays.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "older-than", Usage: "forget commits that ended longer ago than `DUR`: 30d, 2w, 12h"},
			&cli.StringFlag{Name: "max-size", Usage: "forget the oldest commits until what is kept takes at most `BYTES`: 500M, 2GiB"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go"}, jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1, ""); err != nil {
				return err
			}
			o := pruneOptions{name: c.Args().First(), maxSize: -1, dryRun: c.Bool("dry-run"), json: c.Bool("json")}
			if c.IsSet("older-than") {
				d, err := parseAge(c.String("older-than"))
				if err != nil {
					return err
				}
				o.olderThan = &d
			}
			if c.IsSet("max-size") {
				var err error
				if o.maxSize, err = parseSize(c.String("max-size")); err != nil {
					return err
				}
			}
			return runPrune(c.Context, o, e)
		},
	}
}

func runPrune(ctx context.Context, o pruneOptions, e *env) error {
	if o.name != "" {
		m, _, err := find(e, o.name)
		if err != nil {
			return err
		}
		o.name = m.name
	}
	state, err := findStateDir(e.getenv)
	if err != nil {
		return err
	}
	r := pruneReport{DryRun: o.dryRun}
	if _, err := os.Stat(state.objects()); !errors.Is(err, iofs.ErrNotExist) {
		if r.PrunePlan, err = prune(ctx, o, e, state); err != nil {
			return err
		}
	}
	if o.json {
		return e.printJSON(r)
	}
	verb, left := "removed", "stay"
	forgot := "forgot"
	if o.dryRun {
		verb, left, forgot = "would remove", "would stay", "would forget"
	}
	for _, c := range r.Commits {
		fmt.Fprintf(e.out, "%s %s %d of %s\n", forgot, c.Kind, c.Seq, c.Mount+", "+c.EndedAt.Format(time.RFC3339))
	}
	_, err = fmt.Fprintf(e.out, "%s %s, %s; %d, %s, %s\n",
		verb, count(len(r.Objects), "version"), bytesText(r.Bytes), r.Kept, bytesText(r.KeptBytes), left)
	return err
}

// prune works while mounts run: what their engines do waits meanwhile.
func prune(ctx context.Context, o pruneOptions, e *env, state stateDir) (p syncer.PrunePlan, err error) {
	objects, err := syncer.OpenObjects(state.objects())
	if err != nil {
		return p, err
	}
	soon, cancel := context.WithTimeout(ctx, time.Second)
	release, err := objects.Hold(soon)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		e.say("waiting for what mounts are doing to end")
		release, err = objects.Hold(ctx)
	}
	if err != nil {
		return p, err
	}
	defer release()
	uses, err := objectUses(ctx, e, state)
	if err != nil {
		return p, fmt.Errorf("nothing is pruned, since it is not known what is needed: %w", err)
	}
	stored, err := objects.List()
	if err != nil {
		return p, err
	}
	now := time.Now()
	limits := syncer.PruneOptions{Mount: o.name, MaxSize: o.maxSize}
	if o.olderThan != nil {
		limits.Before = now.Add(-*o.olderThan)
	}
	p = syncer.PlanPrune(uses, stored, limits, now)
	if o.dryRun {
		return p, nil
	}
	forget := map[string][]uint64{}
	for _, c := range p.Commits {
		forget[c.Mount] = append(forget[c.Mount], c.Seq)
	}
	for mount, seqs := range forget {
		if err := ask(ctx, e, mount, "forget-commits", actionArgs{Seqs: seqs}, nil); err != nil {
			return p, fmt.Errorf("forget commits of %s: %w", mount, err)
		}
	}
	return p, objects.Remove(p.Objects, now)
}

// objectUses asks every mount what it needs.
func objectUses(ctx context.Context, e *env, state stateDir) (map[string][]syncer.ObjectUse, error) {
	dirs, err := state.list()
	if err != nil {
		return nil, err
	}
	uses := map[string][]syncer.ObjectUse{}
	for _, m := range dirs {
		if _, err := os.Stat(m.journal()); errors.Is(err, iofs.ErrNotExist) {
			continue
		}
		var r objectsReport
		if err := ask(ctx, e, m.name, "objects", actionArgs{}, &r); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.name, err)
		}
		uses[m.name] = r.Uses
	}
	return uses, nil
}

// An objectsReport is what a mount's journal needs of the objects.
type objectsReport struct {
	Uses []syncer.ObjectUse `json:"uses"`
}

func (s *session) objectUses() (objectsReport, error) {
	uses, err := syncer.ObjectUses(s.journal)
	return objectsReport{uses}, err
}

var sizePattern = regexp.MustCompile(`^([0-9]+)(?:([kKMGT])(i?)B?|B)?$`)

// parseSize reads a number of bytes: 1000, 10k, 500M, 2GB in powers of 1000, 2GiB in powers of 1024.
func parseSize(text string) (int64, error) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, usagef("size %s: want a number of bytes, such as 500M or 2GiB", quote(text))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	base := int64(1000)
	if m[3] != "" {
		base = 1024
	}
	for range 1 + strings.Index("kMGT", strings.ReplaceAll(m[2], "K", "k")) {
		if m[2] == "" {
			break
		}
		if n > (1<<63-1)/base {
			err = strconv.ErrRange
			break
		}
		n *= base
	}
	if err != nil {
		return 0, usagef("size %s is too large", quote(text))
	}
	return n, nil
}

// parseAge reads a duration, also in days and weeks.
func parseAge(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			var n int64
			if n, err = strconv.ParseInt(number, 10, 64); err == nil && n > int64(1<<63-1)/int64(length) {
				err = strconv.ErrRange
			}
			d = time.Duration(n) * length
		}
	}
	if err != nil || d < 0 {
		return 0, usagef("age %s: want a duration such as 30d, 2w or 12h", quote(text))
	}
	return d, nil
}
