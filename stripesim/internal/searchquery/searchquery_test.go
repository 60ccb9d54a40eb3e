package searchquery

import "testing"

func TestQueries(t *testing.T) {
	t.Parallel()
	object := map[string]string{
		"email": "Amy@b.example", "name": "Amy", "created": "1700000000", "metadata.user_id": `x' OR email:'y`,
		"metadata.path": `a\b`,
	}
	get := func(field, key string) (string, bool) {
		if key != "" {
			field += "." + key
		}
		v, ok := object[field]
		return v, ok
	}
	for text, want := range map[string]bool{
		`email:'amy@B.example'`:                      true,
		`email:"amy@B.example"`:                      true,
		`email:'amy'`:                                false,
		`email~'b.ex'`:                               true,
		`-email:'amy@b.example'`:                     false,
		`metadata['user_id']:'x\' OR email:\'y'`:     true,
		`metadata["user_id"]:"x' or EMAIL:'y"`:       true,
		`metadata['user_id']:'x' OR email:'y'`:       false,
		`metadata['user_id']:'x' OR name:'amy'`:      true,
		`metadata['path']:'a\\b'`:                    true,
		`metadata['other']:null`:                     true,
		`-metadata['path']:null`:                     true,
		`name:'amy' AND email:'amy@b.example'`:       true,
		`name:'amy' email:'nobody'`:                  false,
		`name:'bob' OR email:'amy@b.example'`:        true,
		`created>1699999999 AND created<=1700000000`: true,
		`created<1700000000`:                         false,
		`created:1700000000`:                         true,
	} {
		q, err := Parse(text, []string{"created"}, []string{"email", "name", "metadata"})
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := q.Match(get); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
	for _, text := range []string{
		``, `email`, `email:`, `email:'x`, `email:x`, `phone:'1'`, `metadata:'x'`, `email['x']:'y'`, `name~'ab'`,
		`email>'x'`, `created:'x'`, `name:'a' AND`, `name:'a' AND email:'b' OR name:'c'`, `name:'a'email:'b'`,
		`metadata['x:'y'`, `created:null`, `name:'a' )`,
	} {
		if _, err := Parse(text, []string{"created"}, []string{"email", "name", "metadata"}); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`metadata['user_id']:'x\' OR email:\'y' AND created>1`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text, []string{"created"}, []string{"email", "name", "metadata"})
		if err != nil {
			return
		}
		q.Match(func(string, string) (string, bool) { return text, true })
	})
}
