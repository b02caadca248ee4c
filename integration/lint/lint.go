// Package lint holds the rules of the source tree that neither vet nor staticcheck know: which
// package may import which, what is documented, who may exit. Its tests read the whole module.
//
// Every rule is a function from what was parsed to findings, so that each is also shown to find
// what it is for on a piece of bad source.
package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// A File is one parsed Go file.
type File struct {
	Path string // slash path relative to the module
	AST  *ast.File
	fset *token.FileSet
}

// Parse parses one file. src is as in parser.ParseFile.
func Parse(filename, relative string, src any) (*File, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, filename, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &File{relative, f, fset}, nil
}

// Load parses the Go files of the module at root.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(name string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base[0] == '.' || base[0] == '_' || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := Parse(name, filepath.ToSlash(rel), nil)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// Root returns the directory of the module that the current directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.mod above the current directory")
		}
	}
}

// dir is the file's package, as a path in the module.
func (f *File) dir() string { return path.Dir(f.Path) }

func (f *File) isTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// at makes a finding about a node.
func (f *File) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", f.Path, f.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

// imports returns the file's imports with their paths unquoted.
func (f *File) imports() map[*ast.ImportSpec]string {
	all := map[*ast.ImportSpec]string{}
	for _, spec := range f.AST.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			all[spec] = p
		}
	}
	return all
}

// called returns "pkg.Name" when n is a call of such a selector, else "".
func called(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok {
		return x.Name + "." + sel.Sel.Name
	}
	return ""
}
