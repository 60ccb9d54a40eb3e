package hub

import "testing"

// Each line of a message is data, with any text in it.
func TestMessage(t *testing.T) {
	t.Parallel()
	got := string(Message("", []byte("<li>a\revent: b\rid: 9</li>\n\n<li>\r\n")))
	want := "data: <li>a\ndata: event: b\ndata: id: 9</li>\ndata: \ndata: <li>\ndata: \n\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
