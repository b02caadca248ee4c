package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// PackageDocs finds packages without exactly one doc comment that begins as go doc wants it. Of a
// package that is only tests the tests count.
func PackageDocs(files []*File) (found []string) {
	type pkg struct {
		name string
		docs []string
	}
	packages := map[string]*pkg{}
	plain := map[string]bool{}
	for _, f := range files {
		plain[f.dir()] = plain[f.dir()] || !f.isTest()
	}
	for _, f := range files {
		if f.isTest() && plain[f.dir()] {
			continue
		}
		p := packages[f.dir()]
		if p == nil {
			p = &pkg{name: f.AST.Name.Name}
			packages[f.dir()] = p
		}
		if f.AST.Doc == nil {
			continue
		}
		p.docs = append(p.docs, f.Path)
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "Command " + path.Base(f.dir()) + " "
		}
		if !strings.HasPrefix(f.AST.Doc.Text(), want) {
			found = append(found, f.at(f.AST.Doc, "the package's comment must begin with %q", want))
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if p := packages[dir]; len(p.docs) != 1 {
			found = append(found, fmt.Sprintf("%s: package %s has %d doc comments %v, want one", dir, p.name, len(p.docs), p.docs))
		}
	}
	return found
}

// ExportedDocs finds exported names at the top level, and methods of exported types, that have no
// comment. In a group of constants or variables the comment of the group will do.
func ExportedDocs(f *File) (found []string) {
	if f.isTest() || f.AST.Name.Name == "main" {
		return nil
	}
	for _, d := range f.AST.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				found = append(found, f.at(d, "%s has no comment", d.Name.Name))
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				found = append(found, f.undocumented(d, s)...)
			}
		}
	}
	return found
}

func (f *File) undocumented(d *ast.GenDecl, s ast.Spec) (found []string) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
			found = append(found, f.at(s, "%s has no comment", s.Name.Name))
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				found = append(found, f.at(n, "%s has no comment", n.Name))
			}
		}
	}
	return found
}

// exportedReceiver tells whether d is a function or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// FileNames finds files named for no concern.
func FileNames(f *File) (found []string) {
	base := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.Path), ".go"), "_test")
	if slices.Contains([]string{"util", "utils", "helper", "helpers", "type", "types", "common", "misc"}, base) {
		found = append(found, f.Path+": name the file for what is in it")
	}
	return found
}

// Inits finds init functions.
func Inits(f *File) (found []string) {
	for _, d := range f.AST.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			found = append(found, f.at(fn, "no init functions"))
		}
	}
	return found
}

// comparesExported tells whether e names an error value that errors.Is is for.
func comparesExported(e ast.Expr) (string, bool) {
	if s, ok := e.(*ast.SelectorExpr); ok {
		e = s.Sel
	}
	id, ok := e.(*ast.Ident)
	if !ok {
		return "", false
	}
	rest, ok := strings.CutPrefix(id.Name, "Err")
	return id.Name, ok && rest != "" && token.IsExported(rest)
}
