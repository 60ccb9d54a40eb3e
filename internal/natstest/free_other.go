//go:build !linux

package natstest

func free(string) uint64 { return 0 }
