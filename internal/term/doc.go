// Package term prints text for people: it knows the width of the terminal, wraps, pads and shortens
// text, colours it, and shows progress.
//
// Text that goes to a file or a pipe has no colours and is not cut, so that a search finds every
// word.
package term
