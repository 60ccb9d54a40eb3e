package browsertest

import (
	"os"
	"path/filepath"

	"github.com/chromedp/chromedp"
)

// Window writes a PNG of what the window shows to a file. [Page.Picture] shows the whole page.
func (p *Page) Window(file string) {
	p.t.Helper()
	png, err := run(p, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		p.t.Fatalf("picture %s: %v", file, err)
	}
}
