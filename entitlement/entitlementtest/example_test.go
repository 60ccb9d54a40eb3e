package entitlementtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"entitled/entitlement"
	"entitled/entitlement/entitlementtest"
)

// export is the handler of an app.
func export(client *entitlement.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !client.Has("id:"+r.PathValue("user"), "export") {
			http.Error(w, "upgrade", http.StatusPaymentRequired)
		}
	})
}

func Example() {
	t := new(testing.T) // your test's

	mia := entitlementtest.Customer("cus_1", "export")
	mia.ID = "mia"
	client := entitlementtest.New(t, mia)

	mux := http.NewServeMux()
	mux.Handle("GET /export/{user}", export(client))
	for _, user := range []string{"mia", "leo"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/export/"+user, nil))
		fmt.Println(user, w.Code)
	}
	// Output:
	// mia 200
	// leo 402
}
