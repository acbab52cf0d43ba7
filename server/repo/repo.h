/*
 * repo: approved versions. One bare git repository a site, and one named "installation". libgit2 is used in this room
 * only; objects are written by a pack writer of our own (one small pack an act), which keeps SHA-1 collision detection
 * and writes nothing that the repository has already.
 *
 * refs/drydock/log/<node>: one commit an act; its tree: record, files, rules, site/. Signed in git's SSH format.
 * A struct repo is a handle for one thread. After another handle wrote, repo_refresh() shows the new objects; reads
 * that miss refresh once by themselves.
 */
#ifndef DRYDOCK_REPO_REPO_H
#define DRYDOCK_REPO_REPO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/path.h"
#include "core/plan.h"
#include "core/record.h"
#include "repo/plain.h"

/* The node's Ed25519 key: node.key (OpenSSH private key format, 0600) and node.pub, in the data directory. */
struct node_key;
enum err node_key_create(const char *dir) MUST_CHECK; /* ERR_STALE if one is there */
enum err node_key_load(struct node_key **out, const char *dir) MUST_CHECK; /* refuses a key file others can read */
void node_key_free(struct node_key *k);
const char *node_key_id(const struct node_key *k); /* 64 hex: SHA-256 of the public key blob */
const char *node_key_public(const struct node_key *k); /* "ssh-ed25519 AAAA..." without newline */
/* An armored SSHSIG over the bytes in that namespace ("git", "drydock-release", "drydock-receipt"). */
enum err node_key_sign(const struct node_key *k, const char *space, const void *p, size_t n, struct buf *armored) MUST_CHECK;
/* The allowed-signers file, with namespaces= and validity, for `git -c gpg.ssh.allowedSignersFile=` and ssh-keygen. first: since when the first key holds. */
enum err node_key_write_allowed_signers(const struct node_key *k, const char *file, int64_t first) MUST_CHECK;

/*
 * The change of the key (repo/keys.c). What it goes through, in files of the data directory, so that it can be taken up again:
 *   node.key.next   the new key: without a note, a leftover
 *   key-change      the note, after which it will be done: who, why, when (struct key_note)
 *   node.keys       the changes that there were, with their statements; the last one is added when every log has its record
 *   node.key        the old key is overwritten, or kept under another name; then the new one takes its place
 */
struct key_note {
	int64_t at;
	const char *by, *reason;
	bool keep; /* the old key stays, as node.key.ID, the first letters of its id */
};
bool node_key_is(const struct node_key *k, const uint8_t public_key[32]); /* it, or the one that it is being changed to */
const struct node_key *node_key_next(const struct node_key *k); /* NULL: it is not being changed */
const uint8_t *node_key_bytes(const struct node_key *k); /* the public key's 32 */
struct keychain;
const struct keychain *node_key_chain(const struct node_key *k); /* NULL: it was never changed */
struct json_t;
struct json_t *node_key_statements(const struct node_key *k); /* for a first record; borrowed; NULL: never changed */
/* Make it, or take it from a file; ERR_STALE: it is, or was, the node's key already. Then the note. */
enum err node_key_next_make(const char *dir, const struct node_key *k, const char *from) MUST_CHECK;
enum err node_key_note(const char *dir, const struct key_note *note) MUST_CHECK;
bool node_key_changing(const char *dir); /* a change was noted, and is not done: until then node.key may be the old key, or nothing */
enum err node_key_note_read(const char *dir, struct key_note *out, struct arena *a) MUST_CHECK; /* ERR_NOT_FOUND */
/* Every log has its record; statement and its armored signature are those of the installation's. Idempotent, up to the end of the note. */
enum err node_key_switch(const char *dir, const struct node_key *k, const char *statement, size_t n, const struct buf *armored, const struct key_note *note,
    int64_t first) MUST_CHECK;
/* Each key in turn, the first one first: by and reason are "" for that one. */
struct key_listed { uint8_t key[32]; int64_t at; const char *by, *reason; };
enum err node_key_list(const char *dir, enum err (*fn)(void *arg, const struct key_listed *k), void *arg) MUST_CHECK;

struct repo;

enum err repo_create(const char *dir) MUST_CHECK; /* bare; existing: fine */
enum err repo_open(struct repo **out, const char *dir) MUST_CHECK;
void repo_close(struct repo *r);
void repo_refresh(struct repo *r);
/* Before many objects are read: learn where all of them are (36 bytes each). What comes later is found all the same. */
void repo_learn(struct repo *r);
/* Another handle on the same repository, for another thread; it knows what r has learned. */
enum err repo_open_like(struct repo **out, const struct repo *r) MUST_CHECK;

/* --- writing: the objects of one act ------------------------------------------------------------------------------ */

#define REPO_LOOSE_ABOVE (16 * 1024 * 1024) /* bytes: larger blobs are loose objects, streamed */

/*
 * A pack in the making, under <repo>/drydock-tmp/<op>.pack: not visible until repo_pack_publish. Adding is
 * thread-safe (deflate and hashing outside the lock, so that two threads really help). Dropping leaves nothing.
 */
struct repo_pack;
enum err repo_pack_begin(struct repo *r, const struct uuid *op, struct repo_pack **out) MUST_CHECK;
/* A blob from memory (at most REPO_LOOSE_ABOVE). Not written again if the repository has it. */
enum err repo_pack_blob(struct repo_pack *p, const void *bytes, size_t n, struct blob_id *id) MUST_CHECK;
/*
 * The blobs of a pack in the making, for who reads all of them while the act goes on or afterwards: from where they lie,
 * without a look at the repository. NULL: it is small, and not written yet. A hand is one thread's.
 */
struct repo_shelf;
struct repo_shelf_hand;
enum err repo_pack_shelf(struct repo_pack *p, struct repo_shelf **out) MUST_CHECK;
void repo_shelf_free(struct repo_shelf *s);
struct repo_shelf_hand *repo_shelf_hand_new(const struct repo_shelf *s);
void repo_shelf_hand_free(struct repo_shelf_hand *h);
/* A blob's bytes into a file. ERR_NOT_FOUND: it is not there, or not to be read; nothing was written. */
enum err repo_shelf_copy(struct repo_shelf_hand *h, const struct blob_id *id, int fd) MUST_CHECK;
/*
 * A large blob in pieces; size is known first. end() checks that size came and gives the id; it is kept under a
 * temporary name until repo_pack_publish. cancel() if the bytes turned out to be unwanted.
 */
struct repo_stream;
enum err repo_stream_begin(struct repo_pack *p, uint64_t size, struct repo_stream **out) MUST_CHECK;
enum err repo_stream_add(struct repo_stream *s, const void *bytes, size_t n) MUST_CHECK;
enum err repo_stream_end(struct repo_stream *s, struct blob_id *id) MUST_CHECK; /* frees s */
void repo_stream_cancel(struct repo_stream *s);

/* The new approved tree: old site/ tree of `head` (zero: none) with the changes; removals first, files may become
 * directories and the other way round. changes sorted by path; PLAN_REMOVE removes, ADD and CHANGE set blob and mode. */
enum err repo_pack_tree(struct repo_pack *p, const struct blob_id *head, const struct plan *changes, struct blob_id *site_tree) MUST_CHECK;

struct repo_commit {
	const struct record *record;
	const char *record_bytes; /* encoded */
	size_t record_len;
	struct sha256 record_digest;
	const char *files; /* the files list, may be "" */
	size_t files_len;
	const char *rules;
	size_t rules_len;
	struct blob_id site_tree; /* zero: the empty tree */
	struct blob_id parent; /* zero: the first */
};
/* The log commit, signed with the key; author is the actor, committer the node; author time = record time. */
enum err repo_pack_commit(struct repo_pack *p, const struct repo_commit *c, const struct node_key *k, struct blob_id *commit) MUST_CHECK;
/* A signed commit on refs/heads/main, one a release: tree = the site tree of the log commit. Message names the release. */
enum err repo_pack_release_commit(struct repo_pack *p, const struct blob_id *site_tree, const struct blob_id *parent,
    const char *message, int64_t at, const struct node_key *k, struct blob_id *commit) MUST_CHECK;
/* A signed annotated tag object. kept: its signature, by a key that was replaced; NULL: k signs it. */
enum err repo_pack_tag(struct repo_pack *p, const char *name, const struct blob_id *commit, const char *message,
    int64_t at, const struct node_key *k, const struct buf *kept, struct blob_id *tag) MUST_CHECK;
/* The signature alone that the tag has, or would have. */
enum err repo_tag_sign(const char *name, const struct blob_id *commit, const char *message, int64_t at, const struct node_key *k, struct buf *armored) MUST_CHECK;
/*
 * Make it durable and visible: finish the pack, fsync it (or, with_syncfs and where there are many large blobs, call
 * syncfs once instead of many fsyncs), rename into objects/pack, fsync that directory.
 * The index is not synced: repo_clean_temporary() makes it again if it was lost. With no new object it does nothing. Frees nothing. Objects may be added after it, and published again
 * (a transaction that runs twice).
 */
enum err repo_pack_publish(struct repo_pack *p, bool with_syncfs) MUST_CHECK;
void repo_pack_free(struct repo_pack *p); /* drops what was not published */
/* At start: remove leftovers of acts that never finished (locks of refs too), make an index that a power failure took. */
enum err repo_clean_temporary(struct repo *r) MUST_CHECK;

/*
 * If there are more packs than that, put the small ones together (stock git, geometric). Reading and publishing with other
 * handles go on meanwhile. Nothing unreachable is thrown away. done: something was put together.
 */
enum err repo_maintain(struct repo *r, unsigned above, bool *done) MUST_CHECK;

/*
 * Stock git's check of all objects and refs: fn for each line that it has to say; none if all is well. deep: every byte
 * of every object, otherwise only that everything named is there. stop: when it is not zero any more git is ended: ERR_BUSY; may be NULL.
 */
enum err repo_check(const struct repo *r, bool deep, atomic_int *stop, void (*fn)(void *arg, const char *what), void *arg) MUST_CHECK;

/* Compare-and-swap of a ref; old NULL or zero: must not exist. ERR_STALE if it stands elsewhere. Not fsynced: derived. */
enum err repo_ref_move(struct repo *r, const char *ref, const struct blob_id *old, const struct blob_id *now) MUST_CHECK;
/* Whatever stands there now, a torn file too: for the repair at start, when the database says where it belongs. */
enum err repo_ref_set(struct repo *r, const char *ref, const struct blob_id *now) MUST_CHECK;
enum err repo_ref_remove(struct repo *r, const char *ref) MUST_CHECK; /* fine if it is not there */
enum err repo_ref_get(struct repo *r, const char *ref, struct blob_id *out) MUST_CHECK; /* ERR_NOT_FOUND */

/* --- reading ------------------------------------------------------------------------------------------------------ */

bool repo_has(struct repo *r, const struct blob_id *id);
/* A blob's bytes, at most limit: ERR_TOO_BIG past it. */
enum err repo_blob_read(struct repo *r, const struct blob_id *id, struct buf *out) MUST_CHECK;
enum err repo_blob_size(struct repo *r, const struct blob_id *id, uint64_t *size) MUST_CHECK;
/* Of a handle that has learned: who reads many objects in the order of these numbers reads the packs from front to end. */
uint64_t repo_place(struct repo *r, const struct blob_id *id);
/* A blob written to a descriptor; streamed when it is loose. */
enum err repo_blob_copy(struct repo *r, const struct blob_id *id, int fd) MUST_CHECK;
/* The same to a function, in pieces. */
enum err repo_blob_feed(struct repo *r, const struct blob_id *id, enum err (*fn)(void *arg, const void *p, size_t n), void *arg) MUST_CHECK;
/* The bytes of an object as git has them; type: "commit", "tree", "blob". */
enum err repo_object(struct repo *r, const struct blob_id *id, const char *type, struct buf *out) MUST_CHECK;
/* The id that size bytes of a descriptor, from its position on, would have. To compare with an id that is known. */
enum err repo_blob_id_of(int fd, uint64_t size, struct blob_id *id) MUST_CHECK;
/* A file of the approved tree of a log commit. */
enum err repo_find(struct repo *r, const struct blob_id *commit, struct path path, struct blob_id *blob, bool *exec) MUST_CHECK;
/* Is path a directory of the approved tree of a log commit (zero: nothing there)? */
enum err repo_has_directory(struct repo *r, const struct blob_id *commit, struct path path, bool *answer) MUST_CHECK;
enum err repo_commit_parent(struct repo *r, const struct blob_id *commit, struct blob_id *parent) MUST_CHECK;
enum err repo_commit_tree(struct repo *r, const struct blob_id *commit, struct blob_id *tree) MUST_CHECK;
/* site/ tree of a log commit; of a release's commit, its tree: so too below, wherever a log commit is asked for its files. */
enum err repo_site_tree(struct repo *r, const struct blob_id *commit, struct blob_id *tree) MUST_CHECK;
/* The difference of two approved trees (log commits; zero: nothing there). Costs what differs. */
enum err repo_plan(struct repo *r, const struct blob_id *from, const struct blob_id *to, struct plan *out) MUST_CHECK;
/* Every file of an approved tree in path order. */
enum err repo_walk(struct repo *r, const struct blob_id *commit,
    enum err (*fn)(void *arg, struct path path, const struct blob_id *blob, bool exec), void *arg) MUST_CHECK;
/*
 * For who trusts nothing of a log: the parts of a commit of it (ERR_INPUT: it is none, and why), and whether it is, byte by
 * byte, what DryDock writes for that record, signed, and by which key (ERR_DENIED, and why not).
 */
struct repo_log_commit { struct blob_id tree, parent, record, files, rules, site; };
enum err repo_log_read(struct repo *r, const struct blob_id *commit, struct repo_log_commit *out) MUST_CHECK;
enum err repo_log_verify(struct repo *r, const struct blob_id *commit, const struct repo_log_commit *c, const struct record *record,
    const struct sha256 *digest, uint8_t signer[32]) MUST_CHECK;
/* The commit that an annotated tag is of. */
enum err repo_tag_target(struct repo *r, const struct blob_id *tag, struct blob_id *commit) MUST_CHECK;
/* fn for each ref whose name begins so; its name is the whole one. */
enum err repo_ref_each(struct repo *r, const char *begin, enum err (*fn)(void *arg, const char *name, const struct blob_id *at), void *arg) MUST_CHECK;
/* Two site/ trees. */
enum err repo_plan_trees(struct repo *r, const struct blob_id *from, const struct blob_id *to, struct plan *out) MUST_CHECK;
/* A commit's signature, checked (own code, no process): the key that it is by. Whether it is the right one: repo/keychain.h. */
enum err repo_commit_verify(struct repo *r, const struct blob_id *commit, uint8_t signer[32]) MUST_CHECK;

/* --- difference of two texts (libgit2's xdiff) -------------------------------------------------------------------- */

/* DIFF_NO_NEWLINE: the line before it ends its file without a newline; it has no text. */
enum diff_kind { DIFF_CONTEXT, DIFF_ADDED, DIFF_REMOVED, DIFF_HUNK, DIFF_NO_NEWLINE };
struct diff_line {
	enum diff_kind kind;
	int old_no, new_no; /* 0: none */
	const char *text; /* without the newline; not terminated */
	size_t len;
};
/*
 * fn for each line of the hunks with `context` lines around; *binary is set if either side is not text. With very many
 * lines all from the first to the last difference is one hunk: the time is bounded, whatever the texts are.
 */
enum err repo_diff(const char *a, size_t a_len, const char *b, size_t b_len, unsigned context,
    enum err (*fn)(void *arg, const struct diff_line *line), void *arg, bool *binary) MUST_CHECK;

#endif
