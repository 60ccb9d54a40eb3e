package console

import (
	"strings"
	"testing"
	"time"

	"entitled/entitlement"
	"entitled/internal/applied"
	"entitled/internal/plans"
)

// apply puts a document in force.
func (r *rig) apply(text, by, why string) {
	r.t.Helper()
	d, _, err := plans.Parse([]byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := applied.Open(r.t.Context(), r.JetStream(r.t), entitlement.Test)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, changed, err := b.Put(r.t.Context(), d, by, why, time.Now()); err != nil || !changed {
		r.t.Fatalf("applied %t, %v", changed, err)
	}
}

// The page of the plans shows the document in force and the versions, in the words of the commands; the
// page of a version shows what it changed beside the one before.
func TestPlans(t *testing.T) {
	t.Parallel()
	r := pipeline(t)
	r.shows("/plans", 200, "Document 1 is in force", "by tests", "prod_pro",
		"entitled plans apply plans.yaml --mode test")
	more := strings.Replace(document, "[export, sso]", "[export, sso, audit]", 1)
	r.apply(more, "<ann>", "audit & logs for <b>Pro</b>")
	body := r.shows("/plans", 200, "Document 2 is in force", "by &lt;ann&gt;",
		"audit &amp; logs for &lt;b&gt;Pro&lt;/b&gt;",
		"plans ~pro", `href="/plans/1"`, `href="/plans/2"`)
	if strings.Index(body, `href="/plans/2"`) > strings.Index(body, `href="/plans/1"`) ||
		strings.Count(body, "✓") != 1 {
		t.Errorf("the newest version is not first, or not the only one in force:\n%s", body)
	}
	r.comes("/plans", "every snapshot is decided under it")
	body = r.shows("/plans/2", 200, "Beside document 1", "audit", "<ins>", "plans ~pro")
	if strings.Contains(body, "plans revert 2") {
		t.Error("the version in force is to be brought back")
	}
	r.shows("/plans/1", 200, "The document", "entitled plans revert 1 --mode test")
	for _, number := range []string{"3", "0", "x", "%3Cscript%3E"} {
		if body := r.shows("/plans/"+number, 404, "there is no document"); strings.Contains(body, "<script>") {
			t.Errorf("%s is markup in the page", number)
		}
	}
	kv, err := r.JetStream(t).KeyValue(t.Context(), "entitled_plans")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(t.Context(), "test", "not <a> document"); err != nil {
		t.Fatal(err)
	}
	r.shows("/plans", 200, "The entry in force is no document")
	if err := kv.Delete(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	r.shows("/plans", 200, "No document is in force in test mode: it was deleted", `href="/plans/2"`)
}
