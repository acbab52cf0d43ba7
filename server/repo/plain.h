/*
 * plain: the texts of git's objects as DryDock writes and reads them, without a git library: ids, entries of trees,
 * commits of the log. Linked into libbase.a, for programs that check a history by themselves.
 */
#ifndef DRYDOCK_REPO_PLAIN_H
#define DRYDOCK_REPO_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/record.h"

#define COMMIT_LIMIT ((size_t)1024 * 1024) /* bytes of a commit or tag that DryDock writes */
#define LOG_REF_PREFIX "refs/drydock/log/"

bool blob_id_equal(const struct blob_id *a, const struct blob_id *b);
bool blob_id_zero(const struct blob_id *a);

/* The id of an object that comes in pieces; type: "blob", "tree", "commit". A size that does not come true gives another id. */
struct object_hash;
struct object_hash *object_hash_new(const char *type, uint64_t size);
void object_hash_add(struct object_hash *h, const void *p, size_t n);
void object_hash_end_free(struct object_hash *h, struct blob_id *out); /* out may be NULL */

/* --- trees --------------------------------------------------------------------------------------------------------- */

#define TREE_MODE_FILE 0100644u
#define TREE_MODE_EXEC 0100755u
#define TREE_MODE_DIR 0040000u

struct tree_entry {
	const char *name; /* not terminated; inside the tree's bytes or a path */
	size_t len;
	unsigned mode;
	struct blob_id id;
};

/* The next one of a tree's bytes; false: it is none that DryDock writes. Order and names are not looked at. */
bool tree_entry_parse(struct tree_entry *e, const char **p, const char *end);
/* git's order: bytewise, a directory as if its name ended in '/'. */
int tree_entry_compare(const struct tree_entry *a, const struct tree_entry *b);

/* --- commits ------------------------------------------------------------------------------------------------------- */

void plain_put_id(struct buf *out, const char *field, const struct blob_id *id);
void plain_put_node(struct buf *out, const char *field, const char *node, int64_t at);
/* A line "FIELD HEX"; field with its blank. Moves *p behind it, or leaves it. */
bool plain_id_line(const char **p, const char *end, const char *field, struct blob_id *id);
/* Tree and the one parent (zero: none) of a commit. */
bool plain_commit_parse(const char *p, size_t n, struct blob_id *tree, struct blob_id *parent);
/* Header and message of a commit of the log: a pure function of record, tree, parent and node. */
enum err plain_log_text(const struct record *record, const struct sha256 *digest, const struct blob_id *tree, const struct blob_id *parent,
    const char *node, struct buf *head, struct buf *body) MUST_CHECK;
/* The bytes that were signed, and the armored signature. ERR_DENIED: it has none, or two. */
enum err plain_commit_split(const char *p, size_t n, struct buf *bytes, struct buf *armored) MUST_CHECK;

#endif
