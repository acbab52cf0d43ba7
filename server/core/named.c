#include "core/named.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void named_release(struct named *v)
{
	free(v->members);
	*v = (struct named){ 0 };
}

static bool word_valid(const char *s, size_t limit)
{
	const size_t n = strlen(s);

	return n > 0 && n <= limit &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@") == n;
}

bool named_id_valid(const char *id)
{
	return word_valid(id, NAMED_ID_LIMIT);
}

const char *named_kind_name(enum named_kind kind)
{
	static const char *const names[] = { "nothing", "counter", "queue" };

	return names[kind];
}

static enum err load(const struct named_store *s, enum named_kind kind, const char *id, struct named *out)
{
	enum err e;

	*out = (struct named){ 0 };
	if (!named_id_valid(id))
		return err_set(ERR_INPUT, "A name of a counter or queue has 1 to %d letters, digits and . _ - / : @.", NAMED_ID_LIMIT);
	e = s->load(s->arg, id, out);
	if (!e && out->kind != NAMED_NONE && out->kind != kind)
		e = err_set(ERR_STALE, "%s is a %s, not a %s.", id, named_kind_name(out->kind), named_kind_name(kind));
	if (e)
		named_release(out);
	return e;
}

enum err named_get(const struct named_store *s, enum named_kind kind, const char *id, struct named *out)
{
	enum err e = load(s, kind, id, out);

	if (!e && out->kind == NAMED_NONE)
		e = err_set(ERR_NOT_FOUND, "There is no %s %s.", named_kind_name(kind), id);
	if (e)
		named_release(out);
	return e;
}

size_t named_position(const struct named *queue, const char *process)
{
	for (size_t i = 0; i < queue->n; i++)
		if (strcmp(queue->members[i].process, process) == 0)
			return i + 1;
	return 0;
}

/* What is done to a value; *same: there is nothing to store. */
typedef enum err change_fn(struct named *v, const char *id, const char *process, uint64_t above, bool *same);

static enum err add_one(struct named *v, const char *id, const char *process, uint64_t above, bool *same)
{
	(void)process;
	(void)above;
	(void)same;
	if (v->value == UINT64_MAX)
		return err_set(ERR_TOO_BIG, "The counter %s cannot rise any further.", id);
	v->kind = NAMED_COUNTER;
	v->value++;
	return ERR_OK;
}

static enum err take_away(struct named *v, const char *id, const char *process, uint64_t above, bool *same)
{
	(void)process;
	(void)above;
	(void)same;
	if (v->kind == NAMED_NONE)
		return err_set(ERR_NOT_FOUND, "There is no %s.", id);
	/* the tickets of a queue go on behind the last one, should there be one of that name again */
	if (v->kind == NAMED_COUNTER)
		v->value = 0;
	v->kind = NAMED_NONE;
	v->n = 0;
	return ERR_OK;
}

static enum err join(struct named *v, const char *id, const char *process, uint64_t above, bool *same)
{
	*same = named_position(v, process) > 0;
	if (*same)
		return ERR_OK;
	if (v->n == NAMED_MEMBERS)
		return err_set(ERR_TOO_BIG, "The queue %s is full: it has %d members.", id, NAMED_MEMBERS);
	if (v->n == v->cap)
		v->members = mem_grow(v->members, &v->cap, v->n + 1, sizeof(*v->members));
	v->kind = NAMED_QUEUE;
	if (v->value < above)
		v->value = above;
	v->members[v->n].ticket = ++v->value;
	memcpy(v->members[v->n++].process, process, strlen(process) + 1);
	return ERR_OK;
}

static enum err leave(struct named *v, const char *id, const char *process, uint64_t above, bool *same)
{
	const size_t place = named_position(v, process);

	(void)above;
	(void)same;
	if (place == 0)
		return err_set(ERR_NOT_FOUND, "%s is not a member of the queue %s.", process, id);
	memmove(&v->members[place - 1], &v->members[place], (v->n - place) * sizeof(*v->members));
	v->n--;
	return ERR_OK;
}

/* Load, change, store; again from the start when somebody else was first. *out is what was stored. */
static enum err change(const struct named_store *s, enum named_kind kind, const char *id, const char *process, uint64_t above, change_fn *fn,
    struct named *out)
{
	if (process && !word_valid(process, NAMED_PROCESS_LIMIT))
		return err_set(ERR_INPUT, "A process id has 1 to %d letters, digits and . _ - / : @.", NAMED_PROCESS_LIMIT);
	for (unsigned tries = 1;; tries++) {
		bool same = false;
		enum err e = load(s, kind, id, out);

		if (e)
			return e;
		e = fn(out, id, process, above, &same);
		if (!e && !same) {
			e = s->store(s->arg, id, out, out->version);
			out->version++;
		}
		if (!e)
			return ERR_OK;
		named_release(out);
		if (e != ERR_STALE)
			return e;
		if (tries == NAMED_TRIES)
			return err_set(ERR_BUSY, "Others kept changing %s: given up after %d tries. Try again.", id, NAMED_TRIES);
		if (s->pause)
			s->pause(s->arg, tries);
	}
}

enum err named_remove(const struct named_store *s, enum named_kind kind, const char *id)
{
	struct named v;
	enum err e = change(s, kind, id, NULL, 0, take_away, &v);

	if (!e)
		named_release(&v);
	return e;
}

enum err named_next(const struct named_store *s, const char *id, uint64_t *value)
{
	struct named v;
	enum err e = change(s, NAMED_COUNTER, id, NULL, 0, add_one, &v);

	if (e)
		return e;
	*value = v.value;
	named_release(&v);
	return ERR_OK;
}

enum err named_join(const struct named_store *s, const char *id, const char *process, struct named *out)
{
	return change(s, NAMED_QUEUE, id, process, 0, join, out);
}

enum err named_join_above(const struct named_store *s, const char *id, const char *process, uint64_t above, struct named *out)
{
	return change(s, NAMED_QUEUE, id, process, above, join, out);
}

enum err named_leave(const struct named_store *s, const char *id, const char *process, struct named *out)
{
	return change(s, NAMED_QUEUE, id, process, 0, leave, out);
}

/* --- as a store keeps it ------------------------------------------------------------------------------------------- */

void named_members_write(const struct named *v, struct buf *out)
{
	for (size_t i = 0; i < v->n; i++) {
		buf_u64(out, v->members[i].ticket);
		buf_char(out, ' ');
		buf_str(out, v->members[i].process);
		buf_char(out, '\n');
	}
}

static bool member_parse(struct named_member *m, const char *line, size_t len)
{
	const char *blank = memchr(line, ' ', len);
	char *end;
	size_t n;

	if (!blank || *line < '1' || *line > '9')
		return false;
	m->ticket = strtoull(line, &end, 10);
	n = len - (size_t)(blank + 1 - line);
	if (end != blank || n > NAMED_PROCESS_LIMIT)
		return false;
	memcpy(m->process, blank + 1, n);
	m->process[n] = '\0';
	return strlen(m->process) == n && word_valid(m->process, NAMED_PROCESS_LIMIT);
}

enum err named_members_parse(struct named *v, const char *text, size_t len)
{
	const char *p = text, *end = text + len, *newline;

	for (v->n = 0; p < end; p = newline + 1) {
		if (v->n == v->cap)
			v->members = mem_grow(v->members, &v->cap, v->n + 1, sizeof(*v->members));
		newline = memchr(p, '\n', (size_t)(end - p));
		if (!newline || v->n == NAMED_MEMBERS || !member_parse(&v->members[v->n], p, (size_t)(newline - p)) ||
		    v->members[v->n].ticket > v->value || (v->n > 0 && v->members[v->n].ticket <= v->members[v->n - 1].ticket)) {
			named_release(v);
			return err_set(ERR_FAILED, "the members of a queue are damaged");
		}
		v->n++;
	}
	return ERR_OK;
}
