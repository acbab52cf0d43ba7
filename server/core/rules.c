/*
 * rules: rule sets: what the roles are looked up in, and the requirements and fields that stand beside them.
 */
#include "core/field.h"
#include "core/inside.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>


struct slot {
	uint64_t hash;
	const struct rule *rule; /* NULL: empty */
};

struct rules {
	atomic_uint refs;
	struct arena *arena; /* owns principals and paths */
	size_t n;
	struct rule *list; /* by path, then principal */
	const struct rule **by_principal; /* by principal, then path: what concerns one person below a directory */
	struct slot *table; /* open addressing, by (principal, path) */
	size_t mask;
	struct requirement *required; /* by path */
	size_t n_required;
	struct field_def *fields; /* by path, then name */
	size_t n_fields;
};

/* --- looking up ----------------------------------------------------------------------------------------------------- */

/* FNV-1a. Only admins make rules, so nobody gains by making them collide. */
#define HASH_START UINT64_C(14695981039346656037)
#define HASH_PRIME UINT64_C(1099511628211)

static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * HASH_PRIME;
	return h;
}

/* Principals are hashed once for each question, so eight bytes at a time. */
static uint64_t hash_principal(const char *s)
{
	size_t n = strlen(s);
	uint64_t h = HASH_START ^ n, word;

	for (; n >= 8; s += 8, n -= 8) {
		memcpy(&word, s, 8);
		h = (h ^ word) * HASH_PRIME;
		h ^= h >> 29;
	}
	word = 0;
	memcpy(&word, s, n);
	return (h ^ word) * HASH_PRIME;
}

static uint64_t hash_key(uint64_t path, uint64_t principal)
{
	uint64_t h = (path ^ (principal << 23 | principal >> 41)) * UINT64_C(0x9e3779b97f4a7c15);

	return h ^ h >> 32;
}

void way_make(struct way *w, struct path path)
{
	uint64_t h = hash_bytes(HASH_START, path.s, 1);

	w->path = path;
	w->n = 0;
	w->at[w->n].hash = h;
	w->at[w->n++].len = 1;
	if (path_is_root(path))
		return;
	for (size_t i = 1; i <= path.len; i++) {
		if (i == path.len || path.s[i] == '/') {
			w->at[w->n].hash = h;
			w->at[w->n++].len = i;
		}
		if (i < path.len)
			h = (h ^ (unsigned char)path.s[i]) * HASH_PRIME;
	}
}

struct path path_above(struct path path)
{
	size_t len = path.len;

	while (path.s[len - 1] != '/')
		len--;
	path.len = len > 1 ? len - 1 : 1;
	return path;
}

const struct rule *rules_walk_on(const struct rules *r, const char *principal, const struct way *w, const struct rule *skip)
{
	const uint64_t name = hash_principal(principal);

	for (size_t i = w->n; i-- > 0;) {
		const uint64_t h = hash_key(w->at[i].hash, name);

		for (size_t k = h & r->mask; r->table[k].rule; k = (k + 1) & r->mask) {
			const struct rule *rule = r->table[k].rule;

			if (r->table[k].hash == h && rule != skip && rule->path.len == w->at[i].len &&
			    memcmp(rule->path.s, w->path.s, rule->path.len) == 0 && strcmp(rule->principal, principal) == 0)
				return rule;
		}
	}
	return NULL;
}

/*
 * Where a rule stands among those of one principal strictly below dir: before (-1), inside (0) or behind (1). What is
 * below dir begins with dir and a slash, so that it is one run in the order of the list.
 */
static int place(const struct rule *rule, const char *principal, struct path dir)
{
	int c = strcmp(rule->principal, principal);

	if (c)
		return c < 0 ? -1 : 1;
	if (path_is_root(dir))
		return path_is_root(rule->path) ? -1 : 0;
	size_t common = rule->path.len < dir.len ? rule->path.len : dir.len;
	c = memcmp(rule->path.s, dir.s, common);
	if (c)
		return c < 0 ? -1 : 1;
	if (rule->path.len <= dir.len)
		return -1;
	unsigned char next = (unsigned char)rule->path.s[dir.len];
	return next < '/' ? -1 : next > '/' ? 1 : 0;
}

size_t rules_first_below(const struct rules *r, const char *principal, struct path dir)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (place(r->by_principal[mid], principal, dir) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool rules_is_below(const struct rules *r, size_t i, const char *principal, struct path dir)
{
	return i < r->n && place(r->by_principal[i], principal, dir) == 0;
}

const struct rule *rules_by_principal(const struct rules *r, size_t i)
{
	return r->by_principal[i];
}

/* --- building ------------------------------------------------------------------------------------------------------- */

static int by_path(const void *a_, const void *b_)
{
	const struct rule *a = a_, *b = b_;
	int c = path_compare(a->path, b->path);

	return c ? c : strcmp(a->principal, b->principal);
}

static int by_principal(const void *a_, const void *b_)
{
	const struct rule *a = *(const struct rule *const *)a_, *b = *(const struct rule *const *)b_;
	int c = strcmp(a->principal, b->principal);

	return c ? c : path_compare(a->path, b->path);
}

static int by_required(const void *a, const void *b)
{
	return path_compare(((const struct requirement *)a)->path, ((const struct requirement *)b)->path);
}

static int by_field(const void *a_, const void *b_)
{
	const struct field_def *a = a_, *b = b_;
	int c = path_compare(a->path, b->path);

	return c ? c : strcmp(a->name, b->name);
}

/* What is sorted while a set is built: of equal keys the later one counts. */
struct entry {
	const struct rule *rule;
	size_t at;
};

static int by_entry(const void *a_, const void *b_)
{
	const struct entry *a = a_, *b = b_;
	int c = by_path(a->rule, b->rule);

	return c ? c : a->at < b->at ? -1 : a->at > b->at;
}

static void index_rules(struct rules *r)
{
	size_t size = 8;

	while (size < 2 * r->n)
		size *= 2;
	r->mask = size - 1;
	r->table = mem_array(size, sizeof(*r->table));
	r->by_principal = mem_array(r->n, sizeof(*r->by_principal));
	for (size_t i = 0; i < r->n; i++) {
		const struct rule *rule = &r->list[i];
		uint64_t h = hash_key(hash_bytes(HASH_START, rule->path.s, rule->path.len), hash_principal(rule->principal));
		size_t k = h & r->mask;

		r->by_principal[i] = rule;
		while (r->table[k].rule)
			k = (k + 1) & r->mask;
		r->table[k] = (struct slot){ h, rule };
	}
	qsort(r->by_principal, r->n, sizeof(*r->by_principal), by_principal);
}

static struct field_def field_copy(const struct field_def *d, struct arena *a)
{
	struct field_def own = *d;
	const char **choices = arena_alloc(a, (d->n_choices + 1) * sizeof(*choices));

	own.path = path_copy(d->path, a);
	own.name = arena_dup(a, d->name);
	own.label = arena_dup(a, d->label);
	own.node = arena_dup(a, d->node);
	for (size_t i = 0; i < d->n_choices; i++)
		choices[i] = arena_dup(a, d->choices[i]);
	own.choices = choices;
	return own;
}

struct rules *rules_new_full(const struct rule *list, size_t n, const struct requirement *required, size_t n_required,
    const struct field_def *fields, size_t n_fields)
{
	struct rules *r = mem_alloc(sizeof(*r));
	struct entry *order = mem_array(n, sizeof(*order));

	atomic_init(&r->refs, 1);
	r->arena = arena_new();
	r->list = mem_array(n, sizeof(*r->list));
	for (size_t i = 0; i < n; i++)
		order[i] = (struct entry){ &list[i], i };
	qsort(order, n, sizeof(*order), by_entry);
	for (size_t i = 0; i < n; i++) {
		const struct rule *from = order[i].rule;
		if (i + 1 < n && by_path(from, order[i + 1].rule) == 0)
			continue;
		r->list[r->n++] = (struct rule){ arena_dup(r->arena, from->principal), path_copy(from->path, r->arena), from->role };
	}
	free(order);
	index_rules(r);
	r->required = mem_array(n_required, sizeof(*r->required));
	for (size_t i = 0; i < n_required; i++) {
		r->required[i] = required[i];
		r->required[i].path = path_copy(required[i].path, r->arena);
	}
	r->n_required = n_required;
	qsort(r->required, n_required, sizeof(*r->required), by_required);
	r->fields = mem_array(n_fields, sizeof(*r->fields));
	for (size_t i = 0; i < n_fields; i++)
		r->fields[i] = field_copy(&fields[i], r->arena);
	r->n_fields = n_fields;
	qsort(r->fields, n_fields, sizeof(*r->fields), by_field);
	return r;
}

struct rules *rules_new(const struct rule *list, size_t n)
{
	return rules_new_full(list, n, NULL, 0, NULL, 0);
}

struct rules *rules_ref(struct rules *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void rules_unref(struct rules *r)
{
	if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	free(r->list);
	free(r->by_principal);
	free(r->table);
	free(r->required);
	free(r->fields);
	arena_free(r->arena);
	free(r);
}

size_t rules_count(const struct rules *r)
{
	return r->n;
}

const struct rule *rules_at(const struct rules *r, size_t i)
{
	return &r->list[i];
}

const struct rule *rules_find(const struct rules *r, const char *principal, struct path path)
{
	const struct rule key = { principal, path, ROLE_NONE };

	return bsearch(&key, r->list, r->n, sizeof(*r->list), by_path);
}

struct rules *rules_with(const struct rules *r, const char *principal, struct path path, int role)
{
	struct rule *list = mem_array(r->n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		if (!path_equal(r->list[i].path, path) || strcmp(r->list[i].principal, principal) != 0)
			list[n++] = r->list[i];
	if (role >= 0)
		list[n++] = (struct rule){ principal, path, (enum role)role };
	struct rules *changed = rules_new_full(list, n, r->required, r->n_required, r->fields, r->n_fields);
	free(list);
	return changed;
}

/* --- requirements ----------------------------------------------------------------------------------------------------- */

struct rules *rules_require(const struct rules *r, const struct requirement *q)
{
	struct requirement *list = mem_array(r->n_required + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < r->n_required; i++)
		if (!path_equal(r->required[i].path, q->path))
			list[n++] = r->required[i];
	if (q->reviews || q->not_alone)
		list[n++] = *q;
	struct rules *changed = rules_new_full(r->list, r->n, list, n, r->fields, r->n_fields);
	free(list);
	return changed;
}

size_t rules_requirements(const struct rules *r)
{
	return r->n_required;
}

const struct requirement *rules_requirement_at(const struct rules *r, size_t i)
{
	return &r->required[i];
}

const struct requirement *rules_requirement_find(const struct rules *r, struct path path)
{
	const struct requirement key = { .path = path };

	return bsearch(&key, r->required, r->n_required, sizeof(*r->required), by_required);
}

struct required rules_required(const struct rules *r, struct path path)
{
	struct required out = { 0 };

	while (r->n_required) {
		const struct requirement *q = rules_requirement_find(r, path);

		if (q && q->reviews > out.reviews) {
			out.reviews = q->reviews;
			out.reviews_from = q;
		}
		if (q && q->not_alone) {
			out.not_alone = true;
			out.not_alone_from = q;
		}
		if (path_is_root(path))
			break;
		path = path_above(path);
	}
	return out;
}

bool rules_required_at_or_below(const struct rules *r, struct path path)
{
	struct required above = rules_required(r, path);
	bool found = above.reviews || above.not_alone;

	for (size_t i = 0; i < r->n_required && !found; i++)
		found = path_covers(path, r->required[i].path);
	return found;
}

/* --- fields ----------------------------------------------------------------------------------------------------------- */

struct rules *rules_field(const struct rules *r, const struct field_def *d)
{
	struct field_def *list = mem_array(r->n_fields + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < r->n_fields; i++)
		if (by_field(&r->fields[i], d) != 0)
			list[n++] = r->fields[i];
	if (d->acts)
		list[n++] = *d;
	struct rules *changed = rules_new_full(r->list, r->n, r->required, r->n_required, list, n);
	free(list);
	return changed;
}

size_t rules_fields(const struct rules *r)
{
	return r->n_fields;
}

const struct field_def *rules_field_at(const struct rules *r, size_t i)
{
	return &r->fields[i];
}

const struct field_def *rules_field_find(const struct rules *r, struct path path, const char *name)
{
	const struct field_def key = { .path = path, .name = name };

	return bsearch(&key, r->fields, r->n_fields, sizeof(*r->fields), by_field);
}
