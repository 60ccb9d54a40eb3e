package daemon

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
)

var (
	// plainName is a user name that can stand in a subject as it is.
	plainName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	// validPrefix is what a subject may begin with.
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$`)
)

var defaultInbox = strings.TrimSuffix(nats.InboxPrefix, ".")

// inboxPrefix is where answers come. A user that may subscribe to _INBOX.> can read the answers of all who use that prefix, so each user
// with a password has a prefix of its own, as nats.conf allows it. A user by credentials or nkey, or none, has the default, which is
// what permissions are usually written for.
func (n NATS) inboxPrefix() string {
	if n.InboxPrefix != "" {
		return n.InboxPrefix
	}
	if user := n.user(); plainName.MatchString(user) {
		return defaultInbox + "_" + user
	}
	return defaultInbox
}

// user is the name of a user with a password. In a URL, a name alone is a token, and secret.
func (n NATS) user() string {
	if n.User != "" {
		return n.User
	}
	for server := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil {
			continue
		}
		if _, password := u.User.Password(); password {
			return u.User.Username()
		}
	}
	return ""
}
