/*
 * inside: what the files of this room share. Nobody else includes it.
 *
 * The tree: directories and files as nodes, each known to its parent by name. A name can be a file and a directory at
 * once: approved as one and staged as the other. Locks, in the order in which they are taken:
 *
 *   scan     held by who changes the staged side or frees nodes. So who holds it may keep pointers to nodes.
 *   tree     the reader-writer lock over everything below `root`, but for names and parents, which never change.
 *   queue    the work of a scan.
 *   events   the watcher's lists: dir->watch, dir->dirty (watcher.c).
 */
#ifndef DRYDOCK_CATALOG_INSIDE_H
#define DRYDOCK_CATALOG_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "catalog/catalog.h"

struct review {
	uint64_t seq;
	struct sha256 of;
};

struct appr {
	uint64_t seq;
	int64_t at;
	const char *by; /* one copy a user, kept until the end */
	struct review *review; /* NULL: none */
	struct fingerprint *print; /* NULL: the staged one, which is the common case and spares 64 bytes a file */
	struct blob_id blob;
	uint8_t approval;
};

enum {
	NODE_STAGED = 1, /* seen in staging: stat, and without a problem the fingerprint, are of there */
	NODE_EXEC = 2,
	NODE_RACY = 4, /* read so shortly after its last change that another one could carry the same times: read again */
	NODE_BAD = 8, /* the name on disk is no path; this one is made for showing */
	NODE_DIR_PROBLEM = 16, /* stands for a directory that cannot be entered */
};

struct node {
	struct dir *parent;
	struct appr *approved; /* NULL: never was */
	uint64_t size, inode;
	int64_t mtime_ns, ctime_ns;
	struct sha256 sha256;
	struct md5 md5;
	uint8_t flags, problem;
	uint8_t state; /* STATE_COUNT: nothing to show (not staged, not approved); also while a new file is first read */
	uint16_t name_len;
	char name[];
};

struct dir {
	struct dir *parent; /* NULL: the root */
	struct node **files; /* by name, bytewise */
	struct dir **dirs; /* by name with a '/' behind: so a walk that merges both goes in the order of whole paths */
	size_t files_cap, dirs_cap;
	uint32_t n_files, n_dirs;
	uint32_t counts[STATE_COUNT]; /* of all below */
	uint64_t bytes;
	uint64_t generation;
	uint64_t inode; /* as its parent lists it */
	struct dir_stamp listed; /* before its names were last read; zero: read them again */
	int watch; /* 0: none */
	/*
	 * Counts what is decided about it: its entries, that it is staged, gone, blocked or another directory. Changed under
	 * the write lock. Who looks notes it first; a look during which it moved on may have seen another directory, or an
	 * older state than is here by now.
	 */
	atomic_uint turn;
	bool staged; /* only below one that is */
	bool blocked; /* it is there but cannot be entered: files known below it are staged, with that problem */
	bool preapproved; /* all at or below it is */
	bool preapproved_some; /* something at or below it may be, by its name or size */
	bool pruning, dirty;
	uint16_t path_len; /* "/" counts 1 */
	uint16_t name_len;
	char name[];
};

struct work; /* scan.c */
struct watcher; /* watcher.c */

struct catalog {
	struct door *door;
	atomic_uint door_moved; /* which staging directory the tree is of */
	char *cache_file;
	uint64_t largest_file; /* for what is said of one that is larger */
	unsigned patience_s; /* how long a question waits for a scan that is going on */

	pthread_rwlock_t tree;
	struct dir *root;
	uint64_t approved_live; /* files in the approved tree */
	bool known; /* staging was read since the start: until then an approved file counts as staged */
	char trouble[256];
	struct preapproved *preapproved; /* sorted, own copies */
	size_t n_preapproved;
	char **users; /* sorted */
	size_t n_users, users_cap;
	struct dir **prune; /* directories with nodes that may go */
	size_t n_prune, prune_cap;
	uint64_t generation;

	pthread_mutex_t news_lock; /* for catalog_wait */
	pthread_cond_t news;
	uint64_t announced;

	pthread_mutex_t scan;
	_Atomic uint64_t scans_begun; /* of everything */
	uint64_t scan_done; /* under scan: the number of the last whole one that succeeded */
	bool cache_stale; /* under scan: the file on disk is not what is here */
	struct work *work;
	struct watcher *watcher; /* NULL: not asked for */
};

/* tree.c ------------------------------------------------------------------------------------------------------------- */

void tree_read(struct catalog *c);
void tree_read_end(struct catalog *c);
void tree_write(struct catalog *c);
void tree_write_end(struct catalog *c);

/* All of these: under the write lock, but for the finds and the paths, for which the read lock does. */
struct dir *dir_new(struct dir *parent, const char *name, size_t len);
void tree_free(struct dir *d);
int name_compare(const char *a, size_t an, char aend, const char *b, size_t bn, char bend);
struct node *file_find(const struct dir *d, const char *name, size_t len, bool bad, size_t *at);
struct dir *dir_find(const struct dir *d, const char *name, size_t len, size_t *at);
struct node *file_make(struct catalog *c, struct dir *d, const char *name, size_t len, bool bad); /* finds or adds */
struct dir *dir_make(struct catalog *c, struct dir *d, const char *name, size_t len);
/* The same for many new names of one directory, without moving the others for each: add all, then sort once. */
struct node *file_make_many(struct catalog *c, struct dir *d, size_t known, const char *name, size_t len, bool bad);
void file_make_many_end(struct dir *d, size_t known);
bool dir_empty(const struct dir *d); /* no file below has anything to show */
struct dir *dir_at(const struct catalog *c, struct path p); /* NULL: none */
struct dir *dir_nearest(const struct catalog *c, struct path p); /* the deepest that is known at or above it */
struct node *file_at(const struct catalog *c, struct path p);

/* Room for a path, and for one that is only shown: a directory's with a name that is made visible. */
#define NODE_PATH_SIZE (PATH_LIMIT + 1024)
struct path dir_path(const struct dir *d, char *out);
struct path node_path(const struct node *n, char *out);

void node_stat(const struct node *n, struct stage_stat *st);
void node_print(const struct node *n, struct fingerprint *print); /* staged */
void node_approved_print(const struct node *n, struct fingerprint *print); /* n->approved is there */
/* problem PROBLEM_NONE comes with print. */
void node_stage(struct catalog *c, struct node *n, const struct stage_stat *st, const struct fingerprint *print,
    enum problem problem, unsigned flags);
void node_unstage(struct catalog *c, struct node *n);
void node_approve(struct catalog *c, struct node *n, const struct approved *a);
void dir_stage(struct catalog *c, struct dir *d, bool staged);
void dir_unstage_all(struct catalog *c, struct dir *d); /* it and all below */
void dir_problem_all(struct catalog *c, struct dir *d, enum problem problem); /* it and all below cannot be seen */
void tree_states(struct catalog *c, struct dir *d); /* ask again for all below */
void dir_preapproved(struct catalog *c, struct dir *d); /* the flag, from the list and the parent */
void tree_changed(struct catalog *c, struct dir *d); /* something that a listing shows changed in it */
/* With scan held too: free what is neither staged nor approved. */
void tree_prune(struct catalog *c);

/* scan.c ------------------------------------------------------------------------------------------------------------- */

enum { SCAN_BELOW = 1 }; /* with everything below; otherwise the directory itself and what is new in it */
struct work *work_new(struct catalog *c, unsigned threads);
void work_free(struct work *w);
/* scan is held. Problems with the whole of staging are not an error but trouble. */
enum err scan_dirs(struct catalog *c, struct dir **dirs, size_t n, unsigned flags) MUST_CHECK;
enum err scan_file(struct catalog *c, struct path path) MUST_CHECK;
uint64_t scan_files_read(struct catalog *c); /* by the scan that goes on; needs no lock */

/* cache.c ------------------------------------------------------------------------------------------------------------ */

void cache_load(struct catalog *c);
void cache_save(struct catalog *c); /* scan is held */

/* watcher.c ---------------------------------------------------------------------------------------------------------- */

/* The directory that fd is: watched from now on, if it is not yet. scan is held, tree is not. */
void watcher_watch(struct catalog *c, struct dir *d, int fd);
/* What is at d's name may be another directory now. */
void watcher_unwatch(struct catalog *c, struct dir *d);
/* d is about to be freed. */
void watcher_forget(struct catalog *c, struct dir *d);
/* Around a scan of everything. */
void watcher_all_begin(struct catalog *c);
void watcher_all_end(struct catalog *c, bool succeeded);
/* A file in d was busy: look again soon. */
void watcher_again(struct catalog *c, struct dir *d);

/* query.c ------------------------------------------------------------------------------------------------------------ */

/* What the view lets be seen of what is below a directory: nothing, all, or ask for each. */
enum sight { SIGHT_NONE, SIGHT_ALL, SIGHT_EACH };
enum sight view_sight(const struct catalog_view *v, struct path dir);
bool view_sees(const struct catalog_view *v, struct path file);
/* Strings point into the tree. */
void entry_of_node(const struct node *n, struct path path, struct catalog_entry *e);
#define ALL_STATES ((1u << STATE_COUNT) - 1)
/*
 * Every file below d that is in one of the states (bits) and may be seen, in the order of paths, until fn returns false (then false).
 * buf holds d's path, of len bytes (0 for the root), and room for more. after: a path relative to d; NULL: from the start.
 */
bool walk_files(const struct dir *d, const struct catalog_view *v, enum sight sight, unsigned states, char *buf, size_t len,
    const char *after, bool (*fn)(void *arg, const struct node *n, struct path path), void *arg);

#endif
