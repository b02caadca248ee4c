package lint

import (
	"slices"
	"strings"
)

const module = "hermesfs/"

// mayImport says which packages of the module a package imports; a directory that is not here may
// import nothing of it. "*" at the end stands for whatever follows.
var mayImport = map[string][]string{
	"cmd/hermesfs":                           {"*"},
	"sync":                                   {"backends", "journal", "fs/layer", "fs/access"},
	"fs":                                     {"fs/layer", "fs/access"},
	"fs/layer":                               {"fs/access"},
	"backends/shell":                         {"backends"},
	"backends/backendtest":                   {"backends", "backends/shell"},
	"backends/*":                             {"backends", "backends/shell"},
	"integration":                            {"*"},
	"integration/*":                          {"*"},
	"integration/fixture":                    {},
	"integration/lint":                       {},
	"integration/fixture/cmd/hermes-fixture": {"integration/fixture"},
}

// testsMayImport is what the tests of every package may use besides.
var testsMayImport = []string{"integration/fixture", "backends/backendtest", "backends/modal/modaltest", "backends/shell", "backends/dir", "backends/ssh"}

// onlyIn says in which directory trees an import from outside may stand.
var onlyIn = map[string][]string{
	"github.com/hanwen/go-fuse/":      {"fs"},
	"go.etcd.io/bbolt":                {"journal"},
	"github.com/urfave/cli/":          {"cmd"},
	"github.com/modal-labs/":          {"backends/modal"},
	"google.golang.org/grpc":          {"backends/modal"},
	"pgregory.net/rapid":              nil, // tests only
	"github.com/google/go-cmp/":       nil,
	"github.com/rogpeppe/go-internal": nil,
}

// importName is what an import must be called.
var importName = map[string]string{
	"hermesfs/sync":                   "syncer",
	"github.com/hanwen/go-fuse/v2/fs": "fusefs",
	"io/fs":                           "iofs",
	"go.etcd.io/bbolt":                "bolt",
}

// Imports finds imports against the direction of the layers, dependencies outside the one package
// that wraps them, and names that differ from the fixed ones.
func Imports(f *File) (found []string) {
	for spec, p := range f.imports() {
		if ours, ok := strings.CutPrefix(p, module); ok && !importAllowed(f, ours) {
			found = append(found, f.at(spec, "%s must not import %s", f.dir(), p))
		}
		for prefix, trees := range onlyIn {
			if strings.HasPrefix(p, prefix) && !f.isTest() && !slices.ContainsFunc(trees, func(tree string) bool { return below(f.Path, tree) }) {
				found = append(found, f.at(spec, "%s must not import %s", f.dir(), p))
			}
		}
		// A test may use go-fuse only where go-fuse is used.
		if strings.HasPrefix(p, "github.com/hanwen/go-fuse/") && (f.isTest() && !below(f.Path, "fs") || below(f.Path, "fs/layer") || below(f.Path, "fs/access")) {
			found = append(found, f.at(spec, "%s must not import %s", f.dir(), p))
		}
		if want := importName[p]; want != "" && (spec.Name == nil || spec.Name.Name != want && spec.Name.Name != "_") {
			found = append(found, f.at(spec, "import %s as %s", p, want))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func importAllowed(f *File, ours string) bool {
	dir := f.dir()
	if ours == dir { // an external test package
		return true
	}
	allowed, ok := mayImport[dir]
	for parent := dir; !ok && parent != "."; {
		parent = parent[:max(0, strings.LastIndexByte(parent, '/'))]
		if parent == "" {
			break
		}
		allowed, ok = mayImport[parent+"/*"]
	}
	if f.isTest() {
		allowed = append(slices.Clip(allowed), testsMayImport...)
	}
	return slices.Contains(allowed, "*") || slices.Contains(allowed, ours)
}

func below(p, tree string) bool { return strings.HasPrefix(p, tree+"/") }
