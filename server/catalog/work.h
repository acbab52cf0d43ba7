/*
 * work: a scan in pieces. Inside the room: scan.c runs them, look.c does them.
 *
 * A scan is a stack of work, taken from by the calling thread and by helpers that wait between scans. Work is a
 * directory (list it, look at each entry, compare with the tree) or a handful of files to read. The tree is compared
 * under the read lock and changed under the write lock; files are read under neither.
 */
#ifndef DRYDOCK_CATALOG_WORK_H
#define DRYDOCK_CATALOG_WORK_H

#include "catalog/inside.h"

enum work_kind { WORK_DIR, WORK_FILES };

/* Small enough that two threads share a directory, large enough that the stack is not what costs. */
#define FILES_A_PIECE 32

struct open_dir {
	int fd;
	atomic_uint users;
};

struct item {
	enum work_kind kind;
	struct dir *dir;
	bool below;
	bool first; /* asked for, not found on the way: if it is gone, its parent is to be looked at */
	/* WORK_FILES */
	unsigned turn; /* of the directory, when the files were found to be read */
	struct open_dir *open;
	unsigned n;
	struct node **files;
};

struct hand { /* of one thread */
	struct catalog *c;
	struct work *work;
	struct door_reader *reader;
	struct node **unseen, **again;
	size_t n_unseen, unseen_cap, n_again, again_cap;
	struct dir **unseen_dirs, **subdirs;
	size_t n_unseen_dirs, unseen_dirs_cap, n_subdirs, subdirs_cap;
	size_t *fresh;
	size_t n_fresh, fresh_cap;
	unsigned char *seen;
	size_t seen_cap;
	struct node **known; /* in a directory whose names are not read again */
	size_t known_cap;
	struct door_entry *entries;
	size_t entries_cap;
	pthread_t thread;
};

struct work {
	struct catalog *c;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct item *stack;
	size_t n, cap;
	unsigned busy, waiting;
	bool stop;
	struct hand *hands; /* the first is the caller's */
	unsigned n_hands;

	/* of the scan that runs */
	enum err err;
	char err_text[512];
	bool list_all; /* names are read even where the directory's times say that they are the same */
	bool list_all_next; /* something could not be looked at now */
	bool root_empty;
	char root_gone[256];
	_Atomic uint64_t files_read, bytes_read;
	int64_t began, told; /* told: under lock */
};

void work_push(struct work *w, struct item item);
/* Something could not be looked at, by no fault of its own: the scan fails, with err_text(). */
void work_failed(struct work *w, enum err e);

/* look.c: */
void look_dir(struct hand *h, const struct item *item);
/* Reads files of a directory that is open and was found at that turn, and puts what they are into the tree. n: at least 1. */
void look_files(struct hand *h, int dirfd, unsigned turn, struct node **files, size_t n);
/* One name of a directory that is open. True if the whole directory is to be looked at instead. */
bool look_name(struct catalog *c, struct dir *d, int fd, const char *name, size_t len);
void open_dir_drop(struct open_dir *o);

#endif
