package shop_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"entitled/internal/browsertest"
)

var update = flag.Bool("update", false, "write the pictures of the documents")

// biggest bounds a picture of the documents, in bytes.
const biggest = 150 << 10

// looks calls look with each page of a purchase, in the state in which a user sees it.
func looks(t *testing.T, p *browsertest.Page, shop string, look func(name string)) {
	p.Visit(shop)
	look("users")
	p.Fill("#name", "Wolfeschlegelsteinhausenbergerdorff the Elder, of Philadelphia")
	p.Submit("form.row button")
	look("pricing")
	p.Visit(shop + "/app")
	p.Until("document.querySelector('#live').className === 'on'")
	look("app without a plan")
	p.Visit(shop + "/pricing")
	p.Submit("#team button")
	look("payment")
	p.Click(`input[value="0002"]`)
	p.Submit(`button[value="pay"]`)
	refused(t, p, "402")
	look("payment declined")
	pay(p)
	p.Until(has("sso", true))
	look("app")
	p.Visit(shop + "/pricing")
	look("pricing with a plan")
	p.Submit("#pro button")
	refused(t, p, "409")
	look("problem")
	p.Submit("#manage")
	look("portal")
	p.Click(`input[value="0002"]`)
	p.Submit(`button[value="card"]`)
	p.Submit(`button[value="wait"]`)
	look("portal past due")
	p.Visit(shop + "/app")
	p.Until(says("The last payment failed. Everything works until"))
	look("app past due")
	p.Submit("#manage")
	p.Submit(`button[value="cancel_at_period_end"]`)
	look("portal cancelled")
}

// Every page is good on a phone and on a desk, in light and in dark colours: axe-core finds nothing, and nothing is
// wider than the page.
func TestLooks(t *testing.T) {
	t.Parallel()
	shop := open(t)
	p := browsertest.Open(t, browsertest.Desktop)
	dir := os.Getenv("SHOP_PICTURES") // for a person's eyes
	looks(t, p, shop, func(name string) {
		for _, size := range []browsertest.Look{browsertest.Phone, browsertest.Desktop} {
			for _, dark := range []bool{false, true} {
				look := size.In(dark)
				p.Show(look)
				if over := browsertest.Evaluate[int](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%s, %v: %d pixels wider than the page", name, look, over)
				}
				browsertest.Axe(t, p)
				if dir != "" {
					p.Picture(filepath.Join(dir, name+"-"+look.String()+".png"))
				}
			}
		}
	})
}

// The pictures of the documents show what a user sees. -update writes them.
func TestPictures(t *testing.T) {
	t.Parallel()
	shop := open(t)
	dir := t.TempDir()
	if *update {
		dir = filepath.Join("..", "..", "docs")
	}
	p := enter(t, shop, browsertest.Look{Width: 1000, Height: 640}, "Mira")
	picture := func(name string) {
		t.Helper()
		file := filepath.Join(dir, name)
		p.Picture(file)
		if info, err := os.Stat(file); err != nil || info.Size() > biggest {
			t.Errorf("%s: %v, %v; want at most %d bytes", name, info, err, biggest)
		}
	}
	picture("shop-plans.png")
	p.Submit("#team button")
	picture("shop-payment.png")
	pay(p)
	p.Until(has("sso", true))
	picture("shop.png")
}
