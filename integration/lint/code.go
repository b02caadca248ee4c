package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/version"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mains are the files that may end the process.
var mains = []string{"cmd/hermesfs/main.go", "integration/fixture/cmd/hermes-fixture/main.go", "integration/benchfs/main.go", "scripts/testreport/main.go"}

// Exits finds what ends the process outside of main. Tests may: they run children of themselves.
func Exits(f *File) (found []string) {
	if f.isTest() || slices.Contains(mains, f.Path) {
		return nil
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch name := called(n); name {
		case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Panic", "log.Panicf", "log.Panicln", "syscall.Exit", "unix.Exit":
			found = append(found, f.at(n, "%s outside of main", name))
		}
		return true
	})
	return found
}

// ErrorComparisons finds exported errors compared with ==, != or a switch.
func ErrorComparisons(f *File) (found []string) {
	check := func(e ast.Expr) {
		if name, ok := comparesExported(e); ok {
			found = append(found, f.at(e, "compare %s with errors.Is", name))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && !isNil(n.X) && !isNil(n.Y) {
				check(n.X)
				check(n.Y)
			}
		case *ast.SwitchStmt:
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					if n.Tag != nil {
						check(e)
					}
				}
			}
		}
		return true
	})
	return found
}

func isNil(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "nil"
}

// Sleeps finds tests that wait by sleeping. Between two looks of a loop that polls they may, under a
// fake clock, which testing/synctest is, and where a fake reader or writer is slow on purpose.
func Sleeps(f *File) (found []string) {
	for _, p := range f.imports() {
		if p == "testing/synctest" {
			return nil
		}
	}
	if !f.isTest() {
		return nil
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt:
			return false
		case *ast.FuncDecl:
			return n.Recv == nil || n.Name.Name != "Read" && n.Name.Name != "Write"
		}
		if called(n) == "time.Sleep" {
			found = append(found, f.at(n, "time.Sleep in a test: poll with a deadline"))
		}
		return true
	})
	return found
}

var (
	logReceiver = regexp.MustCompile(`(?i)^(slog|log|logger)$`)
	snakeCase   = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

// Logs finds log calls whose message is not one constant in lower case or whose keys are not
// snake_case constants. It sees calls on something named log, logger or slog.
func Logs(f *File) (found []string) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !logReceiver.MatchString(lastName(sel.X)) {
			return true
		}
		args := call.Args
		switch name := strings.TrimSuffix(sel.Sel.Name, "Context"); {
		case name == "With":
			found = append(found, f.logKeys(args)...)
			return true
		case !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, name):
			return true
		case name != sel.Sel.Name:
			args = args[min(1, len(args)):]
		}
		if len(args) == 0 {
			return true
		}
		switch text, ok := stringConstant(args[0]); {
		case !ok:
			found = append(found, f.at(args[0], "a log message is one constant"))
		case text == "" || strings.ToLower(text[:1]) != text[:1] || strings.ContainsAny(text, "%\n"):
			found = append(found, f.at(args[0], "log message %q: lower case, nothing formatted into it", text))
		}
		found = append(found, f.logKeys(args[1:])...)
		return true
	})
	return found
}

func (f *File) logKeys(args []ast.Expr) (found []string) {
	for i := 0; i < len(args); i++ {
		if call, ok := args[i].(*ast.CallExpr); ok { // slog.Int("key", 1)
			if key, ok := stringConstant(slices.Concat(call.Args, args)[0]); ok && strings.HasPrefix(called(call), "slog.") && !snakeCase.MatchString(key) {
				found = append(found, f.at(call, "log key %q is not snake_case", key))
			}
			continue
		}
		if key, ok := stringConstant(args[i]); ok {
			if !snakeCase.MatchString(key) {
				found = append(found, f.at(args[i], "log key %q is not snake_case", key))
			}
			i++ // its value
		}
	}
	return found
}

// lastName returns the name of x in x, a.x and a.x().
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	}
	return ""
}

func stringConstant(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

var goLine = regexp.MustCompile(`(?m)^go\s+(\S+)$`)

// GoVersion checks the go line of go.mod: os.Root could be left through a symlink before.
func GoVersion(mod []byte) error {
	const least = "1.26.5"
	m := goLine.FindSubmatch(mod)
	if m == nil {
		return fmt.Errorf("go.mod: no go line")
	}
	if got := string(m[1]); version.Compare("go"+got, "go"+least) < 0 {
		return fmt.Errorf("go.mod: go %s, want %s or newer", got, least)
	}
	return nil
}
