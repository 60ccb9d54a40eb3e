package daemon

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
)

var (
	// plainName matches user names that need no escaping in a subject.
	plainName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	// validPrefix matches the beginnings of subjects.
	validPrefix = regexp.MustCompile(`^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*$`)
)

var defaultInbox = strings.TrimSuffix(nats.InboxPrefix, ".")

// inboxPrefix returns the prefix of reply subjects. A user that may subscribe to _INBOX.> can read
// the replies to all users of that prefix, so each user with a password has its own, as nats.conf
// allows it. Other users have the default, for which permissions are usually written.
func (n NATS) inboxPrefix() string {
	if n.InboxPrefix != "" {
		return n.InboxPrefix
	}
	if user := n.user(); plainName.MatchString(user) {
		return defaultInbox + "_" + user
	}
	return defaultInbox
}

// user returns the name of a user with a password. In a URL, a name without a password is a token,
// and secret.
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
