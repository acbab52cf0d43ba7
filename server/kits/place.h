/*
 * place: a directory of this machine that the kit `local` brings to a release, one file at a time. Below it nothing is
 * opened by a name that could lead out of it: no links, no "..". Names are relative to it, of any bytes.
 *
 * What is done is printed as the contract wants it (sync-scripts/README); so is an error, by whoever meets it.
 */
#ifndef DRYDOCK_KITS_PLACE_H
#define DRYDOCK_KITS_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kits/far.h"

#define PLACE_BLOCK 65536

struct place {
	int export, dir; /* descriptors: what it has to become, and the place itself */
	bool dry; /* only compare: nothing is changed */
	bool sync_each; /* each file is made durable by itself; otherwise all of them, by whoever is done with them */
	uint64_t added, changed, removed, bytes, foreign, named;
	struct far far; /* files that are as they have to be */
	int parent; /* descriptor of the directory in parent_name; -1: none */
	char parent_name[4097];
	char temporary[48]; /* the name of a file that is being written, beside its place */
	char a[PLACE_BLOCK], b[PLACE_BLOCK];
};

bool place_failed(const char *fmt, ...) PRINTF_LIKE(1, 2); /* prints {"error":...}; false */
bool place_failed_at(const char *path); /* the same, for errno */
void place_did(struct place *p, const char *what, const char *path); /* the first of them are named */

int place_open_below(int dir, const char *path, uint64_t flags); /* "": the directory itself; -1 and errno */
/* The directory above a path, kept open for the next file of it. *name: the last part. -1 and errno. */
int place_parent(struct place *p, const char *path, bool make, const char **name);
void place_forget_parent(struct place *p);

enum place_put { PLACE_OK, PLACE_FAILED /* told */, PLACE_IN_THE_WAY /* a directory for a file, or the other way round */ };
/* The file of the export, written beside its place, compared, and renamed. */
enum place_put place_put(struct place *p, const char *path);
int place_has(struct place *p, const char *path); /* 1: exactly this file (mode and time are put right), 0: not, -1: an error was told */
bool place_remove(struct place *p, const char *path); /* what is gone already is fine */
void place_remove_emptied(struct place *p, const char *path); /* directories above it that became empty, upwards */

#endif
