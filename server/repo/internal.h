/*
 * internal: what the files of this room share. Nothing outside repo/ includes it.
 */
#ifndef DRYDOCK_REPO_INTERNAL_H
#define DRYDOCK_REPO_INTERNAL_H

#include <git2.h>
#include <pthread.h>
#include <sys/types.h>

#include "repo/plain.h"
#include "repo/repo.h"

/* Which repository an object of the shared cache belongs to: the same directory, and not one made anew in its place. */
struct repo_tag {
	uint64_t dev, ino;
	char id[UUID_TEXT];
};

struct repo {
	char *dir;
	struct repo_tag tag;
	git_repository *git;
	git_odb *odb;
	unsigned epoch; /* of the repacks: see repo.c */
	int64_t refreshed; /* clock_boot of the last look */
	struct timespec packs_seen; /* time of objects/pack at the last scan; zero: scan in any case */
	pthread_mutex_t lock; /* of odb: the threads that fill one pack share it; and of packs */
	struct packs_hand *packs; /* NULL: nothing was learned */
};

void repo_repacked(void); /* packs were taken away */
/* Around the removal of packs whose objects are in another one by now. */
void repo_removal_begin(void);
void repo_removal_end(void);
/* Ask for an object; what is not found or fails is asked once more of the packs as they are now. Returns libgit2's code. */
typedef int odb_look(git_odb *odb, void *arg);
int repo_look(struct repo *r, odb_look *look, void *arg);
/* For stock git: nobody's settings but the repository's own. */
extern const char *const git_environment[];
enum err git_ready(void) MUST_CHECK; /* libgit2 is started once, at first use */
/* The code, with libgit2's sentence behind ours. */
enum err git_failed(enum err code, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- objects ------------------------------------------------------------------------------------------------------ */

/* Bytes of one object: from libgit2, from packs.c, or from the cache of what this process published lately. */
struct object {
	const char *p;
	size_t n;
	git_object_t type;
	git_odb_object *odb;
	struct recent *recent;
	char *own;
};

enum err object_read(struct repo *r, const struct blob_id *id, git_object_t want, struct object *out) MUST_CHECK;
void object_release(struct object *o);
/* Is it there, as far as this handle knows? Does not look for new packs: a wrong "no" costs a few bytes on disk. */
bool object_known(struct repo *r, const struct blob_id *id);

/* packs.c. False: not there, or not so that it can be told: ask libgit2. */
bool packs_read(struct repo *r, const struct blob_id *id, struct object *out) MUST_CHECK;
bool packs_blob(struct repo *r, const struct blob_id *id, struct buf *out) MUST_CHECK; /* within its ceiling */
bool packs_size(struct repo *r, const struct blob_id *id, git_object_t *type, uint64_t *size) MUST_CHECK;
/* Of an object in a pack, its n first bytes or more given: the length of its head; 0: it is not stored whole. */
size_t object_head(const uint8_t *p, size_t n, git_object_t *type, uint64_t *size);
/* All n bytes of a file that begin there. */
bool packs_read_at(int fd, void *to, size_t n, uint64_t at) MUST_CHECK;
uint64_t packs_place(struct repo *r, const struct blob_id *id); /* 0: not there */
void packs_drop(struct repo *r); /* with the handle's lock held, or at its end */

/*
 * recent: objects that this process published lately, so that the next act reads the last one's commit and trees
 * without a scan of objects/pack. Counted; shared by all handles of the process; bounded.
 */
struct recent {
	unsigned refs; /* atomic */
	struct blob_id id;
	git_object_t type;
	size_t n;
	char bytes[];
};
#define RECENT_LARGEST (1024 * 1024)
struct recent *recent_new(const struct blob_id *id, git_object_t type, const void *p, size_t n);
void recent_ref(struct recent *o);
void recent_unref(struct recent *o);
void recent_publish(const struct repo_tag *tag, struct recent *o); /* takes the reference */
struct recent *recent_find(const struct repo_tag *tag, const struct blob_id *id); /* NULL, or a reference */
void recent_forget(void);

/* --- trees -------------------------------------------------------------------------------------------------------- */

struct tree {
	struct object object; /* owns the names */
	struct tree_entry *entries; /* in git's order */
	size_t n;
};

/* Everything in it is checked: the three modes above, names that path_part_problem() accepts, strict order. */
enum err tree_parse(struct tree *t) MUST_CHECK; /* of t->object */
enum err repo_tree_read(struct repo *r, const struct blob_id *id, struct tree *out) MUST_CHECK; /* zero: an empty one */
void tree_release(struct tree *t);
/* The entry of that name and kind; NULL. */
const struct tree_entry *tree_find(const struct tree *t, const char *name, size_t len, bool dir);

/* --- commits ------------------------------------------------------------------------------------------------------ */

/* Header lines of a commit object. A parent that is not there is zero. */
enum err commit_parse(const struct object *o, struct blob_id *tree, struct blob_id *parent) MUST_CHECK;
bool commit_is_log(const struct object *o); /* and not one of refs/heads/main */
/* "tree <hex>" of a log commit, and one entry of it. */
enum err commit_entry(struct repo *r, const struct blob_id *commit, const char *name, bool dir, struct blob_id *out) MUST_CHECK;

/* --- the pack in the making --------------------------------------------------------------------------------------- */

enum err pack_object(struct repo_pack *p, git_object_t type, const void *bytes, size_t n, struct blob_id *id) MUST_CHECK;
/* Objects of the unpublished pack (trees and commits of at most RECENT_LARGEST) and of the repository. */
enum err pack_read(struct repo_pack *p, const struct blob_id *id, git_object_t want, struct object *out) MUST_CHECK;
enum err pack_read_tree(struct repo_pack *p, const struct blob_id *id, struct tree *out) MUST_CHECK;
struct repo *pack_repo(struct repo_pack *p);
/* A loose object that waits under drydock-tmp/<name> for publication; takes the name. */
void pack_add_loose(struct repo_pack *p, const struct blob_id *id, char *name);
/* A name in drydock-tmp/ that nobody else has. */
char *pack_temporary(struct repo_pack *p, const char *suffix);
int pack_tmp_dir(struct repo_pack *p); /* descriptor of drydock-tmp/ */

#endif
