package floors

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/gregorhq/gregor/"

// floorOf gives every package its floor; a package imports from lower floors or
// its own only. wing stands beside floors 2-4 and may use 0-1.
var floorOf = map[string]int{
	"internal/clock": 0, "internal/vfs": 0, "internal/netx": 0, "internal/invariant": 0,
	"internal/bufpool": 0, "internal/timeline": 0, "internal/buildinfo": 0, "internal/log4j": 0, "internal/metrics": 0,

	"internal/kafka": 1, "internal/wire": 1, "internal/batch": 1, "internal/records": 1, "internal/config": 1, "internal/coord": 1, "internal/features": 1, "internal/storage": 1, "internal/placement": 1,

	"internal/metadata": 2, "internal/describe": 2, "internal/controller": 2, "internal/isr": 2, "internal/producer": 2,
	"internal/fetchsession": 2, "internal/group": 2, "internal/txn": 2, "internal/acl": 2, "internal/quota": 2,

	"internal/log": 3, "internal/cleaner": 3, "internal/quorum": 3, "internal/replica": 3,
	"internal/rsm": 3, "internal/rpc": 3, "internal/security": 3,

	"internal/server": 4, "internal/brokerapi": 4, "internal/controllerapi": 4, "internal/publish": 4, "internal/monitor": 4,

	"internal/node": 5, "internal/house": 6, "internal/sim": 6, "broker": 6, "cmd/gregor": 7,

	"internal/cli": wing, "internal/console": wing,
}

const wing = -1

// tools are not part of the binary: generators, tests, benchmarks.
var tools = []string{"internal/records/gen", "internal/wire/gen", "test/", "bench/"}

// minds may not touch the world: these imports are refused on floor 2.
var refusedInMinds = []string{"net", "os", "sync", "sync/atomic", "io/fs", "syscall", "os/exec", "net/http", "crypto/rand", "log/slog", "context"}

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func (p pkg) short() string { return strings.TrimPrefix(p.ImportPath, module) }

// floor finds the floor of the package or of the nearest folder above it.
func floor(short string) (int, bool) {
	for s := short; s != "." && s != "/"; s = filepath.ToSlash(filepath.Dir(s)) {
		if f, ok := floorOf[s]; ok {
			return f, true
		}
	}
	return 0, false
}

func isTool(short string) bool {
	return slices.ContainsFunc(tools, func(t string) bool { return strings.HasPrefix(short+"/", strings.TrimSuffix(t, "/")+"/") })
}

// packages lists the module's packages for one platform.
func packages(t *testing.T, goos string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(cmd.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("go list printed what is not JSON: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages; the test would prove nothing", len(all))
	}
	return all
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, p := range packages(t, "linux") {
		if isTool(p.short()) {
			continue
		}
		from, ok := floor(p.short())
		if !ok {
			t.Errorf("%s has no floor; name it in floorOf", p.short())
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}
			short := strings.TrimPrefix(imp, module)
			to, ok := floor(short)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", p.short(), short)
			case from == wing && to > 1:
				t.Errorf("%s stands in the wing and may use floors 0 and 1 only, but imports %s of floor %d", p.short(), short, to)
			case from != wing && to == wing && from < 5:
				t.Errorf("%s of floor %d imports %s of the wing", p.short(), from, short)
			case from != wing && to > from:
				t.Errorf("%s of floor %d imports %s of floor %d", p.short(), from, short, to)
			}
		}
		if from == 0 {
			for _, imp := range p.Imports {
				first, _, _ := strings.Cut(imp, "/")
				if strings.Contains(first, ".") && !strings.HasPrefix(imp, module) && imp != "golang.org/x/sys/unix" && imp != "golang.org/x/sys/windows" {
					t.Errorf("%s is on the ground and imports %s, which is not the standard library", p.short(), imp)
				}
			}
		}
	}
}

func TestMindsArePure(t *testing.T) {
	seen := 0
	for _, p := range packages(t, "linux") {
		if f, ok := floor(p.short()); !ok || f != 2 {
			continue
		}
		seen++
		for _, imp := range p.Imports {
			if slices.Contains(refusedInMinds, imp) {
				t.Errorf("%s is a mind and imports %s", p.short(), imp)
			}
		}
		eachFile(t, p, func(name string, fset *token.FileSet, f *ast.File) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a mind starts a goroutine", fset.Position(n.Pos()))
				case *ast.ChanType:
					t.Errorf("%s: a mind has a channel", fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					if is(n, "time", "Now", "Since", "Until", "After", "NewTimer", "Sleep") {
						t.Errorf("%s: a mind reads time", fset.Position(n.Pos()))
					}
					// A *rand.Rand that is handed in is deterministic; the package's own is not.
					if is(n, "rand", "Int", "IntN", "Intn", "Int31n", "Int63", "Int64", "Uint32", "Uint64", "N", "Float64", "Perm", "Shuffle", "Read", "Seed") {
						t.Errorf("%s: a mind draws from a source that nobody seeds", fset.Position(n.Pos()))
					}
				}
				return true
			})
		})
	}
	if seen < 2 {
		t.Fatalf("only %d minds found; the test would prove nothing", seen)
	}
}

// TestOnlyTheGroundTouchesTheWorld keeps files, sockets and time behind vfs, netx
// and clock, which is what lets a whole cluster run in a simulator.
func TestOnlyTheGroundTouchesTheWorld(t *testing.T) {
	for _, p := range packages(t, "linux") {
		f, ok := floor(p.short())
		if !ok || isTool(p.short()) || f == wing || f > 5 || p.short() == "internal/house" {
			continue
		}
		if s := p.short(); s == "internal/clock" || s == "internal/vfs" || s == "internal/netx" {
			continue
		}
		eachFile(t, p, func(name string, fset *token.FileSet, file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if is(sel, "time", "Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep") {
					t.Errorf("%s: time is read by package clock only", fset.Position(n.Pos()))
				}
				if is(sel, "os", "Open", "OpenFile", "Create", "ReadFile", "WriteFile", "Rename", "Remove", "RemoveAll", "Mkdir", "MkdirAll", "ReadDir", "Stat", "Truncate") {
					t.Errorf("%s: files are opened by package vfs only", fset.Position(n.Pos()))
				}
				if is(sel, "net", "Listen", "Dial", "DialTimeout", "ListenConfig", "Dialer") {
					t.Errorf("%s: sockets are opened by package netx only", fset.Position(n.Pos()))
				}
				return true
			})
		})
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t, "linux") {
		if len(p.GoFiles) == 0 {
			continue
		}
		found := false
		eachFile(t, p, func(name string, fset *token.FileSet, f *ast.File) {
			found = found || f.Doc != nil && len(f.Doc.Text()) > 40
		})
		if !found {
			t.Errorf("%s has no package comment", p.short())
		}
	}
}

// Walls of style.md. A generated file has none.
const (
	maxFileLines     = 1000
	maxTestFileLines = 1500
	maxFuncLines     = 100
	aimFuncLines     = 70
	maxShareOverAim  = 0.03
)

func TestSizesStayWithinTheWalls(t *testing.T) {
	funcs, over := 0, 0
	for _, p := range packages(t, "linux") {
		eachFile(t, p, func(name string, fset *token.FileSet, f *ast.File) {
			if strings.HasSuffix(name, ".gen.go") {
				return
			}
			if lines := fset.File(f.Pos()).LineCount(); lines > maxFileLines {
				t.Errorf("%s/%s has %d lines, the wall is %d", p.short(), name, lines, maxFileLines)
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				funcs++
				lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
				if lines > aimFuncLines {
					over++
				}
				if lines > maxFuncLines {
					t.Errorf("%s: %s has %d lines, the wall is %d", fset.Position(fn.Pos()), fn.Name.Name, lines, maxFuncLines)
				}
			}
		})
	}
	if share := float64(over) / float64(max(funcs, 1)); share > maxShareOverAim {
		t.Errorf("%d of %d functions are longer than %d lines (%.1f %%, at most %.0f %%)", over, funcs, aimFuncLines, 100*share, 100*maxShareOverAim)
	}
}

func TestTestFilesStayWithinTheWall(t *testing.T) {
	files, err := filepath.Glob("../../internal/*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if lines := fset.File(f.Pos()).LineCount(); lines > maxTestFileLines {
			t.Errorf("%s has %d lines, the wall is %d", name, lines, maxTestFileLines)
		}
	}
}

func eachFile(t *testing.T, p pkg, fn func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	for _, name := range p.GoFiles {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		fn(name, fset, f)
	}
}

// is says whether sel is one of names of the imported package pkg.
func is(sel *ast.SelectorExpr, pkg string, names ...string) bool {
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg && id.Obj == nil && slices.Contains(names, sel.Sel.Name)
}

// TestMindsRefuseTheWorld shows that the lists above have teeth: a mind that
// imported os would be named.
func TestMindsRefuseTheWorld(t *testing.T) {
	src := "package x\nimport \"os\"\nvar _ = os.Args\n"
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	path, err := strconv.Unquote(f.Imports[0].Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(refusedInMinds, path) {
		t.Fatalf("%s is not refused", path)
	}
}
