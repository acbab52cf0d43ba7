#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "view/names.h"

struct view_names {
	bool grows;
	char **text; /* by number; [0] is unused */
	size_t n, cap;
	uint16_t *slot; /* hash table of numbers, open addressing; 0 is empty */
	size_t slots; /* a power of two, more than twice n */
};

static const char *const KNOWN[] = {
	[VIEW_NONE] = "",
#define X(n) [VIEW_##n] = #n,
#include "view/names.def"
#undef X
};

static size_t hash(const char *s, size_t n)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

/* The slot that holds the name, or the empty one where it would go. */
static size_t place(const struct view_names *t, const char *s, size_t n)
{
	size_t at = hash(s, n) & (t->slots - 1);
	while (t->slot[at]) {
		const char *have = t->text[t->slot[at]];
		if (strlen(have) == n && !memcmp(have, s, n))
			break;
		at = (at + 1) & (t->slots - 1);
	}
	return at;
}

static void resize(struct view_names *t, size_t slots)
{
	free(t->slot);
	t->slot = mem_array(slots, sizeof *t->slot);
	t->slots = slots;
	for (size_t i = 1; i < t->n; i++)
		t->slot[place(t, t->text[i], strlen(t->text[i]))] = (uint16_t)i;
}

static enum view_name add(struct view_names *t, const char *s, size_t n)
{
	t->text = mem_grow(t->text, &t->cap, t->n + 1, sizeof *t->text);
	t->text[t->n] = mem_dupn(s, n);
	t->n++;
	if (t->n * 2 >= t->slots)
		resize(t, t->slots * 2);
	else
		t->slot[place(t, s, n)] = (uint16_t)(t->n - 1);
	return (enum view_name)(t->n - 1);
}

struct view_names *view_names_growing(void)
{
	struct view_names *t = mem_alloc(sizeof *t);
	t->text = mem_grow(t->text, &t->cap, 1, sizeof *t->text);
	t->text[0] = mem_dup("");
	t->n = 1;
	resize(t, 64);
	t->grows = true;
	return t;
}

struct view_names *view_names_fixed(void)
{
	struct view_names *t = view_names_growing();
	for (size_t i = 1; i < VIEW_NAME_COUNT; i++)
		add(t, KNOWN[i], strlen(KNOWN[i]));
	t->grows = false;
	return t;
}

void view_names_free(struct view_names *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->text[i]);
	free(t->text);
	free(t->slot);
	free(t);
}

enum view_name view_names_find(struct view_names *t, const char *s, size_t n)
{
	if (n == 0 || n > VIEW_NAME_LIMIT || memchr(s, '\0', n))
		return VIEW_NONE;
	enum view_name known = (enum view_name)t->slot[place(t, s, n)];
	if (known || !t->grows || t->n >= VIEW_NAMES_LIMIT)
		return known;
	return add(t, s, n);
}
