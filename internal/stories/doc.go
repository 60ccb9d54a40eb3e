// Package stories prints one customer's story: the answer now or at an earlier time, each event with the
// sync that covered it, and what is wrong.
package stories
