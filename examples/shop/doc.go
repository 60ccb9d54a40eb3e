// Package shop is Fernly, a small SaaS that sells plans: an example of an app that uses the gateway as any app does,
// over HTTP. It imports nothing of the module but the standard library, so all of it can be copied.
//
//   - gateway.go asks the gateway: a decision, a checkout, the portal, a token for the browser.
//   - pages.go has the pages, and the forms that lead to Stripe and back.
//   - words.go turns a decision into sentences, such as when access ends and what is lost then.
//   - session.go knows which user is logged in.
//   - static/app.js follows the customer in the browser, by @entitled/client.
package shop
