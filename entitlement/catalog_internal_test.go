package entitlement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadCatalog(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]*Catalog{
		`{"number":3}`:         {},
		`{"ids":null}`:         {},
		`{"features":5}`:       nil,
		`{"plans":{"pro":[]}}`: nil,
		`{"ids":{"metadata":"user_id"},"features":["sso","export"],"limits":["seats"],"more":{},
		  "plans":{"pro":{"features":["export","api"],"limits":{"projects":50,"seats":{"per_unit":1}},"adds":{"extra":1}}},
		  "default":{"features":["view"],"limits":{"projects":1}}}`: {IDs: true, IDName: "user_id",
			Features: []string{"api", "export", "sso", "view"}, Limits: []string{"extra", "projects", "seats"}},
	} {
		got, err := readCatalog([]byte(document))
		if d := cmp.Diff(want, got); d != "" || (err == nil) != (want != nil) {
			t.Errorf("%s: %v (-want +got):\n%s", document, err, d)
		}
	}
}
