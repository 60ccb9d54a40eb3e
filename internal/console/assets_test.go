package console

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreign are the files of others, with the npm package that they are from and their digest. To take a
// new version: npm pack NAME@VERSION, copy the files, and write the version and the digests here.
var foreign = []struct{ file, from, sha256 string }{
	{"assets/htmx.min.js", "htmx.org@4.0.1 dist/htmx.min.js",
		"a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"},
	{"assets/hx-sse.min.js", "htmx.org@4.0.1 dist/ext/hx-sse.min.js",
		"18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103"},
	{"assets/uPlot.iife.min.js", "uplot@1.6.32 dist/uPlot.iife.min.js",
		"19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"},
	{"assets/uPlot.min.css", "uplot@1.6.32 dist/uPlot.min.css",
		"df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"},
}

// own are the files that are written here.
var own = []string{"charts.js", "console.css", "follow.js", "icon.svg"}

// The files of others are those of the named version, unchanged, and every other file is ours.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	known := slices.Clone(own)
	for _, f := range foreign {
		content, err := os.ReadFile(f.file)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.sha256 {
			t.Errorf("%s is not that of %s: its SHA-256 is %x", f.file, f.from, sum)
		}
		known = append(known, filepath.Base(f.file))
	}
	for _, license := range []string{"assets/licenses/htmx.txt", "assets/licenses/uplot.txt"} {
		if text, err := os.ReadFile(license); err != nil || len(text) < 400 {
			t.Errorf("the license %s: %d bytes, %v", license, len(text), err)
		}
	}
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	for name := range a.names {
		if !slices.Contains(known, name) {
			t.Errorf("%s is neither ours nor in the list of foreign files", name)
		}
	}
}

// Each file is served for good at a name with its digest, and nowhere else.
func TestAssets(t *testing.T) {
	t.Parallel()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/{name}", a)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	types := map[string]string{".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
	for file := range a.names {
		path, err := a.path(file)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^/assets/\w[\w-]*-[0-9a-f]{12}\.`).MatchString(path) {
			t.Errorf("%s is at %s", file, path)
		}
		w, want := get(path), types[filepath.Ext(file)]
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), want) ||
			!strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if w := get("/assets/" + file); w.Code != http.StatusNotFound {
			t.Errorf("%s without its digest: %d", file, w.Code)
		}
	}
	if path, err := a.path("none.js"); err == nil {
		t.Errorf("an unknown file is at %q", path)
	}
}
