#include "base/mem.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/failpoint.h"

#define ARENA_FIRST 2048
#define ARENA_MOST 65536
#define ALIGN(n) (((n) + 15) & ~(size_t)15)

void mem_share_arenas(void)
{
	(void)mallopt(M_ARENA_MAX, 2);
}

void mem_give_back(void)
{
	(void)malloc_trim(0);
}

/* Nothing here may allocate: the log line is fixed and goes out with one write. */
static _Noreturn void out_of_memory(void)
{
	static const char line[] = "level=error event=memory.out text=\"out of memory: the process ends\"\n";

	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		abort();
	abort();
}

/* A test may say so. */
static inline bool refused(void)
{
#ifdef DRYDOCK_ENABLE_FAILPOINTS
	return failpoint_memory();
#else
	return false;
#endif
}

void *mem_alloc(size_t n)
{
	void *p = refused() ? NULL : calloc(1, n ? n : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *mem_array(size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		out_of_memory();
	return mem_alloc(total);
}

void *mem_grow(void *p, size_t *cap, size_t want, size_t size)
{
	size_t n = *cap ? *cap : 8, total;

	if (want <= *cap && p)
		return p;
	while (n < want) {
		if (n > SIZE_MAX / 2)
			out_of_memory();
		n *= 2;
	}
	if (__builtin_mul_overflow(n, size, &total))
		out_of_memory();
	p = refused() ? NULL : realloc(p, total);
	if (!p)
		out_of_memory();
	*cap = n;
	return p;
}

char *mem_dup(const char *s)
{
	return mem_dupn(s, strlen(s));
}

char *mem_dupn(const char *s, size_t n)
{
	if (n == SIZE_MAX)
		out_of_memory();
	char *p = refused() ? NULL : malloc(n + 1);
	if (!p)
		out_of_memory();
	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *mem_printf(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;

	va_start(ap, fmt);
	int n = refused() ? -1 : vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	return p;
}

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

struct arena {
	struct chunk *chunks; /* the first one is filled */
	size_t next_size, used;
};

struct arena *arena_new(void)
{
	struct arena *a = mem_alloc(sizeof(*a));

	a->next_size = ARENA_FIRST;
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	free(a);
}

void arena_reset(struct arena *a)
{
	struct chunk *keep = NULL;

	for (struct chunk *c = a->chunks, *next; c; c = next) {
		next = c->next;
		/* Only a chunk of the usual sizes is kept: one big request must not hold its memory for ever. */
		if (!keep && c->size <= ARENA_MOST)
			keep = c;
		else
			free(c);
	}
	if (keep) {
		keep->next = NULL;
		keep->used = 0;
	}
	a->chunks = keep;
	a->next_size = ARENA_FIRST;
	a->used = 0;
}

static struct chunk *chunk_new(size_t size)
{
	size_t total;

	if (__builtin_add_overflow(size, sizeof(struct chunk), &total))
		out_of_memory();
	struct chunk *c = refused() ? NULL : malloc(total);
	if (!c)
		out_of_memory();
	c->next = NULL;
	c->used = 0;
	c->size = size;
	return c;
}

static void *take(struct arena *a, size_t n)
{
	if (n > SIZE_MAX / 2)
		out_of_memory();
	n = ALIGN(n ? n : 1);
	a->used += n;
	struct chunk *c = a->chunks;
	if (c && c->size - c->used >= n) {
		void *p = c->bytes + c->used;
		c->used += n;
		return p;
	}
	/* A large piece gets a chunk of its own behind the current one, which goes on being filled. */
	if (c && n > a->next_size / 4) {
		struct chunk *big = chunk_new(n);
		big->used = n;
		big->next = c->next;
		c->next = big;
		return big->bytes;
	}
	c = chunk_new(n > a->next_size ? n : a->next_size);
	if (a->next_size < ARENA_MOST)
		a->next_size *= 2;
	c->next = a->chunks;
	c->used = n;
	a->chunks = c;
	return c->bytes;
}

void *arena_alloc(struct arena *a, size_t n)
{
	return memset(take(a, n), 0, n);
}

char *arena_dup(struct arena *a, const char *s)
{
	return arena_dupn(a, s, strlen(s));
}

char *arena_dupn(struct arena *a, const void *s, size_t n)
{
	if (n == SIZE_MAX)
		out_of_memory();
	char *p = take(a, n + 1);
	if (n)
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	char small[256];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	if ((size_t)n < sizeof(small))
		return arena_dupn(a, small, (size_t)n);
	char *p = take(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}
