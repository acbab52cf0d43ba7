/* pack: one in the making, as pack.c fills it and publish.c makes it public. Nobody else includes it. */
#ifndef DRYDOCK_REPO_PACK_H
#define DRYDOCK_REPO_PACK_H

#include "repo/internal.h"

#define TMP_DIR "drydock-tmp"
#define PACK_HEAD 12
#define SHA1_SIZE 20

struct entry {
	struct blob_id id;
	uint64_t at; /* offset in the pack; 0: not in this pack, since the repository has it */
	uint32_t crc, len; /* of what stands there */
	struct recent *kept; /* bytes of trees, commits and small blobs; NULL: not kept */
};

struct loose {
	struct blob_id id;
	char *name; /* in drydock-tmp/ */
};

/* What one thread needs to deflate; handed around through a list. */
struct worker {
	struct libdeflate_compressor *deflate, *store; /* store: the same format, without looking for repetitions */
	uint8_t *out;
	size_t cap;
	struct worker *next;
};

struct repo_pack {
	struct repo *r;
	char op[UUID_TEXT];
	int dir, tmp; /* the repository and its drydock-tmp/ */
	pthread_mutex_t lock; /* of all below */
	struct entry *entries;
	size_t n, cap;
	size_t first; /* entries before it were published already */
	uint32_t *buckets; /* open addressing: index + 1 into entries */
	size_t n_buckets;
	size_t written; /* objects in the present pack */
	uint64_t end; /* of the present pack */
	uint64_t flushed; /* writeback was started up to here */
	uint8_t *mem; /* the pack while it is small */
	size_t mem_cap;
	int fd; /* the pack once it is large; -1 */
	char *pack_name, *idx_name; /* in drydock-tmp/; NULL: not created */
	struct loose *loose;
	size_t n_loose, cap_loose;
	struct worker *idle;
	size_t kept_blobs; /* bytes of the blobs among entries[].kept */
	bool failed;
};

enum err pack_spill(struct repo_pack *p) MUST_CHECK; /* with the lock held: from memory to a file */

#endif
