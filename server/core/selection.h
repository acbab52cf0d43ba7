/*
 * selection: a frozen list of paths with state and fingerprint, and its digest: what a person was shown before an act.
 *
 * Digest: SHA-256 over the lines, sorted by path, each the canonical JSON of {"exec","path","sha256","state"} and a
 * newline, after the first line {"act":"sign"}. So the digest also says for which act it was shown. A file without
 * staged bytes (missing) has the approved SHA-256. Add the files in path order, each once.
 */
#ifndef DRYDOCK_CORE_SELECTION_H
#define DRYDOCK_CORE_SELECTION_H

#include "base/digest.h"
#include "core/path.h"
#include "core/state.h"

struct selection_digest;
struct selection_digest *selection_digest_new(const char *act);
void selection_digest_add(struct selection_digest *d, struct path path, enum file_state state, const struct sha256 *sha256, bool exec);
void selection_digest_end_free(struct selection_digest *d, struct sha256 *out);

/*
 * Which files of a directory an act takes up when the directory is named: sign: unsigned and changed; review: all with
 * staged or approved bytes; revoke: signed, changed, missing, preapproved. A file that is named itself is always taken,
 * and refused with a sentence if the act makes no sense in its state.
 */
bool selection_takes(const char *act, enum file_state state);
/*
 * NULL if the act makes sense for a file in this state, otherwise the sentence. An unpublishable name may have an
 * approval (a signed page that was replaced by a link) and can be revoked then; the caller knows whether it has one.
 */
const char *selection_refusal(const char *act, enum file_state state);

#endif
