// Package natsproc runs nats-servers as separate processes, so that tests can kill and pause them
// and cut their links.
//
// The servers have the version in go.mod. Each is the program that calls [Start], started again, so
// that program must call [Main] first:
//
//	func main() {
//		natsproc.Main()
//		...
//
//	c, err := natsproc.Start(ctx, natsproc.Config{Servers: 3, Dir: dir})
//	defer c.Close()
//	err = c.Kill(1)
//	err = c.Run(ctx, 1)
//
// Stores and logs stay in Config.Dir when a server dies; it restarts with the same store and port.
// [Cluster.Complaints] searches the logs for reports of damaged stores.
//
// Limits: another process may take a server's port while the server is down. A kill, unlike a power
// failure, keeps the server's writes in the page cache.
package natsproc
