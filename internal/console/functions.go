package console

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"entitled/internal/named"
	"entitled/internal/stripeevent"
	"entitled/internal/tell"
	"entitled/internal/term"
)

// functions are what the templates call.
func functions(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset":  a.path,
		"ago":    tell.Since,
		"short":  tell.Short,
		"moment": tell.Moment,
		"clock":  tell.Clock,
		"count":  tell.Count,
		"number": number,
		"prose":  prose,
		"path":   breakable,
		"rate":   rate,
		"tone":   tone,
		"ref":    customerPath,
		"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	}
}

// number groups the digits of a whole number: 1 234 567, with narrow spaces.
func number(n any) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// prose is text in which `commands` stand between backticks, as in the hints of the commands.
func prose(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if part = template.HTMLEscapeString(part); i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String()) //nolint:gosec // every part is escaped
}

// breakable is a path of fields that a line may end in behind each dot.
func breakable(path string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(path), ".", ".<wbr>")) //nolint:gosec // escaped
}

// tone is the class of a tone.
func tone(t term.Tone) string {
	switch t {
	case term.Grants:
		return "grants"
	case term.Denies:
		return "denies"
	case term.Ending:
		return "ending"
	case term.Faint:
		return "faint"
	case term.Strong:
		return "strong"
	}
	return "normal"
}

// customerPath is the page of a customer.
func customerPath(c stripeevent.Customer) string {
	return "/customers/" + url.PathEscape(named.Argument(c))
}
