/*
 * evidence: the history of a path as one archive that can be checked without DryDock, and the check of one without a server.
 *
 * A gzipped tar of regular files below evidence/, always in this order, and the same bytes for the same history:
 *   README, evidence.json       how to check it with stock tools; what it is about (struct evidence_about)
 *   allowed_signers             the keys of the logs, with namespaces= and validity, as the records tell them
 *   versions                    a line of JSON for each thing that was done to a file at or below the path
 *   MD5SUMS                     of files/
 *   repo.git/                   a bare repository: HEAD, config, one pack (of whole objects, no deltas) with its index, refs
 *   files/SHA256                the bytes of the approved versions, each once
 *   SHA256SUMS                  of everything before it
 * The pack holds the whole of each log (every commit with its record, files and rules), the trees on the way to what was
 * touched, and the tree as it is now at and below the path. The bytes are beside it: to git they are promised objects.
 * All but pack and bytes follow from the records, so that whoever checks can write it himself and compare byte by byte.
 */
#ifndef DRYDOCK_EVIDENCE_EVIDENCE_H
#define DRYDOCK_EVIDENCE_EVIDENCE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/path.h"
#include "core/record.h"
#include "repo/plain.h"

/* One node writes a site. Its key may have been changed: the log says so itself (repo/keychain.h). */
#define EVIDENCE_LOGS 1
#define EVIDENCE_PACK_LIMIT ((uint64_t)4 << 30) /* bytes */
#define EVIDENCE_OBJECTS_LIMIT 4000000
#define EVIDENCE_BLOB_LIMIT ((size_t)256 << 20) /* bytes of one object of the pack: the longest list of files has 90 MB */

struct evidence_log {
	char node[SHA256_HEX];
	uint64_t commits;
	struct blob_id head;
};
struct evidence_about {
	const char *site;
	struct path path;
	bool current; /* the bytes of what is approved now only; the records are always complete */
	struct evidence_log logs[EVIDENCE_LOGS]; /* the oldest first */
	size_t n_logs;
};

struct repo;
/*
 * Make the archive of a site's path: fd gets it, from its position on. work: a directory for a temporary file that is gone
 * afterwards. stop: asked now and then, may be NULL. ERR_NOT_FOUND: no version of anything there was ever approved;
 * ERR_TOO_BIG: past a limit, or more than the disk under `work` has to spare.
 */
enum err evidence_make(struct repo *r, const char *site, struct path path, bool current, const char *work, int fd,
    bool (*stop)(void *arg), void *stop_arg) MUST_CHECK;

/* Check an archive; trusted: key files or fingerprints of keys, any of which vouches. The exit code for the program. */
struct evidence_options { const char *const *trusted; size_t n_trusted; bool json; };
int evidence_verify(const char *file, const struct evidence_options *o);

#endif
