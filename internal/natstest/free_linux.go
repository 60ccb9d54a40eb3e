package natstest

import "syscall"

// free returns the free bytes of the file system in memory at path, 0 if there is none.
func free(path string) uint64 {
	var fs syscall.Statfs_t
	const tmpfs = 0x01021994
	if syscall.Statfs(path, &fs) != nil || fs.Type != tmpfs || syscall.Access(path, 7) != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
