// Package applied keeps the plans documents that were applied, in the bucket entitled_plans.
//
// The key <mode> is the document in force, and <mode>.<number> each version. [Bucket.Apply] writes
// both in one atomic batch, over the revision of the document in force that its caller compared
// with. So an apply that is interrupted has either happened or not, and of two that run at once one
// fails with [ErrConflict].
package applied
