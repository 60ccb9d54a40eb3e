// Package natsproc runs nats-servers as processes of their own, so that they can really die:
// SIGKILL, SIGSTOP, cut links.
//
// The servers are of the version in go.mod. The program that calls [Start] is started again for
// each of them, so it must call [Main] before anything else:
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
// Stores and logs stay in Config.Dir when a server dies; it comes back on the same store and the
// same port. [Cluster.Complaints] searches the logs for what a server says when its store is
// damaged.
//
// Its limits: another process may take a server's port while the server is down. A kill leaves what
// the server wrote in the page cache; a power failure does not.
package natsproc
