/*
 * deliver: the sender's side of a delivery to drydock-receive, which the kits that go over ssh share. All files go in one
 * stream, unless the kit has another way for them: it is given batches, and what did not get there goes in the stream.
 */
#ifndef DRYDOCK_KITS_DELIVER_H
#define DRYDOCK_KITS_DELIVER_H

#include "core/manifest.h"
#include "kits/kit.h"

#define DELIVER_BATCH 20000 /* files: what is kept of them elsewhere does not grow with the site */

/* Links to the batch's files, as a tree, below a directory of the kit's own. */
struct deliver_batch {
	uint64_t count;
	char parent[PATH_LIMIT + 16]; /* the directory that was made last */
};
#define DELIVER_LINKS "links"
bool deliver_batch_begin(struct deliver_batch *b);
bool deliver_batch_add(struct deliver_batch *b, const struct manifest_line *l);
void deliver_batch_end(struct deliver_batch *b);

void deliver_arrived(uint64_t files); /* tells how far it is, once a second: of a batch's, as they get there */
/* Takes DELIVER_LINKS there. false: an error was told, and it is of no use to go on. */
typedef bool deliver_bring_fn(const struct deliver_batch *b);

int deliver_main(int argc, char **argv, deliver_bring_fn *bring); /* the kit's exit status */

#endif
