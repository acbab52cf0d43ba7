/*
 * show: the values that many pages show, put into a model the same way everywhere: times, states, sizes, fingerprints.
 */
#ifndef DRYDOCK_VIEW_SHOW_H
#define DRYDOCK_VIEW_SHOW_H

#include "base/digest.h"
#include "core/state.h"
#include "view/view.h"

/* A map of iso, rel and exact for {{>time}}; wall 0 (or less) sets an empty value. Both in microseconds, UTC. */
void show_time(struct view_map *m, enum view_name name, int64_t wall, int64_t now);
/* state and word for {{>badge}}. */
void show_state(struct view_map *m, enum file_state s);
/* The same for a run, a target or a release: state is the shape ("signed" for good, "failed", "waiting", "running"). */
void show_badge(struct view_map *m, const char *shape, const char *word);
/* short and sha256 for {{>print}}. */
void show_print(struct view_map *m, const struct sha256 *print);
void show_md5(struct view_map *m, enum view_name name, const struct md5 *print);
void show_hex(struct view_map *m, enum view_name name, const void *bytes, size_t n);

/* For people: "pre-approved", "cannot be published". */
const char *state_word(enum file_state s);
/* "812 B", "12 kB", "3.4 MB": decimal units, as file managers show them. */
const char *size_text(struct arena *a, uint64_t bytes);
const char *number_text(struct arena *a, uint64_t n); /* "10,000" */
/* "1 file", "12 files", "10,000 files". one: "file"; the plural adds an s. */
const char *count_text(struct arena *a, uint64_t n, const char *one);
/* What something took: "1.2 s", "3 min 20 s", "2 h 5 min"; microseconds. */
const char *duration_text(struct arena *a, int64_t us);
/* A period that somebody chose: "5 minutes", "1 hour", "90 seconds". */
const char *period_text(struct arena *a, int64_t us);
/* "21 November 2026, 14:05:12 UTC" */
const char *time_exact(struct arena *a, int64_t wall);

#endif
