// Package browsertest opens pages in Debian's Chromium, for tests. Only tests import it.
//
//	func TestMain(m *testing.M) { os.Exit(browsertest.Around(m).Run()) }
//
//	p := browsertest.Open(t, browsertest.Desktop)
//	p.Visit(server.URL)
//	p.Click("#buy")
//	p.See("#thanks")
//	browsertest.Axe(t, p)
//
// One browser serves all tests of a binary. Each [Page] has cookies and storage of its own. A test fails if its page
// writes an error to the console, throws, violates its Content-Security-Policy, or asks for something that is not
// there. Without a chromium on PATH the test is skipped.
package browsertest
