package natstest

import (
	"flag"
	"os"
	"runtime/debug"
)

// Main is TestMain of a package whose tests run servers; m is the testing.M, or something that runs
// it. It runs eight parallel tests at a time (see waiting), keeps temporary directories in memory if
// there is room for them (see inMemory), and collects garbage less often, all unless the command or
// the environment says otherwise.
func Main(m interface{ Run() int }) {
	waiting()
	inMemory()
	seldomCollect()
	os.Exit(m.Run())
}

// waiting runs eight parallel tests at a time, unless -parallel is given. By default only as many
// run as there are cores, and tests that wait for servers leave these idle. With the race detector
// they do not, and more tests at a time would only run into timeouts.
func waiting() {
	flag.Parse()
	given := underRace
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
}

// seldomCollect lets the heap of a test, and of its child processes, grow to five times what is
// alive, unless GOGC is set. Tests allocate a lot and keep little: a fifth to a quarter of their
// time was garbage collection.
func seldomCollect() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
		setenv("GOGC", "400")
	}
}

// memory is where Linux has a file system in memory, enough the free bytes there that the tests of
// one package, and of those that run beside it, do not fill.
const memory, enough = "/dev/shm", 4 << 30

// inMemory keeps the servers' stores, in temporary directories, in memory, unless TMPDIR is set or
// there is not enough of it: on a disk, tests wait for it to remove files and to sync. A store
// outlives its server there as well as on a disk; what a power failure leaves is tested with a disk
// of its own.
func inMemory() {
	if os.Getenv("TMPDIR") == "" && free(memory) > enough {
		setenv("TMPDIR", memory)
	}
}

func setenv(key, value string) {
	if err := os.Setenv(key, value); err != nil {
		panic(err)
	}
}
