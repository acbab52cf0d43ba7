/*
 * mem: allocation that does not return NULL, and the request arena.
 *
 * Out of memory ends the process with a line in the log: DryDock is safe to stop at any instruction, all hostile input
 * is bounded before it is allocated, and the monitor starts it again (doc/DECISIONS, "Out of memory").
 */
#ifndef DRYDOCK_BASE_MEM_H
#define DRYDOCK_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Once, before threads: they share two arenas. By itself the C library gives each thread one, and keeps in each what a
 * large act once used there.
 */
void mem_share_arenas(void);
void mem_give_back(void); /* to the system, what is free: after something large */

void *mem_alloc(size_t n); /* zeroed */
void *mem_array(size_t n, size_t size); /* zeroed, overflow-checked */
void *mem_grow(void *p, size_t *cap, size_t want, size_t size); /* doubles *cap (in elements) until >= want */
char *mem_dup(const char *s);
char *mem_dupn(const char *s, size_t n); /* always terminated */
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Memory dropped all at once, with a request or another scope. Not shared between threads. */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a); /* NULL is allowed */
void arena_reset(struct arena *a); /* drops everything, keeps one chunk for the next user */
void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for any type */
char *arena_dup(struct arena *a, const char *s);
char *arena_dupn(struct arena *a, const void *s, size_t n); /* always terminated */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
size_t arena_used(const struct arena *a); /* bytes handed out so far */

#endif
