// Package protocol syncs one customer: it reads the customer's whole state from Stripe and writes
// it as the next revision of the snapshot. Any number of syncers on any number of machines may do
// that for the same customer at the same time.
//
// # The ten steps
//
// [Protocol.Sync] makes an attempt, and another one when a different syncer was first. The methods
// of attempt are the steps:
//
//	 1  superseded          a newer marker of the customer exists, or is done: stop, its sync does the work
//	 2  pace                another sync of the customer has just claimed a window: wait for its end, then 1 again
//	 3  budget              wait for a permit of the Stripe budget, which all syncers share
//	 4  claim               claim a window for this sync; if another syncer has done so meanwhile, begin again
//	 5  fence, fenceEvents  read the snapshot with its revision, then the plans document; and the end of the event log
//	 6  fetch               read all of the customer's pages from Stripe
//	 7  decide              turn them into facts, decide what these grant, and compare with the snapshot of step 5
//	 8  write, confirm      write it, changed or not, if the revision is still that of step 5; otherwise begin again.
//	                        A sync that created the entry begins again if another document is in force by then
//	 9  wake                schedule the customer's next check
//	10  record              record what was done; [Protocol.Handle] then acknowledges the marker
//
// Steps that need no order run concurrently: 1 and the reading of the claim; 4 and 5. The first
// attempt for a webhook is optimistic: it skips 1 and 2 and does not wait in 3, because usually no
// other sync of the customer is under way. If one is, step 4 or step 8 notices, and the attempts
// after it take every step.
//
// # Why a snapshot cannot go back
//
// The fence is read before the fetch begins, the write succeeds only if no one has written since
// the fence, and every sync writes, even if nothing changed. So the fetch that leads to a revision
// begins after the previous revision was written, and therefore after the fetch that led to the
// previous one has ended. The fetches of consecutive revisions never overlap, and a later revision
// never has an older state. A stale read of the fence only makes the write fail.
//
// The write of an unchanged state looks unnecessary and is not. Suppose it were skipped, and the
// state goes from A to B and back. One sync reads B slowly. A second one reads A, sees no change
// and writes nothing. Then the first one's revision is still there, its write succeeds, and B
// stays.
//
// # Why a decision cannot go back
//
// Every writer reads the entry and then the plans document ([Protocol.Read]), and writes over the
// revision that it has read. The previous writer read its document before it wrote the entry, so
// this writer has the same document or a later one; a document that is older than the snapshot is
// refused.
//
// When another document is in force, the job decide decides each entry again, from the facts in it
// ([Protocol.DecideListed]). The job reads the document before the entries. An entry that was decided
// under a later document has the number of that document, and is read again. The job writes unchanged
// content too, so that a sync that has read the former document and the former revision fails to
// write. Only an entry that is created meanwhile may escape the job, so a sync that creates an entry
// reads the document once more (confirm). The new decision copies the facts to a higher revision. It
// keeps the number of the revision at which they were read from Stripe, and fences compare that
// number ([Current.FactsRevision]).
//
// # Why nothing is lost
//
// A marker is acknowledged only after a fetch that began after the marker was stored has been
// written, or when a newer marker of the same customer takes over. Every error maps to one
// [Disposition], which says whether the marker comes back and when, and whether the customer is
// parked ([Dispose], [Protocol.Handle]). A marker whose syncer dies is delivered to another one.
//
// # Where to change what
//
// The pace of a busy customer is firstWindow, longest and patience in pace.go. The pauses and
// deadlines of a syncer are package timing. The consequences of an error are in disposition.go. The
// calls with which a sync reads and writes are [Outside].
//
// # How it is checked
//
// The tests run this code against a model of Stripe and NATS (check_world_test.go) that checks the
// invariants after every step: TestEveryInterleaving takes every order of the calls of two syncers,
// also with crashes, lost answers, lagging replicas and plans documents; TestRandomCourses samples
// what is too large for that; TestTheCheckerFindsFault breaks the protocol in twelve ways and must
// notice each; TestFailureTable lets every call fail in every way, and fails itself if a call has no
// row.
//
// The package imports the types of Stripe's answers and of our subjects, the records and the
// reducer, and no nats.go: [Outside] stands for it, so that no test needs a server.
package protocol
