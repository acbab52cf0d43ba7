/*
 * receive: drydock-receive, the program on production. It checks what DryDock delivers, keeps two images of the site, and
 * switches a symbolic link from one to the other.
 *
 * Its state directory:
 *   config            "NAME VALUE" lines: site, rest (seconds that an image rests after it stopped being live)
 *   allowed_signers   whose releases are taken, as ssh-keygen -Y verify reads it
 *   node.key, node.pub  the receiver's own key: it signs receipts
 *   keys                changes of DryDock's key that it was told of (signers.c)
 *   accepted          what was accepted last, and the receipt for it: one object of canonical JSON. Replaced durably
 *                     before the switch, so that a crash between the two is completed and never refused
 *   live              the symbolic link that the web server follows: images/a or images/b
 *   images/a, images/b
 *   a.base, a.net     image a as it was written (core/manifest.h, "*" lines): a list and the difference on top
 *   a.dirty           image a is being changed, or was left half-way: it is compared as a whole before it counts
 *   incoming/         what has arrived of a delivery: taken up again by the next one; incoming/tree: what rsync brought,
 *                     not looked at yet; incoming/placed: what a first delivery has written into the image (place.c)
 *   switched          when the link was switched last (the file's time)
 *   report            what `verify` found last, and the signature of it: goes out with the greeting
 *   lock              one delivery at a time; lock.rsync: one rsync beside it
 *
 * Links libbase.a only: no database, no network, no git. Memory does not grow with the site: lists are streamed.
 */
#ifndef DRYDOCK_RECEIVE_RECEIVE_H
#define DRYDOCK_RECEIVE_RECEIVE_H

#include <sys/stat.h>

#include "core/head.h"
#include "repo/keychain.h"
#include "repo/repo.h"

#define REPORT_LIMIT (48 * 1024) /* bytes, as it stands in a line of JSON */
#define HEADS_MOST 10000 /* in one delivery */
#define IMAGE_NAME(i) ((i) ? "b" : "a")

struct accepted {
	uint64_t number, term; /* 0: nothing yet */
	struct sha256 head;
	struct manifest_sums sums;
	int image; /* 0 or 1 */
	bool rolled_back; /* by hand: the other image is live */
	const char *receipt, *signature; /* as they were sent */
};

struct receiver {
	struct arena *a;
	const char *dir_name;
	int dir, images, incoming, lock, rsync_lock;
	const char *site;
	int64_t rest_us;
	struct node_key *key;
	struct keychain *keys; /* of the node whose key was changed; n 0: none was */
	json_t *statements; /* of the changes, each with its signature */
	struct accepted accepted;
	int live; /* what the link says; -1: nothing yet */
	struct look *look; /* that was begun; NULL: none */
	bool spool_checked; /* by this process: what is in incoming/ under a name of the spool has the right bytes */
	bool placed; /* by this process, into the idle image: incoming/placed lists it */
};

/* state.c */
enum err receiver_init(const char *dir, const char *site, const char *signers) MUST_CHECK;
enum err receiver_open(struct receiver *r, const char *dir, bool writing) MUST_CHECK; /* ERR_BUSY: a delivery is running */
void receiver_close(struct receiver *r);
/* The image that the next release goes to: not the live one, and after a roll-back by hand not the one that was rolled back to. */
int receiver_idle(const struct receiver *r);
/* Is what was accepted, and which image is live, still as it was when it was opened? */
bool receiver_unchanged(const struct receiver *r);
enum err receiver_accept(struct receiver *r, const struct accepted *now) MUST_CHECK; /* durable */
enum err receiver_switch(struct receiver *r, int image) MUST_CHECK;
/* The list of an image; empty if there is none. raw: as manifest.h says; what is new is checked against the signed head. */
enum err image_list(struct receiver *r, int image, bool raw, struct manifest_reading *out) MUST_CHECK;
bool image_has_list(struct receiver *r, int image);
bool image_dirty(struct receiver *r, int image);
enum err image_set_dirty(struct receiver *r, int image, bool dirty) MUST_CHECK;
/* delta (a file of the state directory) on top of an image's list; whole: it is the list. */
enum err image_list_update(struct receiver *r, int image, const char *delta, bool whole) MUST_CHECK;
/* Its list as it is now, durable. */
enum err image_list_sync(struct receiver *r, int image) MUST_CHECK;
void receive_step(const char *name); /* tests stop the process here */

/* tar.c: regular files of a stream, one after the other; nobody else reads from it */
struct tar {
	int fd;
	size_t at, n; /* of what was read ahead */
	char ahead[65536];
	bool ended;
	uint64_t left, padding; /* of the current member */
	char name[8192];
	uint64_t size;
};
/* The next member; *got false at the end. ERR_INPUT: links, devices, directories, damaged headers. */
enum err tar_next(struct tar *t, bool *got) MUST_CHECK;
enum err tar_read(struct tar *t, void *p, size_t n, size_t *got) MUST_CHECK; /* 0: the end of the member */
enum err tar_text(struct tar *t, struct buf *out) MUST_CHECK; /* all of it; ERR_TOO_BIG past the ceiling */

/* signers.c: whom it believes */
enum err signers_load(struct receiver *r) MUST_CHECK;
/* Changes of the key at the beginning of a delivery; t stands at the member behind them, if *got. What is right is kept, durably. */
enum err signers_take(struct receiver *r, struct tar *t, bool *got) MUST_CHECK;
/* ERR_DENIED: not signed by the key that is the node's at this release, or that is not to be believed. */
enum err signer_check(struct receiver *r, const struct head *h, const struct sha256 *digest, const struct buf *bytes, const struct buf *armored) MUST_CHECK;
uint64_t keychain_release(const struct receiver *r); /* the last release before the newest change; 0: none */

/* offer.c: the heads and the list of a delivery, checked */
struct offer {
	struct head head;
	struct sha256 digest;
	const char *bytes; /* of the head */
	bool again; /* it is what was accepted last */
	bool whole; /* the list is whole, not a difference */
	/*
	 * Lines of the list whose bytes the accepted release does not have, by their number among the "+" lines: of few of them
	 * it need not be read again. More than OFFER_KEPT: there are others.
	 */
	struct sent_line *sent;
	size_t n_sent;
	struct changes *changes; /* from the idle image's list: comparing_begin() */
};
#define OFFER_KEPT 64
struct sent_line {
	struct manifest_line line;
	uint64_t i;
};
enum err offer_read(struct receiver *r, struct tar *t, struct offer *out) MUST_CHECK;
/* What is lacking, as ranges of "+" lines of the list, into incoming/need. */
enum err offer_need(struct receiver *r, const struct offer *o, uint64_t *count) MUST_CHECK;
/* The lists of what was accepted, and what it will be, read raw. */
struct new_list {
	struct manifest_reading base, sent;
	struct manifest_merge merge;
	struct manifest_source source;
};
enum err new_list_begin(struct receiver *r, bool whole, struct new_list *out) MUST_CHECK;
void new_list_end(struct new_list *l);
struct manifest_line line_kept(struct receiver *r, const struct manifest_line *l); /* of a raw line: as long as r */
void spool_name(const struct manifest_line *l, char out[104]);

/* rsync.c: files that come beside the stream, into incoming/tree, and count once their bytes were found right */
#define RSYNC_COMMAND "rsync --server "
int receive_rsync(struct receiver *r, const char *command); /* what the client asked sshd for; an exit status */
enum err spool_settle(struct receiver *r) MUST_CHECK; /* wait until no rsync writes there, and keep it so */
bool spool_take(struct receiver *r, const struct manifest_line *l); /* from incoming/tree, if it is right */
enum err spool_clear(struct receiver *r) MUST_CHECK; /* what is left of incoming/tree; rsync may write again */

/* dirs.c: directories of an image, none of them reached over a link */
int open_below(int dir, const char *path, uint64_t flags); /* of open(2) */
struct image_dirs {
	int image; /* the caller's */
	int parent; /* of the path before; -1: none is open */
	char name[PATH_LIMIT + 1];
};
/* The directory of a path, open until the next call, and the path's last name; make: with those above it. -1: errno says. */
int image_parent(struct image_dirs *d, const char *path, bool make, const char **name);
void image_parent_forget(struct image_dirs *d);

/*
 * place.c: the first delivery writes its files where they belong as they come. Nothing that somebody needs is there, and what is
 * live is empty; the idle image is marked dirty first. A file gets its time last: one that was cut off never has it.
 */
struct placing {
	struct receiver *r;
	struct image_dirs dirs; /* image -1: this delivery is another one */
	struct manifest_writing list; /* "*" lines */
};
enum err placing_begin(struct placing *p, struct receiver *r) MUST_CHECK;
int placing_open(struct placing *p, const struct manifest_line *l); /* to write to; -1: it goes to the spool */
enum err placing_add(struct placing *p, const struct manifest_line *l, int fd) MUST_CHECK; /* its bytes are there, and right */
void placing_drop(struct placing *p, const struct manifest_line *l); /* they are not */
enum err placing_end(struct placing *p, enum err e) MUST_CHECK; /* e: from the others; returned */
int placing_left(struct receiver *r); /* the image that a first delivery before this one has begun to fill, open; -1: none */
enum err placed_list(struct receiver *r, struct manifest_along *out) MUST_CHECK;

/* image.c */
/*
 * In incoming/: what could not be copied from the live image, since somebody had altered it there. It is asked for with the
 * next whole list.
 */
#define LACKING_FILE "lacking"
mode_t file_mode(const struct manifest_line *l);
/* Is the file of a line with notes as it was when they were written? */
bool file_as_noted(int dir, const char *name, const struct manifest_line *x);
/* Is it a file with that mode and size, and no other name? And with those bytes? *st: as it is. */
bool file_in_image(int image, const struct manifest_line *y, struct stat *st);
bool file_as_signed(int image, const struct manifest_line *y, struct stat *st);
bool file_timed(const struct manifest_line *y, const struct stat *st); /* as in a first delivery */
/* What it is given: when it was approved, and after the version that is live, if there is one. Nanoseconds. */
int64_t file_time(const struct manifest_line *y, const struct manifest_line *live);
struct manifest_line file_noted(const struct manifest_line *y, const struct stat *st); /* y with notes */
struct image_counts {
	uint64_t written, copied, removed, mended;
};
/*
 * What differs between the idle image's list and the new one, for image_bring(): where it is little, that reads neither again. The new
 * one's lines come in order; the idle image's, read along, go to the look.
 */
struct comparing {
	struct changes *changes; /* NULL: the image is dirty, and nothing is compared */
	struct manifest_reading idle;
	struct manifest_line at;
	bool has;
};
enum err comparing_begin(struct comparing *c, struct receiver *r, struct offer *o) MUST_CHECK;
enum err comparing_line(struct comparing *c, const struct manifest_line *y) MUST_CHECK;
enum err comparing_end(struct comparing *c, enum err e) MUST_CHECK; /* e: from the others; returned */
/* The idle image becomes the new list; its own list too. Durable. */
enum err image_bring(struct receiver *r, int image, const struct offer *o, struct image_counts *out) MUST_CHECK;
/* Every file below an image, sorted, path only; foreign things (links, devices) have size UINT64_MAX. */
struct walk;
struct walk *walk_new(int dir, struct manifest_source *out);
void walk_free(struct walk *w);

/*
 * look.c: is every file of the idle image as it was noted? Threads of its own ask the kernel for each, while the list of a
 * delivery is checked and its bytes come. Who reads the image's list tells each line. It reads only; a look that is older than
 * LOOK_GOOD_US when it counts, or was not told all, is repeated.
 */
#define LOOK_GOOD_US (5 * CLOCK_SECOND)
void look_begin(struct receiver *r, int image);
void look_line(struct receiver *r, const struct manifest_line *l); /* raw; nothing without a look */
void look_whole(struct receiver *r); /* that was the last one */
bool look_says_as_noted(struct receiver *r, int image); /* waits for it, and begins it if it was not. false: or nobody could tell */
void look_end(struct receiver *r);

/* delivery.c */
int receive_stream(struct receiver *r, int in, int out); /* an exit status */
/* The work is a little further: in a delivery, whoever waits for its end hears so now and then. */
void receive_goes_on(void);
/*
 * verify.c: reads every live file, tells out (NULL: nobody) what differs, and keeps a signed report. It holds no lock, since
 * it may take long and a delivery must not wait: were another release accepted meanwhile, ERR_STALE.
 */
enum err receiver_verify(struct receiver *r, FILE *out, uint64_t *bad) MUST_CHECK;
/* The report and its signature, as they go out: added to an object. Nothing if there is none. */
void report_add(struct receiver *r, json_t *to);

#endif
