package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed assets/*.js assets/*.css assets/*.svg
var assetFiles embed.FS

// assets serve the scripts, the stylesheets and the icon, each at a name with its digest, so that
// browsers keep them for good.
type assets struct {
	names map[string]string // by the file's name: the name with the digest
	files map[string][]byte // by the name with the digest
}

func loadAssets() (*assets, error) {
	a := &assets{names: map[string]string{}, files: map[string][]byte{}}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		content, err := fs.ReadFile(assetFiles, "assets/"+e.Name())
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256(content)
		stem, ext, _ := strings.Cut(e.Name(), ".")
		name := fmt.Sprintf("%s-%s.%s", stem, hex.EncodeToString(digest[:6]), ext)
		a.names[e.Name()], a.files[name] = name, content
	}
	return a, nil
}

// path is where a file is served; a template that names an unknown file is not rendered.
func (a *assets) path(file string) (string, error) {
	name, ok := a.names[file]
	if !ok {
		return "", fmt.Errorf("no asset %s", file)
	}
	return "/assets/" + name, nil
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	content, ok := a.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(content) //nolint:errcheck // the browser may have gone
}
