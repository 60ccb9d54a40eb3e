// Package streams reads JetStream streams and buckets to their end, and keeps values in buckets by
// compare-and-set.
//
// [Messages] reads a stream, [Items] and [Keys] read a bucket. All three end when they have caught
// up with the stream, or with an error: they never end early without one. They keep little in
// memory, however long the stream is. They resume after the last message when a consumer or a
// connection is lost for a while, and fail at once when the connection is closed.
//
// They read from one replica of the stream. A replica may lag: the newest messages may be missing,
// but none between two that were read.
package streams
