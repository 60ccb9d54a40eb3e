// Package named finds the customers that an argument of a command names: one by its key, or all that
// have your own id.
package named
