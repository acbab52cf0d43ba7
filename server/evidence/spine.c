/* From the root of an approved tree down to a path. The trees of the last path stay: the next one mostly shares them. */
#include <stdlib.h>
#include <string.h>

#include "evidence/inside.h"

#define DEPTH (PATH_LIMIT / 2)
#define TREE_LIMIT ((size_t)64 << 20)

struct level {
	struct blob_id id;
	struct buf bytes;
	bool read;
};

struct spine {
	spine_read *read;
	void *arg;
	struct level levels[DEPTH];
	char text[PATH_LIMIT + 1];
};

struct spine *spine_new(spine_read *read, void *arg)
{
	struct spine *s = mem_alloc(sizeof(*s));

	s->read = read;
	s->arg = arg;
	return s;
}

void spine_free(struct spine *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < DEPTH; i++)
		buf_release(&s->levels[i].bytes);
	free(s);
}

void spine_reset(struct spine *s, const struct blob_id *site_tree)
{
	for (size_t i = 0; i < DEPTH && s->levels[i].read; i++)
		s->levels[i].read = false;
	s->levels[0].id = *site_tree;
}

/* The tree of that level. Its entries are looked at as a whole once: what DryDock writes, in git's order. */
static enum err level_read(struct spine *s, size_t i, const struct blob_id *id)
{
	struct level *l = &s->levels[i];
	struct tree_entry now, before = { .name = NULL };
	const char *p;
	enum err e;

	if (l->read && blob_id_equal(&l->id, id))
		return ERR_OK;
	for (size_t k = i; k < DEPTH && s->levels[k].read; k++)
		s->levels[k].read = false;
	buf_release(&l->bytes);
	l->bytes = BUF_INIT(TREE_LIMIT);
	l->id = *id;
	e = s->read(s->arg, id, &l->bytes);
	if (e)
		return e;
	p = buf_text(&l->bytes);
	for (const char *end = p + l->bytes.len; p < end; before = now)
		if (!tree_entry_parse(&now, &p, end) || path_part_problem(now.name, now.len) || (before.name && tree_entry_compare(&before, &now) >= 0))
			return err_set(ERR_INPUT, "a tree is not one that DryDock writes");
	l->read = true;
	return ERR_OK;
}

static bool level_find(const struct level *l, const char *name, size_t len, struct tree_entry *out)
{
	const char *p = buf_text(&l->bytes);

	for (const char *end = p + l->bytes.len; p < end;)
		if (!tree_entry_parse(out, &p, end))
			return false;
		else if (out->len == len && memcmp(out->name, name, len) == 0)
			return true;
	return false;
}

enum err spine_find(struct spine *s, struct path path, struct tree_entry *entry, bool *found)
{
	const char *part = path.s + 1, *end = path.s + path.len;
	struct blob_id at = s->levels[0].id;
	enum err e = level_read(s, 0, &at);

	*found = true;
	*entry = (struct tree_entry){ .name = "", .mode = TREE_MODE_DIR, .id = at };
	for (size_t i = 0; !e && *found && part < end; i++) {
		const char *slash = memchr(part, '/', (size_t)(end - part)), *stop = slash ? slash : end;

		if (i)
			e = level_read(s, i, &at);
		if (e)
			break;
		*found = level_find(&s->levels[i], part, (size_t)(stop - part), entry) && (!slash || entry->mode == TREE_MODE_DIR);
		at = entry->id;
		part = stop + 1;
	}
	return e;
}

static enum err walk(struct spine *s, size_t level, size_t len, const struct blob_id *id, spine_file *fn, void *arg)
{
	struct tree_entry entry;
	const char *p, *end;
	enum err e = level >= DEPTH ? err_set(ERR_INPUT, "a tree is too deep") : level_read(s, level, id);

	if (e)
		return e;
	p = buf_text(&s->levels[level].bytes);
	end = p + s->levels[level].bytes.len;
	while (!e && p < end) {
		if (!tree_entry_parse(&entry, &p, end))
			return err_set(ERR_INPUT, "a tree is not one that DryDock writes");
		if (len + 1 + entry.len > PATH_LIMIT)
			return err_set(ERR_INPUT, "a path in a tree is too long");
		s->text[len] = '/';
		memcpy(s->text + len + 1, entry.name, entry.len);
		s->text[len + 1 + entry.len] = '\0';
		if (entry.mode == TREE_MODE_DIR)
			e = walk(s, level + 1, len + 1 + entry.len, &entry.id, fn, arg);
		else
			e = fn(arg, (struct path){ s->text, len + 1 + entry.len }, &entry);
	}
	return e;
}

enum err spine_walk(struct spine *s, struct path path, const struct tree_entry *entry, spine_file *fn, void *arg)
{
	size_t level = 0;

	if (entry->mode != TREE_MODE_DIR)
		return fn(arg, path, entry);
	if (path_is_root(path))
		return walk(s, 0, 0, &entry->id, fn, arg);
	for (size_t i = 0; i < path.len; i++)
		level += path.s[i] == '/';
	memcpy(s->text, path.s, path.len + 1);
	return walk(s, level, path.len, &entry->id, fn, arg);
}
